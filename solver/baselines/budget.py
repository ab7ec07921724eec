"""How long a baseline may look for its plan."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from solver.llmpq import LlmPqProblem, LlmPqReport, LlmPqRules, solve_fast
from solver.objective import StopRule

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
        is_cancelled = self.cancelled is not None and self.cancelled()
        if is_cancelled or monotonic() >= self.deadline:
            self.was_cut = True
            return True
        return False

    def searched(self, problem: LlmPqProblem, rules: LlmPqRules) -> LlmPqReport:
        """One search of several: it must stop after half of what is left."""
        left_s = max(self.deadline - monotonic(), _LEAST_S)
        stop = StopRule(gap=GAP, time_limit_s=left_s / 2)
        report = solve_fast(problem, rules, stop=stop)
        if report.runtime_s >= stop.time_limit_s:
            self.was_cut = True
        return report
