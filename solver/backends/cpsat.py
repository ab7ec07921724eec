"""
CP-SAT of OR-Tools: proves the model in whole numbers; see `solver.backends.integer_form`.

Its bounds are those of the rounded model less what rounding may have changed, hence bounds of the
model itself. Linear relaxations are solved by GLOP, the simplex method that comes with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from time import monotonic
from typing import TypeVar

import numpy as np
from ortools.sat.python import cp_model

from profiles.errors import BackendError
from solver.backends.cancelling import cancelling
from solver.backends.glop import relax_with_glop
from solver.backends.integer_form import IntegerForm, integer_form
from solver.linear import BackendResult, BackendStop, Effort, LinearModel
from solver.problem import FloatArray

__all__ = ["CpSatBackend"]

Heard = TypeVar("Heard")

# Every status that CP-SAT can end with; None marks an end without answer or proof. It does not say
# which limit cut it short: see `_cut`.
_STOPS: dict[str, BackendStop | None] = {
    "OPTIMAL": BackendStop.PROVEN,
    "INFEASIBLE": BackendStop.INFEASIBLE,
    "FEASIBLE": BackendStop.TIME_LIMIT,
    "UNKNOWN": BackendStop.TIME_LIMIT,
    "MODEL_INVALID": None,
}
_HALVING_CONFLICTS = 100
# Its own limit would be a fourth way to be cut short, which it does not tell apart.
_ANY_MEMORY_MB = 2**40


class CpSatBackend:
    """Proves linear models with CP-SAT; a node of `Effort.max_nodes` is one of its conflicts."""

    def relax(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve without the integrality conditions; the bound is the optimal value."""
        return relax_with_glop(model, effort, cancelled=cancelled)

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
        begun = monotonic()
        form = integer_form(model)
        program = _program(form, start)
        solver = _solver(effort, effort.time_s - (monotonic() - begun))
        watch = _Watch(form=form, solver=solver, on_point=on_point, on_bound=on_bound)
        solver.best_bound_callback = watch.hear_bound
        try:
            with cancelling(solver.stop_search, cancelled) as is_cancelled:
                status = solver.solve(program, _Listener(watch))
            watch.reraise()
        except MemoryError:
            return BackendResult(stop=BackendStop.MEMORY, point=watch.point, bound=watch.bound)
        stop = _stop(status.name)
        if stop is BackendStop.TIME_LIMIT:
            stop = _cut(effort, solver, is_cancelled())
        return _read(form, solver, stop)


def _program(form: IntegerForm, start: FloatArray | None) -> cp_model.CpModel:
    program = cp_model.CpModel()
    limits = zip(form.lower.tolist(), form.upper.tolist(), strict=True)
    columns = [program.new_int_var(least, most, "") for least, most in limits]
    values, places = form.value.tolist(), form.column.tolist()
    sides = zip(form.row_lower.tolist(), form.row_upper.tolist(), strict=True)
    for (begin, end), (least, most) in zip(pairwise(form.row_start.tolist()), sides, strict=True):
        entries = [columns[j] for j in places[begin:end]]
        total = cp_model.LinearExpr.weighted_sum(entries, values[begin:end])
        program.add_linear_constraint(total, least, most)
    program.minimize(cp_model.LinearExpr.weighted_sum(columns, form.cost.tolist()))
    if start is not None:
        for column, value in zip(columns, form.nearest(start).tolist(), strict=True):
            program.add_hint(column, value)
    return program


def _solver(effort: Effort, seconds: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    # Ctrl-C is for hetplan, which stops the search itself; two who catch it end in an abort.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = effort.seed
    solver.parameters.max_time_in_seconds = max(seconds, 0.01)
    # Halve the range of the objective first, or it may take the steps of a pace one by one.
    solver.parameters.binary_search_num_conflicts = _HALVING_CONFLICTS
    # Its presolve cuts solutions off (google/or-tools issue 5293, and one in a thousand models
    # beside that).
    solver.parameters.cp_model_presolve = False
    solver.parameters.max_memory_in_mb = _ANY_MEMORY_MB
    solver.parameters.relative_gap_limit = effort.gap
    if effort.max_nodes is not None:
        solver.parameters.max_number_of_conflicts = effort.max_nodes
    return solver


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Keeps points and bounds and passes them on; what a listener raises waits for the end."""

    form: IntegerForm
    solver: cp_model.CpSolver
    on_point: Callable[[FloatArray], None] | None
    on_bound: Callable[[float], None] | None
    point: FloatArray | None = None
    bound: float = -inf
    failures: list[BaseException] = field(default_factory=list)

    def hear_point(self, whole: list[int]) -> None:
        self.point = self.form.point(np.array(whole, dtype=np.int64))
        if self.on_point is not None:
            self._tell(self.on_point, self.point)

    def hear_bound(self, bound: float) -> None:
        self.bound = self.form.bound(bound)
        if self.on_bound is not None:
            self._tell(self.on_bound, self.bound)

    def _tell(self, listener: Callable[[Heard], None], heard: Heard) -> None:
        if self.failures:
            return
        try:
            listener(heard)
        except BaseException as error:  # must not pass through the solver's own code
            self.failures.append(error)
            self.solver.stop_search()

    def reraise(self) -> None:
        if self.failures:
            raise self.failures[0]


class _Listener(cp_model.CpSolverSolutionCallback):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def on_solution_callback(self) -> None:
        self._watch.hear_point(list(self.response_proto.solution))


def _stop(status: str) -> BackendStop:
    stop = _STOPS.get(status)
    if stop is None:
        raise BackendError(
            f"CP-SAT ended with {status!r}, which is neither a solution nor a proof. Check that "
            "the coefficients lie within a few orders of magnitude."
        )
    return stop


def _cut(effort: Effort, solver: cp_model.CpSolver, is_cancelled: bool) -> BackendStop:
    """What cut the search short."""
    if is_cancelled:
        return BackendStop.CANCELLED
    most = inf if effort.max_nodes is None else effort.max_nodes
    return BackendStop.WORK_LIMIT if solver.num_conflicts >= most else BackendStop.TIME_LIMIT


def _read(form: IntegerForm, solver: cp_model.CpSolver, stop: BackendStop) -> BackendResult:
    if stop is BackendStop.INFEASIBLE:
        return BackendResult(stop=stop, point=None, bound=inf)
    response = solver.response_proto
    whole = np.array(list(response.solution), dtype=np.int64)
    point = form.point(whole) if len(whole) else None
    return BackendResult(stop=stop, point=point, bound=form.bound(response.best_objective_bound))
