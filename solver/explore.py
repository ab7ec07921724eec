"""
Work on one subproblem of the search: bound it, enclose it, count it, solve it.

The steps are those of `solver.search`; each opens the node again with what was learnt, opens parts
of it, or closes it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf

from profiles.errors import BackendError
from solver.decode import read_plan, read_stages
from solver.formulation import Formulation, formulate
from solver.incumbent import Best
from solver.instance import ANYTHING, Instance, Pair, layer_runs, make_slots
from solver.linear import Backend, BackendResult, BackendStop, Effort, Expression
from solver.nodes import Level, Node, Tree
from solver.objective import Goal, Objective
from solver.paces import enclose, halve
from solver.phases import PhaseBounds
from solver.prices import PriceLevels
from solver.problem import FloatArray
from solver.quick import LeastTimes, may_fit
from solver.target import LinearGoal, Target

__all__ = ["MOST_RUNS_UNMERGED", "SCOUT_NEED", "Explorer"]

# Bounds of linear programs are trusted to this share.
_BOUND_SAFETY = 1e-9
# Relaxations of models with more runs than this count the layers of a kind together.
MOST_RUNS_UNMERGED = 6
# A node whose bound falls short is solved again at an eighth of the gap, this often at most.
_LAST_DIVISOR = 64
# Work for choosing formats in fixed stages: no clock, so that the same request gives the same plan.
_PLACING_NODES = 500
# With more stage groups than this, intervals of pace are halved before anything is counted.
_MOST_GROUPS_WHOLE = 16
# With at most so many slots equal stages are told apart also while counting, which makes counting
# needless unless the layers of a kind are merged.
_MOST_SLOTS_APART, _MOST_SLOTS_MERGED = 12, 24
# Width of the first window as a share of the bound: the narrower, the fewer layers a stage can
# hold, and the more windows there are. Where bounds are known before, a plan is near.
_REACH, _REACH_OF_LARGE, _REACH_OF_KNOWN = 0.2, 0.05, 0.03
# Beyond this width everything else is one window, lest there be windows without end.
_WIDEST_REACH = 1.0
# Intervals of pace that change latency by less than this share are not halved before counting, and
# not at all.
_NARROW, _NARROWEST = 0.015, 0.001
# Work for counting before the intervals of pace are halved instead.
_COUNTING_NODES = 100
# Without a plan this close to the bound, any plan is looked for first, to this gap.
SCOUT_NEED, _SCOUT_GAP = 0.5, 0.02

_LATENCY = Target(objective=Objective(goal=Goal.LATENCY))
_STOPS = (BackendStop.TIME_LIMIT, BackendStop.CANCELLED, BackendStop.MEMORY)


@dataclass(slots=True, kw_only=True)
class Explorer:
    """
    Works on nodes.

    Parameters
    ----------
    best
        Judges the plans that are found; knows the problem, the limits and the goal.
    backend
        Solves linear models.
    seed, seconds_left, cancelled
        Of the search.
    most_runs
        Relaxations of models with more runs of equal layers count those of a kind together.
    scout_need
        Any plan is looked for first while none is this close to the bound, as a share of it.
    """

    best: Best
    backend: Backend
    seed: int
    seconds_left: Callable[[], float]
    cancelled: Callable[[], bool] | None
    most_runs: int = MOST_RUNS_UNMERGED
    scout_need: float = SCOUT_NEED
    tree: Tree = field(default_factory=Tree)
    working_bound: float = inf
    stop: BackendStop | None = None
    num_bounds: int = 0
    num_milps: int = 0
    relaxed_since_milp: int = 0
    _merges: bool = False
    _prices: PriceLevels | None = None
    _phases: PhaseBounds | None = None

    @property
    def _target(self) -> Target:
        return self.best.target

    @property
    def _has_many_slots(self) -> bool:
        """Whether counting on equal stages together is much easier than telling them apart."""
        most = _MOST_SLOTS_MERGED if self._merges else _MOST_SLOTS_APART
        return len(make_slots(self.best.problem)) > most

    @property
    def _is_large(self) -> bool:
        """Whether the integer program is hard, so that bounds and plans come from its parts."""
        return self._merges or self._has_many_groups

    @property
    def _has_many_groups(self) -> bool:
        """Whether even counting is hard."""
        return len(self.best.problem.groups) > _MOST_GROUPS_WHOLE

    def open_all(self, known: Mapping[Pair, float] | None = None) -> bool:
        """
        Open every pair of micro-batch sizes that may fit; False where that was cut short.

        Parameters
        ----------
        known
            Bounds known before, of the only pairs to open; their phases are not bounded again.
        """
        problem, limits = self.best.problem, self.best.limits
        self._merges = len(layer_runs(problem)) > self.most_runs
        goal = self._target.objective.goal
        self._phases = PhaseBounds(goal=goal, limits=limits, merged=self._merges, relax=self._least)
        reach = _REACH_OF_LARGE if self._is_large else _REACH
        if known is not None:
            reach = min(reach, _REACH_OF_KNOWN)
        if self._target.is_product or limits.cost_usd_per_million_tokens is not None:
            self._prices = PriceLevels.of(problem)
        times = LeastTimes.of(problem, limits)
        for instance in self._pairs():
            if self.must_stop():
                return False
            if known is not None and instance.pair in known:
                bound, level = known[instance.pair], Level.PHASED
                self.tree.push(Node(instance=instance, bound=bound, level=level, reach=reach))
            elif known is None and may_fit(instance):
                quick = self._target.quick(instance, times.bounds(instance))
                self.tree.push(Node(instance=instance, bound=quick, reach=reach))
        return True

    def _pairs(self) -> Iterator[Instance]:
        low, high = 0.0, inf
        if self._prices is not None:
            low, high = self._prices.lowest, self._prices.highest
        for batch in self.best.problem.batches:
            for prefill, decode in product(batch.prefill, batch.decode):
                yield Instance(
                    problem=self.best.problem,
                    batch=batch,
                    prefill=prefill,
                    decode=decode,
                    price_low=low,
                    price_high=high,
                )

    def must_stop(self) -> bool:
        """Whether the search is over before its end; ``stop`` says why."""
        if self.stop is not None:
            return True
        if self.cancelled is not None and self.cancelled():
            self.stop = BackendStop.CANCELLED
        elif self.seconds_left() <= 0:
            self.stop = BackendStop.TIME_LIMIT
        return self.stop is not None

    def can_relax(self, node: Node) -> bool:
        """Whether the next step for a node solves linear programs alone."""
        if node.level is Level.RELAXED:
            return self._has_prices(node) or not self._needs_plan(node)
        return node.level < Level.RELAXED

    def work_on(self, node: Node) -> None:
        """The next step for a node that was taken from the tree."""
        self.working_bound = node.bound
        try:
            self._step(node)
        except BackendError:
            self.tree.close(node)
        except MemoryError:
            self.tree.push(node)
            raise
        self.working_bound = inf

    def _step(self, node: Node) -> None:
        if node.bound >= node.window:
            self.tree.close(node)
        elif node.level is Level.QUICK:
            self._bound_phases(node)
        elif node.level is Level.PHASED:
            self._relax(node)
        elif node.level is Level.RELAXED and self._has_prices(node):
            self._split(node)
        elif node.level is Level.RELAXED and self._needs_plan(node):
            self._scout(node)
        elif node.level is Level.RELAXED:
            self._open_window(node)
        elif node.level is Level.BOXED and (self._merges or self._has_many_slots):
            self._count_node(node)
        else:
            self._solve(node)

    def _advance(self, node: Node, bound: float, level: Level) -> None:
        """Open a node again with a better bound, unless nothing is left of it."""
        if bound < inf or node.window < inf:
            sharper = min(max(self._target.sharpen(bound), node.bound), node.window)
            self.tree.push(replace(node, bound=sharper, level=level))

    # -- bounds -----------------------------------------------------------------------------

    def _bound_phases(self, node: Node) -> None:
        assert self._phases is not None
        bound = self._target.quick(node.instance, self._phases.of(node.instance))
        self._advance(node, bound, Level.PHASED)

    def _relax(self, node: Node) -> None:
        """Bound by the relaxation."""
        self.relaxed_since_milp += 1
        form = self._relaxation(node.instance)
        latency_low = node.latency_low_s
        if self._target.is_product and self._has_prices(node):
            latency = _LATENCY.linear(form, 0.0)
            latency_low = max(_value_of(latency, self._least(form, latency.expression)), 0.0)
            if latency_low == inf:
                return self._advance(node, inf, Level.RELAXED)
        goal = self._target.linear(form, latency_low)
        bound = max(_value_of(goal, self._least(form, goal.expression)), 0.0)
        return self._advance(replace(node, latency_low_s=latency_low), bound, Level.RELAXED)

    def _relax_box(self, node: Node) -> None:
        """Bound by the relaxation within the intervals of pace."""
        self.relaxed_since_milp += 1
        form = self._relaxation(node.instance)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal, node)
        bound = max(_value_of(goal, self._least(form, goal.expression)), 0.0)
        self._advance(node, min(bound, cutoff), Level.BOXED)

    def _relaxation(self, instance: Instance) -> Formulation:
        return formulate(instance, self.best.limits, merged=self._merges, pooled=True)

    def _least(self, form: Formulation, expression: Expression) -> float:
        """Least value of an expression on a relaxation; inf if infeasible, -inf if time ran out."""
        self.num_bounds += 1
        effort = self._effort(self.best.gap)
        result = self.backend.relax(form.model(expression), effort, cancelled=self.cancelled)
        if result.stop in _STOPS:
            self.stop = result.stop
        if result.stop is BackendStop.INFEASIBLE:
            return inf
        return result.bound if result.stop is BackendStop.PROVEN else -inf

    def _effort(self, gap: float) -> Effort:
        return Effort(gap=gap, time_s=self.seconds_left(), seed=self.seed)

    def _has_prices(self, node: Node) -> bool:
        """Whether the node spans several prices."""
        return self._prices is not None and not self._prices.is_single(node.instance)

    def _split(self, node: Node) -> None:
        """Halve the price interval, down to single choices of GPUs, and begin anew in each part."""
        assert self._prices is not None
        for half in self._prices.parts(node.instance):
            self.tree.push(replace(node, instance=half, level=Level.QUICK))

    # -- windows ----------------------------------------------------------------------------

    def _open_window(self, node: Node) -> None:
        """Look for plans little above the bound; the others wait."""
        highest = min(self.best.cutoff, node.window)
        window = node.bound * (1 + node.reach) if self._target.is_timed else inf
        is_wide = node.reach > _WIDEST_REACH
        if is_wide or not 0 < window * (1 + node.reach) < highest:
            window = highest
        is_covered = window < highest or (window == node.window and node.is_covered)
        inside = replace(node, window=window, is_covered=is_covered)
        if window < highest:
            self.tree.push(replace(node, bound=window, reach=2 * node.reach))
        if window == inf:
            self.tree.push(replace(inside, level=Level.BOXED))
            return
        form = self._relaxation(node.instance)
        self._cut(form, self._target.linear(form, node.latency_low_s), inside)
        instance = enclose(form, self._least)
        if instance is None:
            self.tree.close(replace(inside, bound=window))
        else:
            self._relax_box(replace(inside, instance=instance))

    def _halve(self, node: Node, narrow: float = _NARROW) -> bool:
        """Replace a node by its halves in pace; False where they are narrow already."""
        halves = halve(node.instance, narrow)
        for half in halves:
            self._relax_box(replace(node, instance=half))
        return bool(halves)

    # -- integer programs -------------------------------------------------------------------

    def _needs_plan(self, node: Node) -> bool:
        """Whether the incumbent is so bad that any plan near the bound is better."""
        is_bad = self.best.value > node.bound * (1 + self.scout_need)
        return is_bad and not (node.is_scouted or self._is_large) and self._target.is_timed

    def _scout(self, node: Node) -> None:
        """Look for a first plan."""
        bound, stop = self._count(node, max(self.best.gap / 2, _SCOUT_GAP))
        self._settle(replace(node, bound=bound, is_scouted=True), stop, solved=False)

    def _count_node(self, node: Node) -> None:
        """Sharpen the bound by whole numbers of layers; where that is hard, halve the node."""
        if self._has_many_groups and self._halve(node):
            return
        bound, stop = self._count(node, self.best.gap / 2)
        node = replace(node, bound=bound)
        if stop is not BackendStop.WORK_LIMIT or not self._halve(node):
            self._settle(replace(node, level=Level.COUNTED), stop, solved=False)

    def _count(self, node: Node, gap: float) -> tuple[float, BackendStop]:
        """Count layers in any order on stages, and place them; returns a bound."""
        form = formulate(node.instance, self.best.limits, merged=True, pooled=self._has_many_slots)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal, node)
        effort = replace(self._effort(gap), max_nodes=_COUNTING_NODES)
        result = self._milp(form, goal, effort)
        if result.point is not None:
            self.place(node, read_stages(form, result.point))
        return self._proven(node, goal, result, cutoff), result.stop

    def place(self, node: Node, stages: list[tuple[int, int]]) -> None:
        """Choose order and formats for stages of given groups and lengths."""
        free = replace(node.instance, prefill_pace=ANYTHING, decode_pace=ANYTHING)
        form = formulate(free, self.best.limits, stages=stages)
        goal = self._target.linear(form, node.latency_low_s)
        best = self.best.cutoff
        if best < inf:
            form.builder.row(goal.expression, upper=goal.inverse(best))
        effort = replace(self._effort(self.best.gap / 2), max_nodes=_PLACING_NODES)
        result = self.backend.solve(form.model(goal.expression), effort, cancelled=self.cancelled)
        self.num_milps += 1
        if result.stop in _STOPS:
            self.stop = result.stop
        if result.point is not None:
            self.best.offer(read_plan(form, result.point))

    def _solve(self, node: Node) -> None:
        """Solve the integer program, in small pieces where it is large."""
        form = formulate(node.instance, self.best.limits)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal, node)

        def on_point(point: FloatArray) -> None:
            self.best.offer(read_plan(form, point))

        effort = self._effort(self.best.gap / node.gap_divisor / 2)
        if self._is_large:
            effort = replace(effort, max_nodes=_COUNTING_NODES * node.gap_divisor)
        result = self._milp(form, goal, effort, on_point)
        if result.point is not None:
            self.best.offer(read_plan(form, result.point))
        node = replace(node, bound=self._proven(node, goal, result, cutoff))
        if result.stop is not BackendStop.WORK_LIMIT or not self._halve(node, _NARROWEST):
            self._settle(node, result.stop, solved=True)

    def _cut(self, form: Formulation, goal: LinearGoal, node: Node) -> float:
        """Leave out what is not worth looking for; returns the cutoff."""
        cutoff = min(self.best.cutoff, node.window)
        if cutoff < inf:
            form.builder.row(goal.expression, upper=goal.inverse(cutoff))
        return cutoff

    def _proven(self, node: Node, goal: LinearGoal, result: BackendResult, cutoff: float) -> float:
        """Bound on the node: what lies beyond the cutoff was left out, not proven worse."""
        found = _value_of(goal, result.bound)
        return max(self._target.sharpen(min(cutoff, found)), node.bound)

    def _milp(
        self,
        form: Formulation,
        goal: LinearGoal,
        effort: Effort,
        on_point: Callable[[FloatArray], None] | None = None,
    ) -> BackendResult:
        self.num_milps += 1
        self.relaxed_since_milp = 0
        lowest = self.tree.lowest

        def on_bound(bound: float) -> None:
            better = min(_value_of(goal, bound), self.best.cutoff, lowest)
            self.working_bound = max(self.working_bound, better)

        return self.backend.solve(
            form.model(goal.expression),
            effort,
            on_point=on_point,
            on_bound=on_bound,
            cancelled=self.cancelled,
        )

    def _settle(self, node: Node, stop: BackendStop, *, solved: bool) -> None:
        """Close a node, or open it again where more can be learnt."""
        if stop in _STOPS:
            self.stop = stop
            self.tree.push(node)
        elif node.bound >= min(self.best.cutoff, node.window) or node.bound == inf:
            self.tree.close(node)
        elif not solved:
            self.tree.push(node)
        elif node.gap_divisor < _LAST_DIVISOR or stop is BackendStop.WORK_LIMIT:
            self.tree.push(replace(node, gap_divisor=node.gap_divisor * 8))
        else:
            self.tree.close(node)


def _value_of(goal: LinearGoal, objective: float) -> float:
    """A bound on the goal's value from one on the linear model, a little lower for safety."""
    value = goal.value(objective) if abs(objective) < inf else objective
    return value - _BOUND_SAFETY * abs(value) if abs(value) < inf else value
