"""Pareto sets: a request made ready in, the answer out."""

from collections.abc import Callable, Sequence

from pydantic import TypeAdapter

from api import answer_parts as parts
from api.answer import problem_hash, versions
from api.explanations import unused_gpus
from api.plans import spec_from_plan
from api.prepared import Prepared
from api.request import check_data
from api.schemas import pareto as out
from api.schemas.answer import StatusName
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.request import PlanRequest
from solver import (
    Goal,
    ParetoAxis,
    ParetoPoint,
    ParetoProgress,
    ParetoSet,
    Status,
    StopReason,
    pareto,
)

__all__ = ["for_objectives", "pareto_answer", "parse_pareto"]

PERCENT = 100.0
_ENDS_OF_PROOF = (StopReason.PROVEN, StopReason.GAP_REACHED)
_EARLY = (
    "A search ended early, by time or at your word; with more time there may be more points, and "
    "smaller gaps."
)


def parse_pareto(data: object) -> out.ParetoRequest:
    """
    The request for a Pareto set in these data.

    Raises
    ------
    InvalidRequestError
        With every error in plain words.
    """
    return check_data(data, TypeAdapter(out.ParetoRequest), out.ParetoRequest)


def for_objectives(
    request: PlanRequest | CoefficientsRequest, objectives: Sequence[str]
) -> PlanRequest | CoefficientsRequest:
    """The request with an objective that has all needs of these: prices, where cost is one."""
    chosen = Goal.COST.value if Goal.COST.value in objectives else objectives[0]
    return request.model_copy(update={"objective": chosen})


def pareto_answer(
    prepared: Prepared,
    objectives: Sequence[str],
    points: int,
    *,
    on_progress: Callable[[ParetoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> out.ParetoAnswer:
    """
    Find the Pareto set of a request.

    Parameters
    ----------
    prepared
        As `api.request.prepare` returns it.
    objectives, points
        As in `api.schemas.pareto.ParetoRequest`.
    on_progress, cancelled
        See `solver.pareto`.

    Raises
    ------
    InputError
        When the objectives do not make a set.
    """
    found = pareto(
        prepared.problem,
        [Goal(name) for name in objectives],
        limits=prepared.limits,
        stop=prepared.stop,
        points=points,
        backend=prepared.backend,
        on_progress=on_progress,
        cancelled=cancelled,
    )
    rerun = None
    if prepared.request_body is not None:
        body = {"request": dict(prepared.request_body), "objectives": list(objectives)}
        rerun = parse_pareto({**body, "points": points})
    early = [] if found.stop_reason in _ENDS_OF_PROOF else [_EARLY]
    return out.ParetoAnswer(
        status=_status(found),
        stop_reason=found.stop_reason.value,
        complete=found.is_complete,
        coverage=_coverage(found),
        objectives=[
            out.ParetoAxisReport(
                objective=axis.goal.value,
                unit=axis.goal.unit,
                best=axis.best,
                worst=axis.worst,
                step=axis.step,
                resolution_percent=axis.share * PERCENT,
            )
            for axis in found.axes
        ],
        points=[_point(prepared, found, number) for number in range(len(found.points))],
        views=[out.ViewReport(name=view.name, number=view.point + 1) for view in found.views],
        request=parts.summary(prepared),
        rerun=rerun,
        limits=parts.limit_reports(prepared, None, None),
        sources=parts.sources(prepared),
        solver=_solver(prepared, found),
        versions=versions(),
        problem_hash=problem_hash(prepared),
        warnings=[*prepared.background.warnings, *early],
    )


def _status(found: ParetoSet) -> StatusName:
    if found.is_infeasible:
        return "infeasible"
    if not found.points:
        return "unknown"
    proven = found.is_complete and all(p.status is Status.OPTIMAL for p in found.points)
    return "optimal" if proven else "feasible"


def _point(prepared: Prepared, found: ParetoSet, number: int) -> out.ParetoPointReport:
    point: ParetoPoint = found.points[number]
    evaluation = point.evaluation
    columns = zip(found.axes, point.values, point.bounds, point.gaps, strict=True)
    return out.ParetoPointReport(
        number=number + 1,
        views=[view.name for view in found.views if view.point == number],
        status=point.status.value,
        objectives={
            axis.goal.value: out.PerObjective(value=value, bound=bound, gap=gap)
            for axis, value, bound, gap in columns
        },
        plan=spec_from_plan(point.plan, evaluation.stages, prepared),
        metrics=parts.metrics(prepared, evaluation),
        stages=parts.stage_reports(prepared, point.plan, evaluation),
        bottlenecks=parts.bottlenecks(evaluation),
        unused_gpus=unused_gpus(prepared, evaluation, gap=None),
    )


def _coverage(found: ParetoSet) -> str:
    """The statement that is proven, or what is not."""
    if found.is_infeasible:
        return "No plan exists."
    if not found.is_complete:
        return "Not every plan is covered: the search ended early."
    exact = [axis for axis in found.axes if axis.step == 0]
    stepped = [axis for axis in found.axes if axis.step > 0]
    first = exact[0].goal if exact else found.axes[0].goal
    at = [axis.goal for axis in found.axes].index(first)
    gap = max((point.gaps[at] for point in found.points), default=0.0)
    others = " and ".join(map(_step, stepped))
    return (
        f"Every plan is covered by one of these: at most {gap * PERCENT:.2g} % worse in "
        f"{_words(first)} and {others}."
    )


def _step(axis: ParetoAxis) -> str:
    """The resolution of an axis; its share of the range, unless it is all of that."""
    unit = "s per token" if axis.goal.maximise else axis.goal.unit
    share = f" ({axis.share * PERCENT:.1f} % of its range)" if axis.share < 1 else ""
    return f"less than {axis.step:.3g} {unit} in {_words(axis.goal)}{share}"


def _words(goal: Goal) -> str:
    return goal.value.replace("_", " ")


def _solver(prepared: Prepared, found: ParetoSet) -> out.ParetoSolverReport:
    return out.ParetoSolverReport(
        time_limit_s=prepared.stop.time_limit_s,
        gap=prepared.stop.gap,
        seed=prepared.stop.seed,
        backend=prepared.backend.value,
        runtime_s=found.runtime_s,
        num_searches=found.num_searches,
        num_reused=found.num_reused,
        num_bounds=found.num_bounds,
        num_milps=found.num_milps,
    )
