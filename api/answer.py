"""Reports of the solver to answers."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from platform import python_version
from typing import Any

import numpy as np

from api import answer_parts as parts
from api.effects import effect_reports
from api.explanations import unused_gpus
from api.limit_words import remedy_report, violation_report
from api.plans import spec_from_plan
from api.prepared import Prepared
from api.quality_words import plan_cautions
from api.regrets import regret_report
from api.schemas import answer as out
from api.version import hetplan_version
from solver import (
    Effect,
    Evaluation,
    Plan,
    Regret,
    SolveReport,
    StopReason,
    Violation,
    relative_gap,
    score,
    status_of,
)

__all__ = ["evaluation_answer", "plan_answer", "problem_hash", "versions"]


_EARLY = "The search ended before its gap was reached; another run may end with another plan."
_WARNINGS = {
    StopReason.TIME_LIMIT: _EARLY,
    StopReason.CANCELLED: _EARLY,
    StopReason.MEMORY: _EARLY,
    StopReason.NUMERICS: "The search ended where no further step of the solver could be trusted; "
    "plan and bound are checked, but the gap is larger than asked for.",
}


@cache
def versions() -> out.Versions:
    """Versions behind an answer."""
    return out.Versions(
        hetplan=hetplan_version(), highspy=version("highspy"), python=python_version()
    )


def problem_hash(prepared: Prepared) -> str:
    """SHA-256 over every coefficient, the objective and the limits."""
    digest = hashlib.sha256()
    for field in fields(prepared.problem):
        value = getattr(prepared.problem, field.name)
        digest.update(field.name.encode())
        is_array = isinstance(value, np.ndarray)
        digest.update(np.ascontiguousarray(value).tobytes() if is_array else repr(value).encode())
    digest.update(repr((prepared.objective, prepared.limits)).encode())
    return digest.hexdigest()


def plan_answer(
    prepared: Prepared,
    report: SolveReport,
    effects: Sequence[Effect] | None = None,
    regret: Regret | None = None,
) -> out.PlanAnswer:
    """The answer to a request for a plan; ``effects`` and ``regret`` where they were asked for."""
    asked = prepared.regret
    common = _common(prepared, report.plan, report.evaluation)
    return out.PlanAnswer(
        **common,
        unused_gpus=unused_gpus(prepared, report.evaluation, report.gap),
        status=report.status.value,
        stop_reason=report.stop_reason.value,
        objective=report.objective,
        bound=report.bound,
        gap=report.gap,
        solver=_solver(prepared, report),
        warnings=_warnings(prepared, report, report.plan, report.evaluation),
        secondary_gap=report.secondary_gap,
        remedies=[remedy_report(prepared, remedy) for remedy in report.remedies],
        comparison=parts.comparison(prepared, report.objective, report.even_split),
        what_if=None if effects is None else effect_reports(prepared, report.objective, effects),
        regret=None
        if regret is None or asked is None
        else regret_report(prepared, asked.rule.seed, regret),
    )


def evaluation_answer(
    prepared: Prepared,
    plan: Plan,
    evaluation: Evaluation,
    broken: tuple[Violation, ...],
    report: SolveReport | None,
) -> out.EvaluationAnswer:
    """The answer on a plan of the user's; ``report`` is that of solving the request."""
    value = score(evaluation, prepared.objective)
    bound = None if report is None else report.bound
    gap = None if bound is None or broken else relative_gap(value, bound)
    return out.EvaluationAnswer(
        **_common(prepared, plan, evaluation),
        unused_gpus=unused_gpus(prepared, evaluation, gap),
        status="infeasible" if broken else status_of(gap).value,
        stop_reason=None if report is None else report.stop_reason.value,
        objective=value,
        bound=bound,
        gap=gap,
        solver=None if report is None else _solver(prepared, report),
        warnings=_warnings(prepared, report, plan, evaluation),
        feasible=not broken,
        violations=[violation_report(prepared, violation) for violation in broken],
        best=None if report is None else _best(prepared, report),
    )


def _common(prepared: Prepared, plan: Plan | None, evaluation: Evaluation | None) -> dict[str, Any]:
    """The fields that all answers share and that need no search."""
    planned: dict[str, Any] = {
        "plan": None,
        "metrics": None,
        "intervals": None,
        "stages": [],
        "bottlenecks": None,
    }
    if plan is not None and evaluation is not None:
        planned = {
            "plan": spec_from_plan(plan, evaluation.stages, prepared),
            "metrics": parts.metrics(prepared, evaluation),
            "intervals": parts.intervals(prepared, plan, evaluation),
            "stages": parts.stage_reports(prepared, plan, evaluation),
            "bottlenecks": parts.bottlenecks(evaluation),
        }
    return planned | {
        "goal": prepared.objective.goal.value,
        "theta_s_per_nat": prepared.objective.theta_s_per_nat,
        "unit": prepared.objective.goal.unit,
        "request": parts.summary(prepared),
        "request_body": None if prepared.request_body is None else dict(prepared.request_body),
        "limits": parts.limit_reports(prepared, plan, evaluation),
        "sources": parts.sources(prepared),
        "versions": versions(),
        "problem_hash": problem_hash(prepared),
    }


def _solver(prepared: Prepared, report: SolveReport) -> out.SolverReport:
    return out.SolverReport(
        time_limit_s=prepared.stop.time_limit_s,
        gap=prepared.stop.gap,
        seed=prepared.stop.seed,
        backend=prepared.backend.value,
        runtime_s=report.runtime_s,
        num_bounds=report.num_bounds,
        num_milps=report.num_milps,
    )


def _best(prepared: Prepared, report: SolveReport) -> out.BestKnown:
    plan, evaluation = report.plan, report.evaluation
    return out.BestKnown(
        status=report.status.value,
        objective=report.objective,
        bound=report.bound,
        gap=report.gap,
        plan=None
        if plan is None or evaluation is None
        else spec_from_plan(plan, evaluation.stages, prepared),
        metrics=None if evaluation is None else parts.metrics(prepared, evaluation),
    )


def _warnings(
    prepared: Prepared,
    report: SolveReport | None,
    plan: Plan | None,
    evaluation: Evaluation | None,
) -> list[str]:
    warnings = list(prepared.background.warnings)
    if report is not None and report.stop_reason in _WARNINGS:
        warnings.append(_WARNINGS[report.stop_reason])
    if plan is not None and evaluation is not None:
        warnings += plan_cautions(prepared, plan, evaluation)
    return warnings
