"""Any solver that PuLP knows and the user owns, by PuLP's name for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from math import inf
from time import monotonic
from typing import Any

import numpy as np
import pulp
from pulp.apis.core import PulpSolverError

from profiles.errors import BackendError, InputError, unknown_name
from solver.backends.pulp_model import pulp_problem
from solver.linear import BackendResult, BackendStop, Effort, LinearModel, is_feasible
from solver.problem import FloatArray

__all__ = ["PulpBackend"]

# PuLP tells little: a status for all solvers, and whether the solution is the best. `Optimal` it
# says after a limit too, so it counts as proof only with the best solution and before the limit.
_STOPS: dict[int, BackendStop | None] = {
    pulp.LpStatusOptimal: BackendStop.PROVEN,
    pulp.LpStatusNotSolved: BackendStop.TIME_LIMIT,
    pulp.LpStatusInfeasible: BackendStop.INFEASIBLE,
    pulp.LpStatusUnbounded: None,
    pulp.LpStatusUndefined: None,
}
_NEEDED = ("timeLimit", "gapRel")
# Share of the time limit from which on an end counts as one by the limit.
_NEARLY = 0.95
# What a proof leaves open beside the gap asked for, as a share of the objective.
_PROOF = 1e-7


@dataclass(frozen=True, slots=True)
class PulpBackend:
    """
    Proves linear models with a solver of PuLP's list, in that solver's own way.

    Points and bounds are told at the end only, a cancel is seen before the start only, seeds and
    tolerances are the solver's own, and after a limit no bound is known (-inf).

    Parameters
    ----------
    solver
        PuLP's name, such as ``GUROBI_CMD``; see ``pulp.listSolvers()``.

    Raises
    ------
    InputError
        Where PuLP does not know the solver, cannot find it, or cannot pass it a limit on time and
        a relative gap, without which its answers cannot be judged.
    """

    solver: str

    def __post_init__(self) -> None:
        try:
            is_there = self._make().available()
        except PulpSolverError as error:
            raise unknown_name("solver of PuLP", self.solver, pulp.listSolvers()) from error
        missing = [name for name in _NEEDED if name not in self._parameters()]
        if missing:
            raise InputError(
                f"PuLP cannot pass {' and '.join(missing)} to {self.solver}; choose another solver."
            )
        if not is_there:
            raise InputError(f"PuLP does not find {self.solver}; install it, or choose another.")

    def relax(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve without the integrality conditions; the bound is the optimal value."""
        loose = replace(model, integer=np.zeros_like(model.integer))
        return self.solve(loose, replace(effort, gap=0.0, max_nodes=None), cancelled=cancelled)

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
        """Solve in whole."""
        if cancelled is not None and cancelled():
            return BackendResult(stop=BackendStop.CANCELLED, point=None, bound=-inf)
        problem = pulp_problem(model)
        if start is not None:
            _begin_with(problem, start)
        begun = monotonic()
        try:
            problem.solve(self._make(**self._options(effort)))  # type: ignore[no-untyped-call]
        except PulpSolverError as error:
            raise BackendError(f"{self.solver} failed: {error}.") from error
        stop = _stop(self.solver, problem.status, problem.sol_status)
        if stop is BackendStop.INFEASIBLE and model.cost.any():
            self._refuse_unbounded(model, effort)
        stop = _cut(stop, effort, monotonic() - begun)
        result = _read(model, effort, problem, stop)
        if on_point is not None and result.point is not None:
            on_point(result.point)
        if on_bound is not None and abs(result.bound) < inf:
            on_bound(result.bound)
        return result

    def _refuse_unbounded(self, model: LinearModel, effort: Effort) -> None:
        """Some solvers call unbounded models infeasible; without costs nothing is unbounded."""
        free = self.solve(replace(model, cost=np.zeros_like(model.cost)), effort)
        if free.stop is BackendStop.PROVEN:
            raise BackendError(f"{self.solver} found the model to be unbounded; give it limits.")

    def _make(self, **options: object) -> Any:  # noqa: ANN401 - PuLP has no common type
        return pulp.getSolver(self.solver, msg=False, **options)

    def _parameters(self) -> set[str]:
        return set(signature(type(self._make()).__init__).parameters)

    def _options(self, effort: Effort) -> dict[str, object]:
        wanted: dict[str, object] = {
            "timeLimit": max(effort.time_s, 0.01),
            "gapRel": effort.gap,
            "gapAbs": 0.0,
            "threads": 1,
            "warmStart": True,
        }
        if effort.max_nodes is not None:
            wanted["maxNodes"] = effort.max_nodes
        known = self._parameters()
        return {name: value for name, value in wanted.items() if name in known}


def _begin_with(problem: pulp.LpProblem, start: FloatArray) -> None:
    for variable in problem.variables():
        if variable.name.startswith("x"):
            variable.setInitialValue(start[int(variable.name[1:])], check=False)  # type: ignore[no-untyped-call]


def _stop(solver: str, status: int, solution: int) -> BackendStop:
    stop = _STOPS.get(status)
    if stop is None:
        raise BackendError(
            f"{solver} ended with {pulp.LpStatus.get(status, status)!r}, which is neither a "
            "solution nor a proof."
        )
    best = solution == pulp.LpSolutionOptimal
    return BackendStop.TIME_LIMIT if stop is BackendStop.PROVEN and not best else stop


def _cut(stop: BackendStop, effort: Effort, elapsed_s: float) -> BackendStop:
    """What cut it short, if it was: at the time limit nothing is proven, also not infeasibility."""
    if elapsed_s >= _NEARLY * effort.time_s:
        return BackendStop.TIME_LIMIT
    limited = stop is BackendStop.TIME_LIMIT and effort.max_nodes is not None
    return BackendStop.WORK_LIMIT if limited else stop


def _read(
    model: LinearModel, effort: Effort, problem: pulp.LpProblem, stop: BackendStop
) -> BackendResult:
    if stop is BackendStop.INFEASIBLE:
        return BackendResult(stop=stop, point=None, bound=inf)
    point = _point(model, problem)
    if stop is not BackendStop.PROVEN:
        return BackendResult(stop=stop, point=point, bound=-inf)
    if point is None:
        raise BackendError("The solver calls a point optimal that breaks the model.")
    value = float(model.cost @ point)
    bound = value - (effort.gap / (1 - effort.gap) + _PROOF) * abs(value)
    return BackendResult(stop=stop, point=point, bound=bound)


def _point(model: LinearModel, problem: pulp.LpProblem) -> FloatArray | None:
    """The values that the solver gave, None if they are no solution."""
    point = np.clip(0.0, model.lower, model.upper)
    for variable in problem.variables():
        if variable.name.startswith("x"):
            if variable.varValue is None:
                return None
            point[int(variable.name[1:])] = variable.varValue
    whole = model.integer > 0
    point[whole] = np.round(point[whole])
    return point if is_feasible(model, point) else None
