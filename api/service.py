"""Request in, answer out: what the command line, HTTP and Python share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from api.answer import evaluation_answer, plan_answer
from api.given_plans import plan_from_spec
from api.prepared import Asked, Prepared
from api.request import parse_request, prepare
from api.schemas.answer import EvaluationAnswer, PlanAnswer
from api.schemas.plan import GivenPlan, PlanSpec
from profiles.errors import HetplanError
from solver import (
    Effect,
    Progress,
    Regret,
    SolveReport,
    carry_over,
    evaluate,
    regret,
    solve,
    violations,
    what_if,
)

__all__ = ["NO_HOOKS", "Hooks", "judge", "plan", "plan_request"]

_LEAST_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """How to watch a search and how to end it; see `solver.solve`."""

    on_progress: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] | None = None


NO_HOOKS = Hooks()


def plan(
    prepared: Prepared,
    *,
    hooks: Hooks = NO_HOOKS,
) -> PlanAnswer:
    """
    Solve a request.

    Parameters
    ----------
    prepared
        As `api.request.prepare` returns it.
    hooks
        How to watch and end the search.
    """
    report = solve(
        prepared.problem,
        objective=prepared.objective,
        limits=prepared.limits,
        stop=prepared.stop,
        backend=prepared.backend,
        on_progress=hooks.on_progress,
        cancelled=hooks.cancelled,
    )
    effects = (
        None if prepared.what_if is None else _effects(prepared, prepared.what_if, report, hooks)
    )
    return plan_answer(prepared, report, effects, _regret(prepared, report, hooks))


def _effects(
    prepared: Prepared, asked: Asked, report: SolveReport, hooks: Hooks
) -> tuple[Effect, ...]:
    """What the changes asked for would gain or lose, in the time left; none without a plan."""
    if report.plan is None:
        return ()
    plan = carry_over(report.plan, prepared.problem, asked.problem)
    if plan is None:
        raise HetplanError("The plan does not fit the problem of the what-if questions.")
    left = max(prepared.stop.time_limit_s - report.runtime_s, _LEAST_S)
    return what_if(
        asked.problem,
        replace(report, plan=plan, evaluation=evaluate(asked.problem, plan)),
        objective=prepared.objective,
        limits=prepared.limits,
        stop=replace(prepared.stop, time_limit_s=left),
        changes=asked.changes,
        on_progress=hooks.on_progress,
        cancelled=hooks.cancelled,
        backend=prepared.backend,
    )


def _regret(prepared: Prepared, report: SolveReport, hooks: Hooks) -> Regret | None:
    """Whether the plan stays best in tables drawn from their error, where that is asked."""
    asked = prepared.regret
    if asked is None or report.plan is None:
        return None
    tell = hooks.on_progress

    def tell_on(progress: Progress) -> None:
        if tell is not None:
            tell(replace(progress, elapsed_s=report.runtime_s + progress.elapsed_s))

    return regret(
        prepared.problem,
        report.plan,
        asked.terms,
        objective=prepared.objective,
        limits=prepared.limits,
        rule=asked.rule,
        on_progress=tell_on,
        cancelled=hooks.cancelled,
        backend=prepared.backend,
    )


def plan_request(data: Mapping[str, object], *, folder: Path | None = None) -> PlanAnswer:
    """
    Solve a request given as data: the same body that files and HTTP take.

    Parameters
    ----------
    data
        The request.
    folder
        Where paths in the request start; None refuses them.

    Raises
    ------
    InvalidRequestError
        With everything that is wrong with the request.
    """
    return plan(prepare(parse_request(data), folder=folder))


def judge(
    prepared: Prepared,
    spec: PlanSpec | GivenPlan,
    *,
    with_solve: bool = True,
    hooks: Hooks = NO_HOOKS,
) -> EvaluationAnswer:
    """
    Evaluate a plan of the user's for a request.

    Parameters
    ----------
    prepared
        As `api.request.prepare` returns it.
    spec
        The plan.
    with_solve
        Whether to solve the request too, to say how far the plan is from the best.
    hooks
        How to watch and end the search.

    Raises
    ------
    InvalidRequestError, InputError
        When the plan does not fit the request.
    """
    given = plan_from_spec(spec, prepared)
    evaluation = evaluate(prepared.problem, given)
    broken = violations(prepared.problem, evaluation, prepared.limits)
    if not with_solve:
        return evaluation_answer(prepared, given, evaluation, broken, None)
    report = solve(
        prepared.problem,
        objective=prepared.objective,
        limits=prepared.limits,
        stop=prepared.stop,
        backend=prepared.backend,
        on_progress=hooks.on_progress,
        cancelled=hooks.cancelled,
        start=None if broken else given,
    )
    return evaluation_answer(prepared, given, evaluation, broken, report)
