"""
Pareto sets: the plans that no other plan beats in every objective, to a stated resolution.

Objectives f_0 .. f_m are values to minimise (throughput as seconds per token). A *zone* u asks for
f_i <= u_i, i >= 1. The plan p of least f_0 in a zone covers every plan x of the zone but those with
f_i(x) <= f_i(p) - step_i for some i, and these make up the zones in which u_i is f_i(p) - step_i.
Beginning with the zone of all plans and going on until no zone is left, every plan x ends up with a
plan p shown such that

    f_0(p) <= f_0(x) / (1 - gap)    and    f_i(p) < f_i(x) + step_i.

This is the epsilon-constraint method (Haimes, Lasdon and Wismer 1971,
doi:10.1109/TSMC.1971.4308298), with steps counted from the plans found.

Zones share their work: a bound of a zone, and of every pair of micro-batch sizes in it, holds in
each zone within it; a plan found anywhere begins the search of every zone in which it lies, and
where it is within the gap of what is known there is no search at all (`solver.zones`).

A plan of least f_0 may yet be beaten in the other objectives. So f_1, then f_2, is minimised among
the plans that are no worse in the rest; what is shown is beaten by no plan, up to the gaps stated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isqrt, sqrt
from time import monotonic

from profiles.errors import InputError
from solver.backends.registry import BackendName, backend_of
from solver.linear import Backend
from solver.objective import Goal, Limits, Objective, StopRule
from solver.problem import PipelineProblem
from solver.result import OPTIMAL_GAP, Evaluation, Plan, Status, StopReason, relative_gap, status_of
from solver.stairs import is_worth_stairs, prove_stairs
from solver.target import Target
from solver.zones import LIMIT_OF, Found, Zone, Zones, holds

__all__ = [
    "MOST_PARETO_POINTS",
    "PARETO_GOALS",
    "ParetoAxis",
    "ParetoPoint",
    "ParetoProgress",
    "ParetoSet",
    "View",
    "pareto",
]

PARETO_GOALS = tuple(LIMIT_OF)
"""Goals that a Pareto set may have."""
MOST_PARETO_POINTS = 400
_FEWEST, _MOST = 2, 3
_LEAST_STEP = 1e-9
# A known plan may take the place of a search where it lies above a zone by this share of a step.
_BEYOND = 0.4
_TIMES = (Goal.LATENCY, Goal.THROUGHPUT, Goal.TTFT, Goal.TPOT)
_VIEWS = (
    ("fastest", _TIMES),
    ("cheapest", (Goal.COST,)),
    ("best quality", (Goal.QUALITY_LOSS,)),
    ("fewest GPUs", (Goal.GPUS,)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoAxis:
    """
    One objective of a set.

    Parameters
    ----------
    goal
        What it is.
    best, worst
        Its values over the points, in the unit of the goal; None without points.
    step, share
        Resolution: a point is less than ``step`` worse than any plan that it covers, in the unit of
        the goal (throughput: in seconds per token), which is this share of the range, or all of it;
        0 for the objective that is exact up to its gap.
    """

    goal: Goal
    best: float | None
    worst: float | None
    step: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    """
    One plan of a set.

    Parameters
    ----------
    plan, evaluation
        The plan with its checked values.
    values, bounds, gaps
        By objective, in the units of the goals: the plan's value; a value that no plan beats that
        is no worse in the other objectives; and `relative_gap` between the two.
    status
        ``optimal`` where every gap is within `OPTIMAL_GAP`, else ``feasible``.
    """

    plan: Plan
    evaluation: Evaluation
    values: tuple[float, ...]
    bounds: tuple[float, ...]
    gaps: tuple[float, ...]
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A named point: its number in the set, from 0."""

    name: str
    point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoProgress:
    """State of a running search for a set: points so far, and zones still to be searched."""

    elapsed_s: float
    num_points: int
    num_open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoSet:
    """
    Plans of which none beats another.

    Parameters
    ----------
    axes
        The objectives, in the order asked for.
    points
        By rising value (throughput: falling) of the first objective; none where no plan exists.
    views
        Named points: ``fastest``, ``cheapest``, ``best quality``, ``fewest GPUs``, as far as the
        objectives speak of them, and ``balanced``, the knee: the point nearest to the best values
        of all objectives, each counted in shares of its range (Zeleny 1973).
    is_complete
        Whether every plan is covered by a point, as the module says; a proof.
    is_infeasible
        Whether it is proven that there is no plan at all.
    stop_reason
        ``proven`` or ``gap_reached``, or what ended a search early.
    runtime_s, num_searches, num_reused, num_bounds, num_milps
        Seconds by the clock; searches; zones that needed none; relaxations and integer programs.
    """

    axes: tuple[ParetoAxis, ...]
    points: tuple[ParetoPoint, ...]
    views: tuple[View, ...]
    is_complete: bool
    is_infeasible: bool
    stop_reason: StopReason
    runtime_s: float
    num_searches: int
    num_reused: int
    num_bounds: int
    num_milps: int


def pareto(
    problem: PipelineProblem,
    goals: Sequence[Goal],
    *,
    limits: Limits | None = None,
    stop: StopRule | None = None,
    points: int = 20,
    on_progress: Callable[[ParetoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    backend: BackendName | Backend = BackendName.HIGHS,
) -> ParetoSet:
    """
    Find the Pareto set of two or three objectives.

    Parameters
    ----------
    problem
        The problem by its coefficients.
    goals
        Two or three of `PARETO_GOALS`.
    limits, stop
        As for `solver.solve`; the gap is that of every point, the time that of the whole set.
    points
        Two objectives: the set has about as many points at most, its steps being the range over one
        less. Three: as many steps in both of the others together, so that it may have more points.
    on_progress
        Called after every point, and as its search gets on.
    cancelled
        Asked now and then; once it returns True the search ends with what it has.
    backend
        What proves the linear models of the search.

    Raises
    ------
    InputError
        When the goals are not two or three different ones, or two of them are one objective in
        this problem, or ``points`` is not between 2 and `MOST_PARETO_POINTS`.
    """
    begun = monotonic()
    limits, stop = limits or Limits(), stop or StopRule()
    _check(problem, goals, points)
    ordered = sorted(goals, key=PARETO_GOALS.index)
    zones = Zones(
        problem=problem,
        limits=limits,
        stop=stop,
        targets=tuple(Target(objective=Objective(goal=goal)) for goal in ordered),
        backend=backend_of(backend),
        cancelled=cancelled,
        deadline=begun + stop.time_limit_s,
    )

    def tell(num_points: int, num_open: int) -> None:
        if on_progress is not None:
            elapsed_s = monotonic() - begun
            on_progress(
                ParetoProgress(elapsed_s=elapsed_s, num_points=num_points, num_open=num_open)
            )

    sweep = _Sweep(zones=zones, num_steps=_steps(points, len(goals)), tell=tell)
    sweep.run()
    return _report(sweep, ordered, goals, monotonic() - begun)


def _check(problem: PipelineProblem, goals: Sequence[Goal], points: int) -> None:
    known = ", ".join(PARETO_GOALS)
    if not _FEWEST <= len(goals) <= _MOST or len(set(goals)) < len(goals):
        raise InputError(
            f"objectives are {', '.join(goals) or 'empty'}; give two or three different ones of "
            f"{known}.",
            pointer="/objectives",
        )
    for goal in goals:
        if goal not in PARETO_GOALS:
            raise InputError(
                f"{goal.value!r} cannot be an objective of a Pareto set; choose among {known}.",
                pointer="/objectives",
            )
    is_one = len(problem.batches) == 1 or problem.num_requests is not None
    if is_one and {Goal.LATENCY, Goal.THROUGHPUT} <= set(goals):
        raise InputError(
            "latency and throughput are one objective for one batch size or a fixed number of "
            "requests; drop one of them, or give a list of batch sizes.",
            pointer="/objectives",
        )
    if not _FEWEST <= points <= MOST_PARETO_POINTS:
        raise InputError(
            f"points is {points}; give {_FEWEST} to {MOST_PARETO_POINTS}.", pointer="/points"
        )


def _steps(points: int, num_goals: int) -> int:
    """Steps across the range of every objective but the first."""
    return max(1, points - 1 if num_goals == _FEWEST else isqrt(points - 1))


# -- the sweep ----------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Sweep:
    """
    Goes through the zones, loose ones first.

    ``left`` are zones that were not searched to an end.
    """

    zones: Zones
    num_steps: int
    tell: Callable[[int, int], None]
    steps: tuple[float, ...] = ()
    shown: list[Found] = field(default_factory=list)
    left: list[Zone] = field(default_factory=list)
    num_open: int = 0
    is_infeasible: bool = False

    def run(self) -> None:
        """Show the ends of the ranges, then what lies between."""
        zones = self.zones
        zones.on_step = lambda: self.tell(len(self.shown), self.num_open)
        whole: Zone = (inf,) * (len(zones.targets) - 1)
        ends = zones.lowest()
        best = None if inf in zones.least else self._show(whole, zones.best_in(whole))
        if best is None:
            self.is_infeasible = inf in zones.least or zones.bound(whole) == inf
            return
        for number, end in enumerate(ends):
            if end is not None:
                zone = (*whole[:number], end.values[number + 1], *whole[number + 1 :])
                self._show(zone, zones.best_in(zone))
        self._set_steps()
        if is_worth_stairs(zones):
            prove_stairs(zones, best, self.steps[0])
        self._go_through(self._parts(whole, best))
        while self.left and zones.stopped is StopReason.TIME_LIMIT and not zones.is_over():
            again, self.left = self.left, []
            zones.stopped, zones.share_of_time = None, 1 / len(again)
            self._go_through(again)

    def _set_steps(self) -> None:
        zones = self.zones
        highest = [max(values) for values in zip(*(f.values for f in self.shown), strict=True)]
        zones.ranges = [high - low for high, low in zip(highest, zones.least, strict=True)]
        steps = []
        for target, width, high in zip(
            zones.targets[1:], zones.ranges[1:], highest[1:], strict=True
        ):
            step = max(width / self.num_steps, high - target.cutoff(high, zones.gap), _LEAST_STEP)
            whole = target.objective.goal is Goal.GPUS
            steps.append(float(max(1, round(step))) if whole else step)
        self.steps = tuple(steps)

    def _go_through(self, pending: list[Zone]) -> None:
        while pending:
            self.num_open = len(pending)
            self.tell(len(self.shown), self.num_open)
            zone, *pending = pending
            if any(holds(other, zone) for other in pending):
                continue  # a looser zone waits
            if self.zones.is_over():
                self.left += [zone, *pending]
                return
            found = self._show(zone, self._near(zone) or self.zones.best_in(zone))
            if found is not None:
                pending += self._parts(zone, found)

    def _near(self, zone: Zone) -> Found | None:
        """A known plan that needs no search: in the zone, or above it by part of a step."""

        def beyond(found: Found) -> float:
            columns = zip(found.values[1:], zone, self.steps, strict=True)
            return max(max((value - u) / step, 0.0) for value, u, step in columns)

        near = sorted(
            (found for found in self.zones.plans if beyond(found) <= _BEYOND),
            key=lambda found: (beyond(found), found.values[0]),
        )
        return next((found for found in near if self.zones.is_near(found, zone)), None)

    def _parts(self, zone: Zone, found: Found) -> list[Zone]:
        """What the plan leaves of its zone."""
        return [
            (*zone[:number], found.values[number + 1] - step, *zone[number + 1 :])
            for number, step in enumerate(self.steps)
        ]

    def _show(self, zone: Zone, found: Found | None) -> Found | None:
        """The plan of a zone, which is shown from then on, made as good as it can be."""
        if found is None or not self.zones.is_near(found, zone):
            if self.zones.bound(zone) < inf:
                self.left.append(zone)  # a search ended early
            if found is None:
                return None
        if self.zones.stop.gap <= OPTIMAL_GAP and not found.bounds:
            found = self.zones.improved(found)
        if all(found.plan != other.plan for other in self.shown):
            self.shown.append(found)
        return found


# -- the report ---------------------------------------------------------------------------------


def _report(
    sweep: _Sweep, ordered: Sequence[Goal], goals: Sequence[Goal], runtime_s: float
) -> ParetoSet:
    zones = sweep.zones
    places = [ordered.index(goal) for goal in goals]
    kept = sorted(_undominated(sweep.shown), key=lambda f: [f.values[at] for at in places])
    is_complete = not sweep.left and bool(sweep.steps or sweep.is_infeasible)
    points = tuple(_point(zones, found, places) for found in kept)
    reached = all(point.status is Status.OPTIMAL for point in points)
    proof = StopReason.PROVEN if reached else StopReason.GAP_REACHED
    return ParetoSet(
        axes=tuple(_axis(sweep, kept, at) for at in places),
        points=points,
        views=tuple(_views(kept, ordered)),
        is_complete=is_complete,
        is_infeasible=sweep.is_infeasible,
        stop_reason=proof if zones.stopped is None else zones.stopped,
        runtime_s=runtime_s,
        num_searches=zones.num_searches,
        num_reused=zones.num_reused,
        num_bounds=zones.num_bounds,
        num_milps=zones.num_milps,
    )


def _undominated(found: Sequence[Found]) -> list[Found]:
    """The plans that no other one is as good as; the first of equal ones."""
    kept = []
    for at, each in enumerate(found):
        others = [o for n, o in enumerate(found) if n != at and holds(each.values, o.values)]
        if not any(not holds(o.values, each.values) or found.index(o) < at for o in others):
            kept.append(each)
    return kept


def _point(zones: Zones, found: Found, places: Sequence[int]) -> ParetoPoint:
    lowest = [min(zones.bound(found.values[1:]), found.values[0])]
    for number in range(1, len(found.values)):
        bound = max(zones.lower(number, found), found.bounds.get(number, 0.0))
        lowest.append(min(bound, found.values[number]))
    values = tuple(zones.targets[at].public(found.values[at]) for at in places)
    bounds = tuple(zones.targets[at].public(lowest[at]) for at in places)
    gaps = tuple(relative_gap(v, b) for v, b in zip(values, bounds, strict=True))
    return ParetoPoint(
        plan=found.plan,
        evaluation=found.evaluation,
        values=values,
        bounds=bounds,
        gaps=gaps,
        status=status_of(max(gaps)),
    )


def _axis(sweep: _Sweep, kept: Sequence[Found], at: int) -> ParetoAxis:
    target = sweep.zones.targets[at]
    values = [found.values[at] for found in kept]
    step = sweep.steps[at - 1] if at and sweep.steps else 0.0
    width = sweep.zones.ranges[at] if sweep.zones.ranges else 0.0
    return ParetoAxis(
        goal=target.objective.goal,
        best=target.public(min(values)) if values else None,
        worst=target.public(max(values)) if values else None,
        step=step,
        share=min(step / width, 1.0) if width > 0 else 0.0,
    )


def _views(kept: Sequence[Found], ordered: Sequence[Goal]) -> list[View]:
    if not kept:
        return []
    views = []
    for name, goals in _VIEWS:
        at = next((ordered.index(goal) for goal in goals if goal in ordered), None)
        if at is not None:
            values = [found.values[at] for found in kept]
            views.append(View(name=name, point=values.index(min(values))))
    columns = list(zip(*(found.values for found in kept), strict=True))
    low, high = [min(c) for c in columns], [max(c) for c in columns]

    def distance(found: Found) -> float:
        shares = [
            (value - least) / (most - least) if most > least else 0.0
            for value, least, most in zip(found.values, low, high, strict=True)
        ]
        return sqrt(sum(share**2 for share in shares))

    far = [distance(found) for found in kept]
    return [*views, View(name="balanced", point=far.index(min(far)))]
