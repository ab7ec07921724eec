"""What a search of LLM-PQ's problem returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from solver.llmpq.cases import LlmPqCase, case_fits, case_value, plan_of
from solver.llmpq.problem import LlmPqPlan
from solver.problem import IntArray
from solver.result import Status, relative_gap, status_of

__all__ = ["CaseReport", "LlmPqReport", "report_of", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """
    What is known about one order and prefill micro-batch.

    Parameters
    ----------
    order, prefill_micro_batch
        The case.
    bound
        No plan of the case costs less, in seconds; inf where there is none. A case that was left
        out has the bound at which it was.
    objective, plan
        The best plan found in the case, recomputed; None without one.
    """

    order: tuple[int, ...]
    prefill_micro_batch: int
    bound: float
    objective: float | None = None
    plan: LlmPqPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmPqReport:
    """
    Answer of a search over all cases.

    Parameters
    ----------
    status
        What is known; infeasible also where the search has no case at all.
    objective, bound, gap
        In seconds, over all cases; None where unknown.
    plan
        The best plan, or None.
    cases
        Every case, in the order of the enumeration.
    runtime_s
        Seconds by the clock.
    """

    status: Status
    objective: float | None
    bound: float | None
    gap: float | None
    plan: LlmPqPlan | None
    cases: tuple[CaseReport, ...]
    runtime_s: float


def report_of(case: LlmPqCase, bound: float, found: tuple[IntArray, IntArray] | None) -> CaseReport:
    """Report of a case; what was found counts only if it fits, at its recomputed cost."""
    report = CaseReport(order=case.order, prefill_micro_batch=case.prefill_micro_batch, bound=bound)
    if found is None or not case_fits(case, *found):
        return report
    value = case_value(case, *found)
    return replace(report, bound=min(bound, value), objective=value, plan=plan_of(case, *found))


def summary(cases: Sequence[CaseReport], runtime_s: float) -> LlmPqReport:
    """The best plan of all cases, and the least bound."""
    bound = min((case.bound for case in cases), default=inf)
    known = bound if abs(bound) < inf else None
    solved = [(case.objective, case) for case in cases if case.objective is not None]
    report = LlmPqReport(
        status=Status.INFEASIBLE if bound == inf else Status.UNKNOWN,
        objective=None,
        bound=known,
        gap=None,
        plan=None,
        cases=tuple(cases),
        runtime_s=runtime_s,
    )
    if not solved:
        return report
    objective, best = min(solved, key=lambda pair: pair[0])
    gap = None if known is None else relative_gap(objective, known)
    return replace(report, status=status_of(gap), objective=objective, gap=gap, plan=best.plan)
