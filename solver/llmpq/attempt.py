"""Ask a backend, and do without an answer where it has none."""

from collections.abc import Callable
from math import inf

from profiles.errors import BackendError
from solver.linear import BackendResult, BackendStop, Effort, LinearModel

__all__ = ["attempt"]


def attempt(
    run: Callable[[LinearModel, Effort], BackendResult], model: LinearModel, effort: Effort
) -> BackendResult:
    """What a backend finds; neither point nor bound where its end proves nothing."""
    try:
        return run(model, effort)
    except BackendError:
        return BackendResult(stop=BackendStop.WORK_LIMIT, point=None, bound=-inf)
