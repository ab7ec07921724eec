"""How long a baseline may look for its plan."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from solver.llmpq import LlmPqProblem, LlmPqReport, LlmPqRules, solve_fast
from solver.objective import StopRule
from solver.result import Plan

__all__ = ["GAP", "Budget"]

GAP = 1e-3
"""At which the searches of LLM-PQ's programs end."""
_LEAST_S = 0.1


@dataclass(slots=True, kw_only=True)
class Budget:
    """
    The time of one baseline, and whether it was too short.

    Parameters
    ----------
    deadline
        By ``time.monotonic``.
    cancelled
        Once it returns True no time is left.
    was_cut
        Whether a search ended before its end.
    """

    deadline: float
    cancelled: Callable[[], bool] | None = None
    was_cut: bool = False

    def is_spent(self) -> bool:
        """Whether the baseline must end with what it has."""
        if self._is_cancelled() or monotonic() >= self.deadline:
            self.was_cut = True
            return True
        return False

    def _is_cancelled(self) -> bool:
        return self.cancelled is not None and self.cancelled()

    def while_left(self, plans: Iterable[Plan]) -> Iterator[Plan]:
        """The plans, as far as time goes."""
        left = iter(plans)
        while not self.is_spent():
            plan = next(left, None)
            if plan is None:
                return
            yield plan

    def no_plan(self, reason: str) -> str:
        """Why there is none: this, if the search came to its end."""
        return "its search was cut short before it had one" if self.was_cut else reason

    def searched(self, problem: LlmPqProblem, rules: LlmPqRules) -> LlmPqReport:
        """One search of several: it must stop after half of what is left."""
        left_s = max(self.deadline - monotonic(), _LEAST_S)
        stop = StopRule(gap=GAP, time_limit_s=left_s / 2)
        report = solve_fast(problem, rules, stop=stop, cancelled=self.cancelled)
        if report.runtime_s >= stop.time_limit_s or self._is_cancelled():
            self.was_cut = True
        return report
