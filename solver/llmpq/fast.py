"""
All cases of LLM-PQ's problem together, with the least work that proves the answer.

Every case is bounded by the relaxation of its merged form; cases are taken by rising bound. In a
case formats are chosen for stages of the lengths that the relaxation tells (or, where that leads
nowhere near, a rough count), which gives a plan. The relaxation then tells where borders may lie in
any plan that is better than the best so far by more than the gap, and the exact form is solved
within these borders. The search ends where no bound is below the best plan; cases left out keep
their bounds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil, floor, inf
from time import monotonic

import numpy as np

from solver.backends.highs import HighsBackend
from solver.linear import Backend, BackendResult, Effort, Expression, LinearModel, minus
from solver.llmpq.attempt import attempt
from solver.llmpq.cases import LlmPqCase, enumerate_cases
from solver.llmpq.counts import CountModel, count_model
from solver.llmpq.problem import LlmPqProblem, LlmPqRules
from solver.llmpq.result import CaseReport, LlmPqReport, report_of, summary
from solver.objective import StopRule
from solver.problem import FloatArray

__all__ = ["solve_fast"]

_DEFAULT_STOP = StopRule(gap=1e-4, time_limit_s=600.0)
_LEAST_GAP = 1e-8
# Bounds of linear programs are trusted to this share.
_BOUND_SAFETY = 1e-9
# Where the best plan is this much above the bound of a case, its merged form is counted too; not to
# the end, for it only tells good lengths of stages.
_NEAR = 0.05
_ROUGH_GAP = 3e-3
_ROUGH_NODES = 1
# Borders are whole; the relaxation tells them to within this.
_BORDER_SLACK = 1e-6

Borders = list[tuple[int, int]]


def solve_fast(
    problem: LlmPqProblem,
    rules: LlmPqRules,
    *,
    stop: StopRule | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> LlmPqReport:
    """
    Find the best plan over all cases and prove how good it is.

    Parameters
    ----------
    problem, rules
        What to solve.
    stop
        Default: gap 1e-4 or 600 seconds.
    cancelled
        Asked now and then; once it returns True the search ends with what it has.

    Raises
    ------
    InputError
        When the group size does not divide the number of layers.
    """
    begun, stop = monotonic(), stop or _DEFAULT_STOP
    search = _Search(stop=stop, deadline=begun + stop.time_limit_s, cancelled=cancelled)
    cases = list(enumerate_cases(problem, rules))
    reports = [search.bounded(case) for case in cases]
    for index in sorted(range(len(cases)), key=lambda index: reports[index].bound):
        if reports[index].bound < search.cutoff and not search.is_over():
            reports[index] = search.solved(cases[index], reports[index])
    return summary(reports, monotonic() - begun)


@dataclass(slots=True, kw_only=True)
class _Search:
    """The best value so far, and what is left of the time."""

    stop: StopRule
    deadline: float
    cancelled: Callable[[], bool] | None = None
    best: float = inf
    backend: Backend = field(default_factory=HighsBackend)

    def is_over(self) -> bool:
        """Whether no more may be tried."""
        is_cancelled = self.cancelled is not None and self.cancelled()
        return is_cancelled or monotonic() >= self.deadline

    @property
    def gap(self) -> float:
        return max(self.stop.gap, _LEAST_GAP)

    @property
    def cutoff(self) -> float:
        """Plans are worth looking for below this."""
        return self.best - self.gap * abs(self.best) if self.best < inf else inf

    def bounded(self, case: LlmPqCase) -> CaseReport:
        """A case bounded by the relaxation of its merged form."""
        return report_of(case, _safe(self._relax(count_model(case, merged=True).model)), None)

    def solved(self, case: LlmPqCase, report: CaseReport) -> CaseReport:
        """A case solved as far as it may hold a better plan than the best."""
        report = self._rounded(case, report)
        if self.best > report.bound * (1 + _NEAR):
            report = self._counted(case, report)
        return report if report.bound >= self.cutoff else self._proven(case, report)

    def _rounded(self, case: LlmPqCase, report: CaseReport) -> CaseReport:
        """Find a plan at the borders of the relaxation, rounded."""
        merged = count_model(case, merged=True)
        point = self._relax(merged.model).point
        if point is None:
            return report
        sums = [list(merged.before(device)) for device in range(1, case.shape[1])]
        ends = [round(float(point[columns].sum())) for columns in sums]
        return self._placed(case, [min(max(end, 1), case.shape[0] - 1) for end in ends], report)

    def _counted(self, case: LlmPqCase, report: CaseReport) -> CaseReport:
        """Find a plan at the borders of a rough count, which bounds the case too."""
        merged = count_model(case, merged=True)
        result, bound = self._milp(merged, _ROUGH_GAP, max_nodes=_ROUGH_NODES)
        report = replace(report, bound=max(report.bound, bound))
        if result.point is None:
            return report
        return self._placed(case, np.cumsum(merged.lengths(result.point))[:-1].tolist(), report)

    def _placed(self, case: LlmPqCase, ends: list[int], report: CaseReport) -> CaseReport:
        """Choose formats for stages that end before these layer groups."""
        held = count_model(case, merged=False, borders=[(end, end) for end in ends])
        return self._offer(held, self._milp(held, self.gap / 2)[0], report)

    def _proven(self, case: LlmPqCase, report: CaseReport) -> CaseReport:
        """Solve the exact form between the borders that a better plan may have."""
        borders = self._borders(case)
        if borders is None:
            return replace(report, bound=self.cutoff)
        exact = count_model(case, merged=False, borders=borders)
        result, bound = self._milp(exact, self.gap / 2)
        return self._offer(exact, result, replace(report, bound=max(report.bound, bound)))

    def _borders(self, case: LlmPqCase) -> Borders | None:
        """
        Where borders lie in plans below the cutoff, by relaxations; None: there are no such plans.

        The merged form tells most; the exact form within these borders often tells more, again
        and again.
        """
        widest = [(1, case.shape[0] - 1)] * (case.shape[1] - 1)
        borders = self._tightened(count_model(case, merged=True), widest)
        while borders is not None:
            before = borders
            borders = self._tightened(count_model(case, merged=False, borders=before), before)
            if borders == before:
                break
        return borders

    def _tightened(self, form: CountModel, borders: Borders) -> Borders | None:
        """Borders by the relaxation of a form below the cutoff."""
        if self.cutoff < inf:
            form.cut(self.cutoff)
        tighter = []
        for device, (least, most) in enumerate(borders, start=1):
            layers = form.before(device)
            low = max(self._least(form, layers), float(least))
            high = min(-self._least(form, minus(layers)), float(most))
            if high < low - 2 * _BORDER_SLACK:
                return None
            tighter.append((ceil(low - _BORDER_SLACK), floor(high + _BORDER_SLACK)))
        return None if any(low > high for low, high in tighter) else tighter

    def _least(self, form: CountModel, layers: Expression) -> float:
        """Least sum of the columns; inf where there is no point, -inf where time ran out."""
        return self._relax(form.builder.build(layers)).bound

    def _offer(self, form: CountModel, result: BackendResult, report: CaseReport) -> CaseReport:
        """Keep the plan of a point if it is better than that of the report."""
        if result.point is None:
            return report
        found = report_of(form.case, report.bound, form.read(self._vertex(form, result.point)))
        if found.objective is None or found.objective >= _objective(report):
            return report
        self.best = min(self.best, found.objective)
        return found

    def _vertex(self, form: CountModel, point: FloatArray) -> FloatArray:
        """The point itself, or with the same counts a corner of what they leave open: whole."""
        parts = point[list(form.run_count.values())]
        if np.abs(parts - np.rint(parts)).max(initial=0) < _BORDER_SLACK:
            return point
        form.hold(point)
        corner = self._relax(form.model).point
        return point if corner is None else corner

    def _relax(self, model: LinearModel) -> BackendResult:
        run = partial(self.backend.relax, cancelled=self.cancelled)
        return attempt(run, model, self._effort(self.gap))

    def _milp(
        self, form: CountModel, gap: float, max_nodes: int | None = None
    ) -> tuple[BackendResult, float]:
        """Solve below the cutoff; returns a bound on all plans, also on those left out."""
        cutoff = self.cutoff
        if cutoff < inf:
            form.cut(cutoff)
        run = partial(self.backend.solve, cancelled=self.cancelled)
        result = attempt(run, form.model, self._effort(gap, max_nodes))
        return result, min(_safe(result), cutoff)

    def _effort(self, gap: float, max_nodes: int | None = None) -> Effort:
        left = self.deadline - monotonic()
        return Effort(gap=gap, time_s=left, seed=self.stop.seed, max_nodes=max_nodes)


def _objective(report: CaseReport) -> float:
    return inf if report.objective is None else report.objective


def _safe(result: BackendResult) -> float:
    """The bound, a little less for the solver's rounding; costs are never below 0."""
    return max(result.bound - _BOUND_SAFETY * abs(result.bound), 0.0) if result.bound < inf else inf
