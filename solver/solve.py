"""From a problem to a report: search, tie-break, explain."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from time import monotonic

from solver.backends.registry import BackendName, backend_of
from solver.baselines import even_split
from solver.check import score
from solver.linear import Backend
from solver.objective import Goal, Limits, Objective, StopRule
from solver.problem import PipelineProblem
from solver.remedies import find_remedies
from solver.result import (
    Plan,
    Progress,
    Remedy,
    SolveReport,
    Status,
    StopReason,
    relative_gap,
    status_of,
)
from solver.search import Search, SearchResult
from solver.target import Target

__all__ = ["solve"]

_SECONDARY_SLACK = 1e-9
_ENDS_OF_PROOF = (StopReason.PROVEN, StopReason.GAP_REACHED)
_LIMIT_OF = {
    Goal.TTFT: "ttft_s",
    Goal.TPOT: "tpot_s",
    Goal.QUALITY_LOSS: "loss_nats",
    Goal.PRICE: "price_usd_per_hour",
    Goal.COST: "price_usd_per_hour",
    Goal.GPUS: "gpus",
    Goal.STAGES: "stages",
}


def solve(
    problem: PipelineProblem,
    *,
    objective: Objective | None = None,
    limits: Limits | None = None,
    stop: StopRule | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    start: Plan | None = None,
    backend: BackendName | Backend = BackendName.HIGHS,
) -> SolveReport:
    """
    Find the best plan and prove how good it is.

    Parameters
    ----------
    problem
        The problem by its coefficients.
    objective, limits, stop
        Default: least latency, no limits, gap 0.001 or 60 seconds.
    on_progress
        Called with incumbent, bound and gap whenever one of them changes.
    cancelled
        Asked now and then; once it returns True the search ends with what it has.
    start
        A plan to begin with.
    backend
        What proves the linear models of the search.

    Returns
    -------
    SolveReport
        The same for the same arguments, unless a clock limit ended the search.
    """
    objective, limits, stop = objective or Objective(), limits or Limits(), stop or StopRule()
    begun = monotonic()
    first = even_split(problem, limits, objective)
    plans = tuple(plan for plan in (start, first[0] if first else None) if plan is not None)
    search = Search(
        problem=problem,
        objective=objective,
        limits=limits,
        stop=stop,
        deadline=begun + stop.time_limit_s,
        start=plans,
        on_progress=on_progress,
        cancelled=cancelled,
        backend=backend_of(backend),
    )
    result = search.run()
    tie = _break_tie(search, result, monotonic() - begun)
    best = tie or result
    remedies: tuple[Remedy, ...] = ()
    if result.is_infeasible:
        remedies = find_remedies(problem, limits, search.deadline, stop.seed, cancelled)
    report = _report(result, best, Target(objective=objective))
    return replace(
        report,
        remedies=remedies,
        even_split=first,
        secondary_gap=_gap_of(tie),
        runtime_s=monotonic() - begun,
    )


def _break_tie(search: Search, result: SearchResult, elapsed_s: float) -> SearchResult | None:
    """Least latency among the plans that reach the goal, where many do."""
    goal = search.objective.goal
    if result.incumbent is None:
        return None
    value = result.incumbent.value
    is_free = goal is Goal.COST and value <= 0  # any plan on GPUs without a price costs the same
    if not (goal.ties_massively or is_free):
        return None
    whole = goal in (Goal.GPUS, Goal.STAGES)
    limit = round(value) if whole else value + _SECONDARY_SLACK * max(value, 1e-3)
    name = _LIMIT_OF[goal]
    before = getattr(search.limits, name)
    tightest = limit if before is None else min(limit, before)
    tell = search.on_progress

    def tell_on(progress: Progress) -> None:
        if tell is not None:
            tell(replace(progress, elapsed_s=elapsed_s + progress.elapsed_s))

    second = Search(
        problem=search.problem,
        objective=Objective(goal=Goal.LATENCY),
        limits=search.limits.but(name, tightest),
        stop=search.stop,
        deadline=search.deadline,
        start=(result.incumbent.plan,),
        on_progress=tell_on,
        cancelled=search.cancelled,
        phase="tie-break",
        backend=search.backend,
    )
    return second.run()


def _gap_of(result: SearchResult | None) -> float | None:
    if result is None or result.incumbent is None:
        return None
    return relative_gap(result.incumbent.value, result.bound)


def _report(result: SearchResult, best: SearchResult, target: Target) -> SolveReport:
    found, bound = best.incumbent, result.bound
    milps, bounds = result.num_milps, result.num_bounds
    if best is not result:
        milps, bounds = milps + best.num_milps, bounds + best.num_bounds
    public_bound = target.public(bound)
    report = SolveReport(
        status=Status.INFEASIBLE if result.is_infeasible else Status.UNKNOWN,
        stop_reason=result.stop,
        objective=None,
        bound=public_bound if abs(public_bound) < inf else None,
        gap=None,
        plan=None,
        evaluation=None,
        runtime_s=0.0,
        num_bounds=bounds,
        num_milps=milps,
    )
    if found is None:
        return report
    objective = score(found.evaluation, target.objective)
    report = replace(report, objective=objective, plan=found.plan, evaluation=found.evaluation)
    if bound >= target.of(found.evaluation):
        report = replace(report, bound=objective)
    if report.bound is None:
        return replace(report, status=Status.FEASIBLE)
    gap = relative_gap(objective, report.bound)
    status = status_of(gap)
    proven = status is Status.OPTIMAL
    ended_early = best is not result and best.stop not in _ENDS_OF_PROOF
    return replace(
        report,
        status=status,
        stop_reason=best.stop if ended_early else StopReason.PROVEN if proven else result.stop,
        gap=gap,
    )
