"""HiGHS through highspy: one thread, statuses translated by one table."""

from collections.abc import Callable
from dataclasses import dataclass
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
# Presolve costs more than it saves on models this small, but may settle what is left undecided.
_PRESOLVES, _UNDECIDED = ("off", "on"), "kUnknown"
# Heuristics that solve smaller integer programs: the search has plans, and needs bounds.
_SUB_MIPS = (
    "mip_heuristic_run_root_reduced_cost",
    "mip_heuristic_run_rens",
    "mip_heuristic_run_rins",
)
# Tighter than the check's own tolerance, so that a point it accepts passes the check.
_FEASIBILITY = 1e-9


class HighsBackend:
    """
    Proves linear models with HiGHS.

    A request to cancel is seen in the root, in the tree and in linear programs solved by
    themselves; HiGHS does not ask during presolve and inside its heuristics.
    """

    def relax(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve without the integrality conditions; the bound is the optimal value."""
        watch = _Watch(cancelled=cancelled)
        try:
            for presolve in _PRESOLVES:
                highs = _load(model, effort, integer=False)
                highs.setOptionValue("presolve", presolve)
                watch.run(highs)
                if highs.getModelStatus().name != _UNDECIDED:
                    break
            stop = _stop(highs)
            if stop is not BackendStop.PROVEN:
                bound = inf if stop is BackendStop.INFEASIBLE else -inf
                return BackendResult(stop=stop, point=None, bound=bound)
            point = np.array(highs.getSolution().col_value)
            return BackendResult(stop=stop, point=point, bound=highs.getObjectiveValue())
        except MemoryError:
            return BackendResult(stop=BackendStop.MEMORY, point=None, bound=-inf)

    def solve(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        start: FloatArray | None = None,
        on_point: Callable[[FloatArray], None] | None = None,
        on_bound: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve in whole, reporting points and bounds as they improve."""
        watch = _Watch(on_point=on_point, on_bound=on_bound, cancelled=cancelled)
        try:
            highs = _load(model, effort, integer=True)
            if start is not None:
                _begin_with(highs, start)
            watch.run(highs)
            return _read(highs)
        except MemoryError:
            # HiGHS is in no state to be asked; what it told before is still true.
            return BackendResult(stop=BackendStop.MEMORY, point=watch.point, bound=watch.bound)


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Listens to a run, keeps the best it hears and passes it on."""

    on_point: Callable[[FloatArray], None] | None = None
    on_bound: Callable[[float], None] | None = None
    cancelled: Callable[[], bool] | None = None
    point: FloatArray | None = None
    bound: float = -inf
    failure: BaseException | None = None

    def run(self, highs: highspy.Highs) -> None:
        """Run; what a listener raises comes through, what HiGHS raises becomes `BackendError`."""
        highs.cbMipImprovingSolution.subscribe(self._guarded(self._hear_point))
        highs.cbMipInterrupt.subscribe(self._guarded(self._hear_bound))
        for event in (highs.cbMipInterrupt, highs.cbSimplexInterrupt, highs.cbIpmInterrupt):
            event.subscribe(self._guarded(self._interrupt))
        try:
            highs.run()
        except MemoryError:
            raise
        except Exception as error:
            if error is self.failure:
                raise
            raise BackendError(f"HiGHS failed: {error}.") from error

    def _guarded(self, listener: Callable[[Any], None]) -> Callable[[Any], None]:
        def listen(event: Any) -> None:  # noqa: ANN401
            try:
                listener(event)
            except BaseException as error:
                self.failure = error
                raise

        return listen

    def _hear_point(self, event: Any) -> None:  # noqa: ANN401
        self.point = np.array(event.data_out.mip_solution)
        if self.on_point is not None:
            self.on_point(self.point)

    def _hear_bound(self, event: Any) -> None:  # noqa: ANN401
        bound = event.data_out.mip_dual_bound
        if isfinite(bound):
            self.bound = max(self.bound, bound)
            if self.on_bound is not None:
                self.on_bound(bound)

    def _interrupt(self, event: Any) -> None:  # noqa: ANN401
        if self.cancelled is not None and self.cancelled():
            event.interrupt()


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
    if integer:
        options |= dict.fromkeys(_SUB_MIPS, False)
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


def _begin_with(highs: highspy.Highs, start: FloatArray) -> None:
    solution = highspy.HighsSolution()
    solution.col_value = list(start)
    highs.setSolution(solution)


def _read(highs: highspy.Highs) -> BackendResult:
    stop = _stop(highs)
    if stop is BackendStop.INFEASIBLE:
        return BackendResult(stop=stop, point=None, bound=inf)
    info = highs.getInfo()
    has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    point = np.array(highs.getSolution().col_value) if has_point else None
    return BackendResult(stop=stop, point=point, bound=info.mip_dual_bound)


def _stop(highs: highspy.Highs) -> BackendStop:
    status = highs.getModelStatus()
    stop = _STOPS.get(status.name)
    if stop is None:
        raise BackendError(
            f"HiGHS ended with {highs.modelStatusToString(status)!r}, which is neither a solution "
            "nor a proof. Check that the coefficients lie within a few orders of magnitude."
        )
    return stop
