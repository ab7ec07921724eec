"""GLOP, the simplex method of OR-Tools, for linear relaxations."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
from ortools.linear_solver.python import model_builder

from profiles.errors import BackendError
from solver.backends.cancelling import cancelling
from solver.linear import BackendResult, BackendStop, Effort, LinearModel
from solver.problem import FloatArray

__all__ = ["relax_with_glop"]

# Every status that OR-Tools can end a linear program with; None: neither answer nor proof.
_STOPS: dict[str, BackendStop | None] = {
    "OPTIMAL": BackendStop.PROVEN,
    "INFEASIBLE": BackendStop.INFEASIBLE,
    "FEASIBLE": BackendStop.TIME_LIMIT,
    "NOT_SOLVED": BackendStop.TIME_LIMIT,
    "CANCELLED_BY_USER": BackendStop.CANCELLED,
    "UNBOUNDED": None,
    "ABNORMAL": None,
    "MODEL_IS_VALID": None,
    "UNKNOWN_STATUS": None,
    "MODEL_INVALID": None,
    "INVALID_SOLVER_PARAMETERS": None,
    "SOLVER_TYPE_UNAVAILABLE": None,
    "INCOMPATIBLE_OPTIONS": None,
}
_PARAMETERS = (
    "primal_feasibility_tolerance: 1e-9 dual_feasibility_tolerance: 1e-9 random_seed: {seed}"
)


def relax_with_glop(
    model: LinearModel, effort: Effort, *, cancelled: Callable[[], bool] | None = None
) -> BackendResult:
    """
    Solve a model without its integrality conditions; see `solver.linear.Backend.relax`.

    Raises
    ------
    BackendError
        Where GLOP ends without an answer or a proof.
    """
    stop, point = _run(model, effort, cancelled)
    if stop is BackendStop.INFEASIBLE:
        # GLOP says so of unbounded models too; without costs nothing is unbounded.
        stop, _ = _run(replace(model, cost=np.zeros_like(model.cost)), effort, cancelled)
        if stop is BackendStop.PROVEN:
            raise BackendError("GLOP found the model to be unbounded; give its columns limits.")
        bound = inf if stop is BackendStop.INFEASIBLE else -inf
        return BackendResult(stop=stop, point=None, bound=bound)
    if point is None:
        return BackendResult(stop=stop, point=None, bound=-inf)
    return BackendResult(stop=stop, point=point, bound=float(model.cost @ point))


def _run(
    model: LinearModel, effort: Effort, cancelled: Callable[[], bool] | None
) -> tuple[BackendStop, FloatArray | None]:
    solver = model_builder.Solver("GLOP")
    solver.set_solver_specific_parameters(_PARAMETERS.format(seed=effort.seed))
    solver.set_time_limit_in_seconds(max(effort.time_s, 0.01))
    program = _program(model)
    with cancelling(solver.stop_search, cancelled) as is_cancelled:
        status = solver.solve(program)
    stop = _stop(status.name)
    if stop is BackendStop.TIME_LIMIT and is_cancelled():
        stop = BackendStop.CANCELLED
    if stop is not BackendStop.PROVEN:
        return stop, None
    return stop, solver.values(program.get_variables()).to_numpy(dtype=float)


def _program(model: LinearModel) -> model_builder.Model:
    program = model_builder.Model()  # type: ignore[no-untyped-call]
    raw: Any = program.helper  # the stubs of its arrays are wrong
    whole = np.zeros(len(model.cost), dtype=bool)
    raw.add_var_array_with_bounds(model.lower, model.upper, whole, "")
    costs = model.cost.nonzero()[0]
    raw.set_objective_coefficients(costs.tolist(), model.cost[costs].tolist())
    columns, values, borders = model.column.tolist(), model.value.tolist(), model.row_start.tolist()
    for row, (begin, end) in enumerate(pairwise(borders)):
        index = raw.add_linear_constraint()
        raw.set_constraint_lower_bound(index, model.row_lower[row])
        raw.set_constraint_upper_bound(index, model.row_upper[row])
        for entry in range(begin, end):
            raw.add_term_to_constraint(index, columns[entry], values[entry])
    return program


def _stop(status: str) -> BackendStop:
    stop = _STOPS.get(status)
    if stop is None:
        raise BackendError(f"GLOP ended with {status!r}, which is neither a solution nor a proof.")
    return stop
