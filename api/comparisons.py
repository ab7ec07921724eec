"""Requests to comparisons: the best plan, and baselines beside it."""

from itertools import accumulate, pairwise

from api import answer_parts as parts
from api.answer import plan_answer
from api.limit_words import violation_report
from api.plans import spec_from_plan
from api.prepared import Prepared
from api.schemas.comparison import BaselineReport, ComparisonAnswer
from api.schemas.plan import PlanSpec
from api.service import NO_HOOKS, Hooks
from solver import ComparisonRow, compare

__all__ = ["compared"]


def compared(prepared: Prepared, *, hooks: Hooks = NO_HOOKS) -> ComparisonAnswer:
    """
    Solve a request and set baselines beside the best plan.

    Parameters
    ----------
    prepared
        As `api.request.prepare` returns it.
    hooks
        How to watch and end the search.
    """
    found = compare(
        prepared.problem,
        objective=prepared.objective,
        limits=prepared.limits,
        stop=prepared.stop,
        backend=prepared.backend,
        on_progress=hooks.on_progress,
        cancelled=hooks.cancelled,
    )
    best = plan_answer(prepared, found.best)
    return ComparisonAnswer(
        status=best.status,
        stop_reason=best.stop_reason,
        objective=best.objective,
        bound=best.bound,
        gap=best.gap,
        best=best,
        baselines=[_report(prepared, row) for row in found.rows],
    )


def _report(prepared: Prepared, row: ComparisonRow) -> BaselineReport:
    baseline, values = row.baseline, row.evaluation
    return BaselineReport(
        name=baseline.name,
        title=baseline.title,
        rule=baseline.rule,
        source=baseline.source,
        chosen=baseline.chosen,
        is_one_pipeline=baseline.in_space,
        feasible=row.feasible,
        objective=row.objective,
        ratio=row.ratio,
        gap=row.gap,
        metrics=None if values is None else parts.metrics(prepared, values),
        violations=[violation_report(prepared, violation) for violation in row.violations],
        plans=_plans(prepared, row),
        why=_why(prepared, row),
        was_cut=row.was_cut,
    )


def _plans(prepared: Prepared, row: ComparisonRow) -> list[PlanSpec]:
    if row.evaluation is None:
        return []
    borders = accumulate((len(plan.stages) for plan in row.plans), initial=0)
    return [
        spec_from_plan(plan, row.evaluation.stages[first:last], prepared)
        for plan, (first, last) in zip(row.plans, pairwise(borders), strict=True)
    ]


def _why(prepared: Prepared, row: ComparisonRow) -> str:
    """The solver's sentence, or one in the request's own limits."""
    if not row.violations:
        return row.why
    worst = max(row.violations, key=lambda violation: violation.excess)
    return row.why if worst.limit == "memory" else violation_report(prepared, worst).text
