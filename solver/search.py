"""
Best-first search over subproblems: batch size, pair of micro-batch sizes, price interval.

A subproblem is first bounded in closed form, then by its relaxation, then (where its layers all
differ) by the merged form, and last solved as an integer program that only looks for plans better
than the incumbent by more than the gap. The subproblem with the least bound comes next, until no
bound allows a better plan. Pruned subproblems keep their bounds, so the bound reported is global.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import count
from math import inf
from time import monotonic

from profiles.errors import BackendError
from solver.backends.highs import HighsBackend
from solver.check import evaluate, violations
from solver.decode import read_order, read_plan
from solver.formulation import Formulation, formulate
from solver.incumbent import Incumbent
from solver.instance import Instance, layer_runs
from solver.linear import Backend, BackendResult, BackendStop, Effort
from solver.objective import Goal, Limits, Objective, StopRule
from solver.prices import PriceLevels
from solver.problem import FloatArray, PipelineProblem
from solver.quick import may_fit, quick_bounds
from solver.result import OPTIMAL_GAP, Plan, Progress, StopReason, relative_gap
from solver.target import LinearGoal, Target

__all__ = ["Search", "SearchResult"]

# Asked of the solver where the user asks for a full proof; ten times below OPTIMAL_GAP.
_LEAST_GAP = 1e-7
# Bounds of linear programs are trusted to this share.
_BOUND_SAFETY = 1e-9
# Models with more runs than this are counted in the merged form first.
MOST_RUNS_UNMERGED = 6
# A node whose bound falls short is solved again at an eighth of the gap, this often at most.
_LAST_DIVISOR = 64
# Work for choosing formats in fixed stages: no clock, so that the same request gives the same plan.
_PLACING_NODES = 2000
# After so many relaxations in a row the most promising node is solved roughly, for the sake of a
# plan, while the incumbent may be this much worse than need be.
_RELAXATIONS_PER_DIVE = 32
_DIVE_GAP = 0.02

_STOPS = {
    BackendStop.TIME_LIMIT: StopReason.TIME_LIMIT,
    BackendStop.CANCELLED: StopReason.CANCELLED,
    BackendStop.MEMORY: StopReason.MEMORY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """
    What a search found; values are those to minimise, `Target.public` shows them.

    ``is_infeasible`` is a proof; ``bound`` is then inf.
    """

    incumbent: Incumbent | None
    bound: float
    stop: StopReason
    is_infeasible: bool
    num_bounds: int
    num_milps: int


class _Level(IntEnum):
    """How far a node has been worked on."""

    QUICK = 0
    RELAXED = 1
    COUNTED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    instance: Instance
    bound: float
    level: _Level = _Level.QUICK
    latency_low_s: float = 0.0
    gap_divisor: int = 1


@dataclass(slots=True, kw_only=True)
class Search:
    """
    One search; call `run` once.

    Parameters
    ----------
    problem, objective, limits, stop
        What to solve and when to stop.
    deadline
        Value of ``time.monotonic()`` at which to stop.
    start
        Plans to begin with; those that break a limit are left aside.
    on_progress, cancelled
        Called as the search goes on.
    phase
        Shown with progress.
    most_runs
        Models with more runs of equal layers are counted in the merged form first.
    """

    problem: PipelineProblem
    objective: Objective
    limits: Limits
    stop: StopRule
    deadline: float
    start: tuple[Plan, ...] = ()
    on_progress: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] | None = None
    phase: str = "search"
    most_runs: int = MOST_RUNS_UNMERGED
    backend: Backend = field(default_factory=HighsBackend)
    _begun: float = field(default_factory=monotonic)
    _incumbent: Incumbent | None = None
    _open: list[tuple[float, int, _Node]] = field(default_factory=list)
    _order: "count[int]" = field(default_factory=count)
    _is_ready: bool = False
    _merges: bool = False
    _prices: PriceLevels | None = None
    _closed_bound: float = inf
    _working_bound: float = inf
    _stopped: StopReason | None = None
    _num_bounds: int = 0
    _num_milps: int = 0
    _since_dive: int = 0

    def run(self) -> SearchResult:
        """Search until the gap is closed or a limit is reached."""
        for plan in self.start:
            self._offer(plan)
        self._merges = len(layer_runs(self.problem)) > self.most_runs
        self._open_all()
        while self._open and not self._out_of_time():
            if self._open[0][0] >= self._cutoff():
                break
            self._dive()
            node = heapq.heappop(self._open)[2]
            self._working_bound = node.bound
            self._explore(node)
            self._working_bound = inf
            self._tell()
        return self._result()

    @property
    def _target(self) -> Target:
        return Target(objective=self.objective)

    @property
    def _gap(self) -> float:
        return max(self.stop.gap, _LEAST_GAP)

    def _cutoff(self) -> float:
        best = self._incumbent
        return inf if best is None else self._target.cutoff(best.value, self._gap)

    def _bound(self) -> float:
        if not self._is_ready:
            return 0.0
        lowest = min(self._closed_bound, self._working_bound, *(b for b, _, _ in self._open), inf)
        return lowest if self._incumbent is None else min(lowest, self._incumbent.value)

    def _left(self) -> float:
        return self.deadline - monotonic()

    def _out_of_time(self) -> bool:
        if self.cancelled is not None and self.cancelled():
            self._stopped = StopReason.CANCELLED
        elif self._left() <= 0:
            self._stopped = StopReason.TIME_LIMIT
        return self._stopped is not None

    # -- results ----------------------------------------------------------------------------

    def _result(self) -> SearchResult:
        bound = self._bound()
        infeasible = self._incumbent is None and self._stopped is None and bound == inf
        return SearchResult(
            incumbent=self._incumbent,
            bound=bound,
            stop=StopReason.PROVEN if infeasible else self._reason(bound),
            is_infeasible=infeasible,
            num_bounds=self._num_bounds,
            num_milps=self._num_milps,
        )

    def _reason(self, bound: float) -> StopReason:
        """Why it ended: what stopped it, or how small the gap is."""
        best, target = self._incumbent, self._target
        if self._stopped is not None:
            return self._stopped
        if best is None:
            return StopReason.NUMERICS
        if relative_gap(target.public(best.value), target.public(bound)) <= OPTIMAL_GAP:
            return StopReason.PROVEN
        enough = bound >= self._cutoff() - _BOUND_SAFETY * abs(best.value)
        return StopReason.GAP_REACHED if enough else StopReason.NUMERICS

    def _offer(self, plan: Plan) -> None:
        """Judge a plan; keep it if it is feasible and better."""
        values = evaluate(self.problem, plan)
        if violations(self.problem, values, self.limits):
            return
        found = Incumbent(value=self._target.of(values), plan=plan, evaluation=values)
        if found.is_better_than(self._incumbent):
            self._incumbent = found
            self._tell()

    def _tell(self) -> None:
        if self.on_progress is None:
            return
        best, target = self._incumbent, self._target
        bound = target.public(self._bound())
        known = None if abs(bound) == inf or not self._is_ready else bound
        incumbent = None if best is None else target.public(best.value)
        both = incumbent is not None and known is not None
        self.on_progress(
            Progress(
                elapsed_s=monotonic() - self._begun,
                incumbent=incumbent,
                bound=known,
                gap=relative_gap(incumbent, known) if both else None,  # type: ignore[arg-type]
                phase=self.phase,
            )
        )

    # -- nodes ------------------------------------------------------------------------------

    def _open_all(self) -> None:
        """Every pair of micro-batch sizes that may fit, bounded in closed form."""
        low, high = 0.0, inf
        if self._target.is_product:
            self._prices = PriceLevels.of(self.problem)
            low, high = self._prices.lowest, self._prices.highest
        for batch in self.problem.batches:
            for prefill in batch.prefill:
                for decode in batch.decode:
                    instance = Instance(
                        problem=self.problem,
                        batch=batch,
                        prefill=prefill,
                        decode=decode,
                        price_low=low,
                        price_high=high,
                    )
                    if may_fit(instance):
                        quick = self._target.quick(instance, quick_bounds(instance, self.limits))
                        self._push(_Node(instance=instance, bound=quick))
        self._is_ready = True

    def _push(self, node: _Node) -> None:
        heapq.heappush(self._open, (node.bound, next(self._order), node))

    def _dive(self) -> None:
        """Now and then, look for a plan where the relaxation is best."""
        relaxed = [entry for entry in self._open if entry[2].level > _Level.QUICK]
        if self._since_dive < _RELAXATIONS_PER_DIVE or not relaxed:
            return
        self._since_dive = 0
        entry = min(relaxed)
        best = self._incumbent
        if best is None or entry[0] < self._target.cutoff(best.value, _DIVE_GAP):
            self._open.remove(entry)
            heapq.heapify(self._open)
            self._explore(entry[2], roughly=True)

    def _explore(self, node: _Node, *, roughly: bool = False) -> None:
        try:
            if node.level is _Level.QUICK:
                self._relax_node(node)
            elif self._merges and node.level is _Level.RELAXED:
                self._count(node)
            else:
                self._solve(node, roughly=roughly)
        except BackendError:
            self._close(node)

    def _close(self, node: _Node) -> None:
        """Nothing more can be learnt here; the bound stays."""
        self._closed_bound = min(self._closed_bound, node.bound)

    # -- bounds -----------------------------------------------------------------------------

    def _relax_node(self, node: _Node) -> None:
        self._since_dive += 1
        form = formulate(node.instance, self.limits, merged=self._merges, pooled=True)
        latency_low = 0.0
        if self._target.is_product:
            latency = Target(objective=Objective(goal=Goal.LATENCY))
            latency_low = self._relax(form, latency.linear(form, 0.0))
            if latency_low == inf:
                return
        bound = self._target.sharpen(self._relax(form, self._target.linear(form, latency_low)))
        if bound < inf:
            self._push(
                replace(
                    node,
                    bound=max(bound, node.bound),
                    level=_Level.RELAXED,
                    latency_low_s=latency_low,
                )
            )

    def _relax(self, form: Formulation, goal: LinearGoal) -> float:
        """Lower bound from the relaxation; inf where it is infeasible, 0 where time ran out."""
        self._num_bounds += 1
        result = self.backend.relax(form.model(goal.expression), self._effort(self._gap))
        if result.stop is BackendStop.INFEASIBLE:
            return inf
        if result.stop is not BackendStop.PROVEN:
            return 0.0
        return max(_safe(goal.value(result.bound)), 0.0)

    def _effort(self, gap: float) -> Effort:
        return Effort(gap=gap, time_s=self._left(), seed=self.stop.seed)

    # -- integer programs -------------------------------------------------------------------

    def _count(self, node: _Node) -> None:
        """Sharpen the bound by the merged form in whole numbers, and place what it counts."""
        form = formulate(node.instance, self.limits, merged=True)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal)
        result = self._milp(form, goal, self._gap / 2)
        if result.point is not None:
            self._place(node, read_order(form, result.point))
        bound = self._proven(node, goal, result, cutoff)
        self._settle(replace(node, bound=bound, level=_Level.COUNTED), result.stop, solved=False)

    def _place(self, node: _Node, order: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        """Choose the formats anew for stages of given lengths."""
        form = formulate(node.instance, self.limits)
        form.hold([(slot, len(formats)) for slot, formats in order])
        goal = self._target.linear(form, node.latency_low_s)
        self._cut(form, goal)
        effort = replace(self._effort(self._gap / 2), max_nodes=_PLACING_NODES)
        result = self.backend.solve(form.model(goal.expression), effort, cancelled=self.cancelled)
        self._num_milps += 1
        if result.point is not None:
            self._offer(read_plan(form, result.point))

    def _solve(self, node: _Node, *, roughly: bool) -> None:
        gap = _DIVE_GAP if roughly else self._gap / node.gap_divisor / 2
        form = formulate(node.instance, self.limits)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal)

        def on_point(point: FloatArray) -> None:
            self._offer(read_plan(form, point))

        result = self._milp(form, goal, gap, on_point)
        if result.point is not None:
            self._offer(read_plan(form, result.point))
        bound = self._proven(node, goal, result, cutoff)
        self._settle(replace(node, bound=bound), result.stop, solved=not roughly)

    def _cut(self, form: Formulation, goal: LinearGoal) -> float:
        """Leave out what is not worth looking for; returns the cutoff."""
        cutoff = self._cutoff()
        if cutoff < inf:
            form.builder.row(goal.expression, upper=goal.inverse(cutoff))
        return cutoff

    def _proven(self, node: _Node, goal: LinearGoal, result: BackendResult, cutoff: float) -> float:
        """Bound on the node: what lies beyond the cutoff was left out, not proven worse."""
        found = inf if result.bound == inf else _safe(goal.value(result.bound))
        return max(self._target.sharpen(min(cutoff, found)), node.bound)

    def _milp(
        self,
        form: Formulation,
        goal: LinearGoal,
        gap: float,
        on_point: Callable[[FloatArray], None] | None = None,
    ) -> BackendResult:
        self._num_milps += 1
        self._since_dive = 0
        lowest = self._open[0][0] if self._open else inf

        def on_bound(bound: float) -> None:
            better = min(goal.value(bound), self._cutoff(), lowest)
            self._working_bound = max(self._working_bound, better)

        return self.backend.solve(
            form.model(goal.expression),
            self._effort(gap),
            on_point=on_point,
            on_bound=on_bound,
            cancelled=self.cancelled,
        )

    def _settle(self, node: _Node, stop: BackendStop, *, solved: bool) -> None:
        """Close a node, or open it again where more can be learnt."""
        if stop in _STOPS:
            self._stopped = _STOPS[stop]
            self._push(node)
        elif node.bound >= self._cutoff() or node.bound == inf:
            self._close(node)
        elif not solved:
            self._push(node)
        elif self._prices is not None and not self._prices.is_single(node.instance):
            self._split(node, self._prices)
        elif node.gap_divisor < _LAST_DIVISOR:
            self._push(replace(node, gap_divisor=node.gap_divisor * 8))
        else:
            self._close(node)

    def _split(self, node: _Node, prices: PriceLevels) -> None:
        """Halve the price interval and begin anew in each half."""
        for half in prices.halves(node.instance):
            self._push(replace(node, instance=half, level=_Level.QUICK))


def _safe(bound: float) -> float:
    return bound - _BOUND_SAFETY * abs(bound) if abs(bound) < inf else bound
