"""
Best-first search over subproblems: batch size, pair of micro-batch sizes, price interval.

Every subproblem first gets the bound of its relaxation. The one with the least bound is then
solved as an integer program that only looks for plans better than the incumbent by more than the
gap, until no subproblem can hold one. Pruned subproblems keep their bounds, so the bound reported
is global.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from time import monotonic

import numpy as np

from solver.backends.highs import HighsBackend
from solver.check import evaluate, violations
from solver.decode import read_order, read_plan
from solver.formulation import Formulation, formulate
from solver.instance import Instance, layer_runs
from solver.linear import Backend, BackendResult, BackendStop, Effort
from solver.objective import Goal, Limits, Objective, StopRule
from solver.problem import FloatArray, PipelineProblem
from solver.result import Evaluation, Plan, Progress, StopReason, relative_gap
from solver.target import LinearGoal, Target

__all__ = ["Incumbent", "Search", "SearchResult"]

# Asked of the solver where the user asks for a full proof; ten times below OPTIMAL_GAP.
_LEAST_GAP = 1e-7
_SAME = 1e-9
# Bounds of linear programs are trusted to this share.
_BOUND_SAFETY = 1e-9
# Models with more runs than this get their first bound from the merged form.
MOST_RUNS_UNMERGED = 6
_MOST_PRICES = 4096
# A node whose bound falls short is solved again at an eighth of the gap, this often at most.
_LAST_DIVISOR = 64
_PLACING_S = 5.0

_STOPS = {
    BackendStop.TIME_LIMIT: StopReason.TIME_LIMIT,
    BackendStop.CANCELLED: StopReason.CANCELLED,
    BackendStop.MEMORY: StopReason.MEMORY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The best plan so far; ``value`` is to be minimised."""

    value: float
    plan: Plan
    evaluation: Evaluation

    def is_better_than(self, other: "Incumbent | None") -> bool:
        """Less value; within 1e-9, fewer GPUs, then fewer stages, then the lesser plan."""
        if other is None:
            return True
        if abs(self.value - other.value) > _SAME * max(abs(other.value), _SAME):
            return self.value < other.value
        return self.rank < other.rank

    @property
    def rank(self) -> tuple[object, ...]:
        """What decides among plans of equal value."""
        plan = self.plan
        stages = tuple((s.group, s.first_layer, s.formats) for s in plan.stages)
        sizes = (plan.batch_size, plan.prefill_micro_batch, plan.decode_micro_batch)
        return (self.evaluation.gpus, len(plan.stages), stages, sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found: values are those to minimise, `Target.public` shows them."""

    incumbent: Incumbent | None
    bound: float
    stop: StopReason
    num_bounds: int
    num_milps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    instance: Instance
    bound: float
    latency_low_s: float = 0.0
    gap_divisor: int = 1
    is_counted: bool = False


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
        Models with more runs of equal layers are bounded by the merged form first.
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
    _is_bounded: bool = False
    _closed_bound: float = inf
    _working_bound: float = inf
    _stopped: StopReason | None = None
    _num_bounds: int = 0
    _num_milps: int = 0

    def run(self) -> SearchResult:
        """Search until the gap is closed or a limit is reached."""
        for plan in self.start:
            self._offer(plan)
        self._open_all()
        self._is_bounded = True
        while self._open and self._stopped is None:
            bound, _, node = heapq.heappop(self._open)
            if bound >= self._cutoff():
                self._push(node)
                break
            self._working_bound = bound
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

    def _result(self) -> SearchResult:
        best, bound = self._incumbent, self._bound()
        reason = self._stopped
        if reason is None:
            gap = 0.0 if best is None else relative_gap(best.value, bound)
            reason = StopReason.PROVEN if gap <= 1e-6 else StopReason.GAP_REACHED
        return SearchResult(
            incumbent=best,
            bound=bound,
            stop=reason,
            num_bounds=self._num_bounds,
            num_milps=self._num_milps,
        )

    def _bound(self) -> float:
        if not self._is_bounded:
            return 0.0
        lowest = min(self._closed_bound, self._working_bound, *(b for b, _, _ in self._open), inf)
        return lowest if self._incumbent is None else min(lowest, self._incumbent.value)

    # -- incumbents -------------------------------------------------------------------------

    def _offer(self, plan: Plan) -> bool:
        """Judge a plan; keep it if it is feasible and better. Tells whether it is feasible."""
        values = evaluate(self.problem, plan)
        if violations(self.problem, values, self.limits):
            return False
        found = Incumbent(value=self._target.of(values), plan=plan, evaluation=values)
        if found.is_better_than(self._incumbent):
            self._incumbent = found
            self._tell()
        return True

    def _tell(self) -> None:
        if self.on_progress is None:
            return
        best, bound, target = self._incumbent, self._bound(), self._target
        self.on_progress(
            Progress(
                elapsed_s=monotonic() - self._begun,
                incumbent=None if best is None else target.public(best.value),
                bound=target.public(bound),
                gap=None
                if best is None
                else relative_gap(target.public(best.value), target.public(bound)),
                phase=self.phase,
            )
        )

    # -- bounds -----------------------------------------------------------------------------

    def _open_all(self) -> None:
        """Bound every subproblem; those not reached in time stay open at the trivial bound 0."""
        prices = _price_range(self.problem) if self._target.is_product else (0.0, inf)
        for instance in _instances(self.problem, prices):
            node = _Node(instance=instance, bound=0.0)
            if self._out_of_time():
                self._push(node)
            else:
                self._push_bounded(node)

    def _push(self, node: _Node) -> None:
        heapq.heappush(self._open, (node.bound, next(self._order), node))

    def _push_bounded(self, node: _Node) -> None:
        form = formulate(node.instance, self.limits, merged=self._merges())
        latency_low = 0.0
        if self._target.is_product:
            latency = Target(objective=Objective(goal=Goal.LATENCY))
            latency_low = self._relax(form, latency.linear(form, 0.0))
            if latency_low == inf:
                return
        bound = self._relax(form, self._target.linear(form, latency_low))
        bound = max(self._target.sharpen(bound), node.bound)
        if bound < inf:
            self._push(replace(node, bound=bound, latency_low_s=latency_low))

    def _merges(self) -> bool:
        return len(layer_runs(self.problem)) > self.most_runs

    def _relax(self, form: Formulation, goal: LinearGoal) -> float:
        """Lower bound from the relaxation; inf where it is infeasible, 0 where time ran out."""
        self._num_bounds += 1
        model = form.model(goal.expression)
        result = self.backend.relax(model, self._effort(self._gap))
        if result.stop is BackendStop.INFEASIBLE:
            return inf
        if result.stop is not BackendStop.PROVEN:
            return 0.0
        return max(_safe(goal.value(result.bound)), 0.0)

    def _effort(self, gap: float) -> Effort:
        return Effort(gap=gap, time_s=self._left(), seed=self.stop.seed)

    def _left(self) -> float:
        return self.deadline - monotonic()

    def _out_of_time(self) -> bool:
        if self.cancelled is not None and self.cancelled():
            self._stopped = StopReason.CANCELLED
        elif monotonic() >= self.deadline:
            self._stopped = StopReason.TIME_LIMIT
        return self._stopped is not None

    # -- integer programs -------------------------------------------------------------------

    def _explore(self, node: _Node) -> None:
        if self._out_of_time():
            self._push(node)
        elif self._target.is_product and not self._is_narrow(node.instance):
            self._split(node)
        elif self._merges() and not node.is_counted:
            self._count(node)
        else:
            self._solve(node)

    def _count(self, node: _Node) -> None:
        """Sharpen the bound by the merged form in whole numbers, and place what it counts."""
        form = formulate(node.instance, self.limits, merged=True)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal)
        result = self._milp(form, goal, self._gap / 2)
        if result.point is not None:
            self._place(node, read_order(form, result.point))
        bound = self._proven(node, goal, result, cutoff)
        self._settle(replace(node, bound=bound, is_counted=True), result.stop, solved=False)

    def _place(self, node: _Node, order: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        """Choose the formats anew for stages of given lengths."""
        form = formulate(node.instance, self.limits)
        form.hold([(slot, len(formats)) for slot, formats in order])
        goal = self._target.linear(form, node.latency_low_s)
        self._cut(form, goal)
        effort = replace(self._effort(self._gap / 2), time_s=min(self._left(), _PLACING_S))
        result = self.backend.solve(form.model(goal.expression), effort, cancelled=self.cancelled)
        self._num_milps += 1
        if result.point is not None:
            self._offer(read_plan(form, result.point))

    def _solve(self, node: _Node) -> None:
        form = formulate(node.instance, self.limits)
        goal = self._target.linear(form, node.latency_low_s)
        cutoff = self._cut(form, goal)

        def on_point(point: FloatArray) -> None:
            self._offer(read_plan(form, point))

        result = self._milp(form, goal, self._gap / node.gap_divisor / 2, on_point)
        if result.point is not None:
            self._offer(read_plan(form, result.point))
        bound = self._proven(node, goal, result, cutoff)
        self._settle(replace(node, bound=bound), result.stop, solved=True)

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

        def on_bound(bound: float) -> None:
            self._working_bound = max(self._working_bound, min(goal.value(bound), self._cutoff()))

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
            self._closed_bound = min(self._closed_bound, node.bound)
        elif not solved:
            self._push(node)
        elif self._target.is_product and node.instance.price_low < node.instance.price_high:
            self._split(node)
        elif node.gap_divisor < _LAST_DIVISOR:
            self._push(replace(node, gap_divisor=node.gap_divisor * 8))
        else:
            self._closed_bound = min(self._closed_bound, node.bound)

    # -- price intervals --------------------------------------------------------------------

    def _is_narrow(self, instance: Instance) -> bool:
        return instance.price_high <= instance.price_low * (1 + self._gap / 4)

    def _split(self, node: _Node) -> None:
        """Halve the price interval, between attainable prices where they can be listed."""
        low, high = node.instance.price_low, node.instance.price_high
        levels = _prices(self.problem)
        if levels is None:
            middle = (low + high) / 2
            parts = [(low, middle), (middle, high)]
        else:
            inside = levels[(levels >= low - _SAME) & (levels <= high + _SAME)]
            half = (len(inside) + 1) // 2
            parts = [(part[0], part[-1]) for part in (inside[:half], inside[half:]) if len(part)]
        for part_low, part_high in parts:
            instance = replace(
                node.instance, price_low=float(part_low), price_high=float(part_high)
            )
            self._push_bounded(replace(node, instance=instance))


def _safe(bound: float) -> float:
    return bound - _BOUND_SAFETY * abs(bound) if abs(bound) < inf else bound


def _instances(problem: PipelineProblem, prices: tuple[float, float]) -> list[Instance]:
    return [
        Instance(
            problem=problem,
            batch=batch,
            prefill=prefill,
            decode=decode,
            price_low=prices[0],
            price_high=prices[1],
        )
        for batch in problem.batches
        for prefill in batch.prefill
        for decode in batch.decode
    ]


def _price_range(problem: PipelineProblem) -> tuple[float, float]:
    levels = _prices(problem)
    if levels is not None:
        return float(levels[0]), float(levels[-1])
    everything = sum(d.price_usd_per_hour * d.count for d in problem.devices)
    return 0.0, float(everything + problem.node_price_usd_per_hour.sum())


def _prices(problem: PipelineProblem) -> FloatArray | None:
    """Every price that a choice of GPUs can have, rising; None where there are too many."""
    levels = np.zeros(1)
    steps = [np.arange(d.min_used, d.count + 1) * d.price_usd_per_hour for d in problem.devices] + [
        np.array([0.0, price]) for price in problem.node_price_usd_per_hour if price > 0
    ]
    for step in steps:
        levels = np.unique(np.round(np.add.outer(levels, step).ravel(), 9))
        if len(levels) > _MOST_PRICES:
            return None
    return levels[levels > 0] if (levels > 0).any() else levels
