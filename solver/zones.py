"""Least first objective within limits on the others; every question uses what was learnt before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import floor, inf
from time import monotonic

from solver.check import evaluate, violations
from solver.incumbent import Incumbent
from solver.instance import Pair
from solver.linear import Backend
from solver.objective import Goal, Limits, StopRule
from solver.problem import PipelineProblem
from solver.refit import refit
from solver.result import OPTIMAL_GAP, Evaluation, Plan, StopReason
from solver.search import Search, SearchResult
from solver.target import Target

__all__ = ["LIMIT_OF", "Found", "Proof", "Zone", "Zones", "holds"]

LIMIT_OF = {
    Goal.COST: "cost_usd_per_million_tokens",
    Goal.THROUGHPUT: "s_per_token",
    Goal.LATENCY: "latency_s",
    Goal.TTFT: "ttft_s",
    Goal.TPOT: "tpot_s",
    Goal.QUALITY_LOSS: "loss_nats",
    Goal.GPUS: "gpus",
}
"""The limit that bounds each goal; the earlier goal is the better one to minimise."""

# Values within this share are the same.
_SAME = 1e-9
_LEAST_SHARE_S = 1.0
_MOST_STARTS = 4
_BISECTIONS = 30

Zone = tuple[float, ...]
"""Most that each objective but the first may be; all values are to be minimised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    A plan with its values to minimise.

    Parameters
    ----------
    plan, evaluation
        The plan, as the check sees it.
    values
        One for each objective.
    bounds
        By number of the objective, as far as asked for: no plan that is no worse in the others has
        less.
    """

    plan: Plan
    evaluation: Evaluation
    values: tuple[float, ...]
    bounds: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """
    What is proven of a zone.

    Parameters
    ----------
    zone
        The limits.
    bound
        No plan of the zone has less of the first objective; inf where there is no plan.
    pair_bounds
        The same by pair of micro-batch sizes; pairs without plans are not in it.
    """

    zone: Zone
    bound: float
    pair_bounds: Mapping[Pair, float]


def holds(outer: Zone, inner: Zone) -> bool:
    """Whether all that lies in the inner zone lies in the outer one."""
    return all(i <= o * (1 + _SAME) for o, i in zip(outer, inner, strict=True))


@dataclass(slots=True, kw_only=True)
class Zones:
    """
    Answers questions about zones of one problem.

    Parameters
    ----------
    problem, limits, stop, backend, cancelled
        As `solver.solve` takes them; the gap is that of every search.
    targets
        The objectives; the first is minimised.
    deadline
        Value of ``time.monotonic()`` at which the last search ends.
    plans, proofs
        What was found, and what is known.
    least, ranges
        By objective, once known: bound on its least value; width of the values of interest.
    share_of_time
        Of the time left, what one search may take, so that none takes all of it.
    stopped
        What ended a search early, if anything did.
    on_step
        Called whenever a search has got on.
    """

    problem: PipelineProblem
    limits: Limits
    stop: StopRule
    targets: tuple[Target, ...]
    backend: Backend
    cancelled: Callable[[], bool] | None
    deadline: float
    plans: list[Found] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    least: list[float] = field(default_factory=lambda: [0.0])
    ranges: list[float] = field(default_factory=list)
    share_of_time: float = 0.25
    stopped: StopReason | None = None
    on_step: Callable[[], None] | None = None
    num_searches: int = 0
    num_reused: int = 0
    num_bounds: int = 0
    num_milps: int = 0

    @property
    def gap(self) -> float:
        """What is near enough."""
        return max(self.stop.gap, OPTIMAL_GAP)

    def is_over(self) -> bool:
        """Whether to stop."""
        if self.cancelled is not None and self.cancelled():
            self.stopped = StopReason.CANCELLED
            return True
        if monotonic() >= self.deadline:
            self.stopped = StopReason.TIME_LIMIT
            return True
        return False

    # -- what is known ----------------------------------------------------------------------

    def bound(self, zone: Zone) -> float:
        """
        No plan of a zone has less of the first objective.

        Returns
        -------
        float
            0 where nothing is known, inf where there is no plan.
        """
        if any(u < low for u, low in zip(zone, self.least[1:], strict=True)):
            return inf
        return max((p.bound for p in self.proofs if holds(p.zone, zone)), default=0.0)

    def pairs(self, zone: Zone) -> Mapping[Pair, float] | None:
        """Pairs of micro-batch sizes that may have plans in a zone, with bounds; None: all may."""
        if not any(holds(proof.zone, zone) for proof in self.proofs):
            return None
        first, *others = (p.pair_bounds for p in self.proofs if holds(p.zone, zone))
        return {
            pair: max(bound, *(other[pair] for other in others)) if others else bound
            for pair, bound in first.items()
            if all(pair in other for other in others)
        }

    def is_near(self, found: Found, zone: Zone) -> bool:
        """Whether a plan is within the gap of all plans of a zone, and of all no worse than it."""
        limits = tuple(max(u, v) for u, v in zip(zone, found.values[1:], strict=True))
        enough = self.targets[0].cutoff(found.values[0], self.gap)
        return self.bound(limits) >= enough - _SAME * abs(enough)

    def lower(self, number: int, found: Found) -> float:
        """No plan that is no worse in the others has less of this objective, as far as is known."""
        low, high = self.least[number], found.values[number]
        limits = list(found.values[1:])

        def is_empty(value: float) -> bool:
            limits[number - 1] = value
            return self.bound(tuple(limits)) > found.values[0]

        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if is_empty(middle) else (low, middle)
        return low

    # -- questions --------------------------------------------------------------------------

    def lowest(self) -> list[Found | None]:
        """By objective but the first: the plan of least value, which is bounded from then on."""
        ends = []
        for target in self.targets[1:]:
            starts = tuple(found.plan for found in self.plans)
            result = self._search(target, self.limits, self.stop.gap, None, starts)
            self.least.append(result.bound)
            ends.append(self._kept(result.incumbent))
            if result.bound == inf:
                break
        return ends

    def best_in(self, zone: Zone) -> Found | None:
        """The plan of least first objective in a zone, by a search only where one is needed."""
        inside = sorted(
            (found for found in self.plans if holds(zone, found.values[1:])),
            key=lambda found: found.values[0],
        )
        if self.bound(zone) == inf or (inside and self.is_near(inside[0], zone)):
            self.num_reused += 1
            return inside[0] if inside else None
        starts = tuple(found.plan for found in inside[:_MOST_STARTS])
        limits, known = self.limits_of((inf, *zone)), self.pairs(zone)
        result = self._search(self.targets[0], limits, self.stop.gap, known, starts)
        if result.pair_bounds is not None:
            self.learn(zone, result.bound, result.pair_bounds)
        return self._kept(result.incumbent)

    def refit(self, found: Found, zone: Zone) -> None:
        """Keep the best plan of a zone with nearly the stages of a given one, if there is any."""
        incumbent, num_milps = refit(
            self.problem,
            found.plan,
            price_usd_per_hour=found.evaluation.price_usd_per_hour,
            limits=self.limits_of((inf, *zone)),
            target=self.targets[0],
            stop=self.stop,
            backend=self.backend,
            seconds_left=lambda: self.deadline - monotonic(),
            cancelled=self.cancelled,
        )
        self.num_milps += num_milps
        self._kept(incumbent)

    def improved(self, found: Found) -> Found:
        """A plan made no worse in any objective, and as good as can be in all but the first."""
        for number in range(1, len(self.targets)):
            found = self._improved_in(number, found)
        return found

    def _improved_in(self, number: int, found: Found) -> Found:
        value, target = found.values[number], self.targets[number]
        if self.least[number] >= target.cutoff(value, self.stop.gap):
            return found
        pairs = self.pairs(found.values[1:]) or {}
        highest = found.values[0] * (1 + _SAME)
        known = {pair: self.least[number] for pair, bound in pairs.items() if bound <= highest}
        same = [value * (1 + _SAME) for value in found.values]
        same[number] = inf
        limits = self.limits_of(tuple(same))
        result = self._search(target, limits, self.stop.gap, known, (found.plan,))
        better = self._kept(result.incumbent) or found
        bounds = {**better.bounds, **found.bounds, number: result.bound}
        better = replace(better, bounds=bounds)
        self.plans = [better if each.plan == better.plan else each for each in self.plans]
        return better

    # -- searches ---------------------------------------------------------------------------

    def _search(
        self,
        target: Target,
        limits: Limits,
        gap: float,
        known: Mapping[Pair, float] | None,
        starts: tuple[Plan, ...],
    ) -> SearchResult:
        self.num_searches += 1
        now = monotonic()
        left_s = max(self.deadline - now, 0.0)
        search = Search(
            problem=self.problem,
            objective=target.objective,
            limits=limits,
            stop=replace(self.stop, gap=gap),
            deadline=now + max(left_s * self.share_of_time, min(left_s, _LEAST_SHARE_S)),
            start=starts,
            on_progress=lambda _: self.on_step and self.on_step(),
            cancelled=self.cancelled,
            backend=self.backend,
            known=known,
        )
        result = search.run()
        self.num_bounds += result.num_bounds
        self.num_milps += result.num_milps
        if result.stop not in (StopReason.PROVEN, StopReason.GAP_REACHED):
            self.stopped = result.stop
        return result

    def learn(self, zone: Zone, bound: float, pair_bounds: Mapping[Pair, float]) -> None:
        """Keep a proof."""
        self.proofs.append(Proof(zone=zone, bound=bound, pair_bounds=pair_bounds))

    def offer(self, plan: Plan) -> Found | None:
        """A plan from elsewhere, kept if it keeps the limits of the request."""
        values = evaluate(self.problem, plan)
        if violations(self.problem, values, self.limits):
            return None
        return self._known(plan, values)

    def _kept(self, best: Incumbent | None) -> Found | None:
        return None if best is None else self._known(best.plan, best.evaluation)

    def _known(self, plan: Plan, evaluation: Evaluation) -> Found:
        """A plan, added to those known."""
        for found in self.plans:
            if found.plan == plan:
                return found
        values = tuple(target.of(evaluation) for target in self.targets)
        self.plans.append(Found(plan=plan, evaluation=evaluation, values=values))
        return self.plans[-1]

    def limits_of(self, most: tuple[float, ...]) -> Limits:
        """The limits of the request, and the most that every objective may be."""
        limits = self.limits
        for target, value in zip(self.targets, most, strict=True):
            limits = _with(limits, target.objective.goal, value)
        return limits


def _with(limits: Limits, goal: Goal, most: float) -> Limits:
    if most == inf:
        return limits
    name = LIMIT_OF[goal]
    before = getattr(limits, name)
    tightest = most if before is None else min(most, before)
    return limits.but(name, floor(tightest + _SAME) if goal is Goal.GPUS else tightest)
