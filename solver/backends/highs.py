"""HiGHS through highspy: one thread, statuses translated by one table."""

from collections.abc import Callable
from math import inf, isfinite
from typing import Any

import highspy
import numpy as np

from profiles.errors import BackendError
from solver.linear import BackendResult, BackendStop, Effort, LinearModel
from solver.problem import FloatArray

__all__ = ["HighsBackend"]

# Every status that HiGHS can end with; None marks an end that gives neither answer nor proof.
_STOPS: dict[str, BackendStop | None] = {
    "kOptimal": BackendStop.PROVEN,
    "kObjectiveBound": BackendStop.PROVEN,
    "kObjectiveTarget": BackendStop.PROVEN,
    "kModelEmpty": BackendStop.PROVEN,
    "kInfeasible": BackendStop.INFEASIBLE,
    "kTimeLimit": BackendStop.TIME_LIMIT,
    "kIterationLimit": BackendStop.WORK_LIMIT,
    "kSolutionLimit": BackendStop.WORK_LIMIT,
    "kInterrupt": BackendStop.CANCELLED,
    "kHighsInterrupt": BackendStop.CANCELLED,
    "kMemoryLimit": BackendStop.MEMORY,
    "kUnboundedOrInfeasible": None,
    "kUnbounded": None,
    "kUnknown": None,
    "kNotset": None,
    "kLoadError": None,
    "kModelError": None,
    "kPresolveError": None,
    "kSolveError": None,
    "kPostsolveError": None,
}
# Tighter than the check's own tolerance, so that a point it accepts passes the check.
_FEASIBILITY = 1e-9


class HighsBackend:
    """Proves linear models with HiGHS."""

    def relax(self, model: LinearModel, effort: Effort) -> BackendResult:
        """Solve without the integrality conditions; the bound is the optimal value."""
        highs = _load(model, effort, integer=False)
        highs.setOptionValue("presolve", "off")  # costs more than it saves on models this small
        highs.run()
        stop = _stop(highs)
        if stop is not BackendStop.PROVEN:
            bound = inf if stop is BackendStop.INFEASIBLE else -inf
            return BackendResult(stop=stop, point=None, bound=bound)
        point = np.array(highs.getSolution().col_value)
        return BackendResult(stop=stop, point=point, bound=highs.getObjectiveValue())

    def solve(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        on_point: Callable[[FloatArray], None] | None = None,
        on_bound: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve in whole, reporting points and bounds as they improve."""
        highs = _load(model, effort, integer=True)
        _listen(highs, on_point, on_bound, cancelled)
        highs.run()
        stop = _stop(highs)
        if stop is BackendStop.INFEASIBLE:
            return BackendResult(stop=stop, point=None, bound=inf)
        info = highs.getInfo()
        has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        point = np.array(highs.getSolution().col_value) if has_point else None
        return BackendResult(stop=stop, point=point, bound=info.mip_dual_bound)


def _load(model: LinearModel, effort: Effort, *, integer: bool) -> highspy.Highs:
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    options: dict[str, bool | int | float | str] = {
        "output_flag": False,
        "threads": 1,
        "parallel": "off",
        "random_seed": effort.seed,
        "time_limit": max(effort.time_s, 0.01),
        "mip_rel_gap": effort.gap,
        "mip_abs_gap": 0.0,
        "primal_feasibility_tolerance": _FEASIBILITY,
        "mip_feasibility_tolerance": _FEASIBILITY,
        "dual_feasibility_tolerance": _FEASIBILITY,
    }
    if effort.max_nodes is not None:
        options["mip_max_nodes"] = effort.max_nodes
    for option, value in options.items():
        highs.setOptionValue(option, value)
    integrality = model.integer if integer else np.zeros_like(model.integer)
    status = highs.passModel(
        len(model.cost),
        len(model.row_lower),
        len(model.value),
        int(highspy.MatrixFormat.kRowwise),
        int(highspy.ObjSense.kMinimize),
        0.0,
        model.cost,
        model.lower,
        model.upper,
        model.row_lower,
        model.row_upper,
        model.row_start.astype(np.int32),
        model.column.astype(np.int32),
        model.value,
        integrality.astype(np.int32),
    )
    if status == highspy.HighsStatus.kError:
        raise BackendError("HiGHS refused the model; the coefficients may be out of its range.")
    return highs


def _listen(
    highs: highspy.Highs,
    on_point: Callable[[FloatArray], None] | None,
    on_bound: Callable[[float], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    if on_point is not None:
        highs.cbMipImprovingSolution.subscribe(
            lambda event: on_point(np.array(event.data_out.mip_solution))
        )
    if on_bound is not None or cancelled is not None:

        def interrupt(event: Any) -> None:  # noqa: ANN401
            if on_bound is not None and isfinite(event.data_out.mip_dual_bound):
                on_bound(event.data_out.mip_dual_bound)
            if cancelled is not None and cancelled():
                event.interrupt()

        highs.cbMipInterrupt.subscribe(interrupt)


def _stop(highs: highspy.Highs) -> BackendStop:
    status = highs.getModelStatus()
    stop = _STOPS[status.name]
    if stop is None:
        raise BackendError(
            f"HiGHS ended with {highs.modelStatusToString(status)!r}, which is neither a solution "
            "nor a proof. Check that the coefficients lie within a few orders of magnitude."
        )
    return stop
