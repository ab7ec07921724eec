"""
The integer program of LLM-PQ's released code, row by row.

    z[i,j,b]  layer group i on device j in format b        binary
    y[i,b]    = sum_j z,  x[i,j] = sum_b z                 binary
    P_j, D_j  stage times;  A, D  the slowest of them

    sum_j x[i,j] = 1,  sum_b y[i,b] = 1,  sum_jb z[i,j,b] = 1     (the last two follow)
    sum_ib memory z <= capacity[j]
    sum_ib prefill z + ends <= P_j,  send[j] <= P_j,  P_j <= A    (the same for decode)
    x[0,0] = 1,  x[G-1,N-1] = 1
    x[i,j] + x[i-1,k] <= 1  for every i >= 1 and j < k            (contiguity)

Seconds are scaled so that all layers at their fastest take 1, memory so that a device has 1.

The search solves one such program per order and prefill micro-batch, each to the end or to its
time limit. Where the released code throws away what it has when the limit comes, this keeps it.
"""

from dataclasses import dataclass
from time import monotonic

import numpy as np

from solver.backends.highs import HighsBackend
from solver.linear import Effort, Expression, LinearModel, ModelBuilder
from solver.llmpq.attempt import attempt
from solver.llmpq.cases import LlmPqCase, enumerate_cases
from solver.llmpq.problem import LlmPqProblem, LlmPqRules
from solver.llmpq.result import LlmPqReport, report_of, summary
from solver.llmpq.stages import add_stages, time_units
from solver.problem import FloatArray, IntArray

__all__ = ["MILP_TIME_S", "NAIVE_GAP", "NaiveModel", "naive_model", "solve_naive"]

# As in the scripts of the released code, and the default of the solver that it uses.
MILP_TIME_S = 60.0
NAIVE_GAP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveModel:
    """The program, and the columns z of shape (G, N, B)."""

    model: LinearModel
    columns: IntArray

    def read(self, point: FloatArray) -> tuple[IntArray, IntArray]:
        """Position in the order and format of every layer group, shape (G,) each."""
        chosen = point[self.columns]
        flat = chosen.reshape(len(chosen), -1).argmax(axis=1)
        homes, formats = np.unravel_index(flat, chosen.shape[1:])
        return homes.astype(np.int64), formats.astype(np.int64)


def solve_naive(
    problem: LlmPqProblem,
    rules: LlmPqRules,
    *,
    gap: float = NAIVE_GAP,
    milp_time_s: float = MILP_TIME_S,
    seed: int = 0,
) -> LlmPqReport:
    """
    Solve every case by the published integer program.

    Parameters
    ----------
    problem, rules
        What to solve.
    gap, milp_time_s, seed
        Of each integer program.

    Raises
    ------
    InputError
        When the group size does not divide the number of layers.
    """
    begun, backend, reports = monotonic(), HighsBackend(), []
    effort = Effort(gap=gap, time_s=milp_time_s, seed=seed)
    for case in enumerate_cases(problem, rules):
        naive = naive_model(case)
        result = attempt(backend.solve, naive.model, effort)
        found = None if result.point is None else naive.read(result.point)
        reports.append(report_of(case, result.bound, found))
    return summary(reports, monotonic() - begun)


def naive_model(case: LlmPqCase) -> NaiveModel:
    """State a case as published."""
    builder = ModelBuilder()
    groups, devices, formats = case.shape
    z = _binaries(builder, case.allowed.astype(float))
    y = _binaries(builder, np.ones((groups, formats)))
    x = _binaries(builder, np.ones((groups, devices)))
    _assign(builder, z, y, x)
    for j in range(devices):
        room = max(float(case.capacity_bytes[j]), 0.0)
        unit = room or 1.0
        builder.row(_weigh(z[:, j], case.memory_bytes[:, j] / unit), upper=room / unit)
    stages_s = _stages(builder, case, z)
    builder.row({int(x[0, 0]): 1.0}, lower=1, upper=1)
    builder.row({int(x[-1, -1]): 1.0}, lower=1, upper=1)
    for i in range(1, groups):
        for k in range(devices):
            for j in range(k):
                builder.row({int(x[i, j]): 1.0, int(x[i - 1, k]): 1.0}, upper=1)
    cost = {**stages_s, **_weigh(y, case.penalty_s)}
    return NaiveModel(model=builder.build(cost), columns=z)


def _binaries(builder: ModelBuilder, upper: FloatArray) -> IntArray:
    columns = [builder.add(float(most), integer=True) for most in upper.ravel()]
    return np.array(columns).reshape(upper.shape)


def _weigh(columns: IntArray, weights: FloatArray) -> dict[int, float]:
    return dict(zip(columns.ravel().tolist(), weights.ravel().tolist(), strict=True))


def _equal(builder: ModelBuilder, parts: IntArray, whole: int | None) -> None:
    """The parts add up to the whole column, or to 1."""
    entries: dict[int, float] = dict.fromkeys(parts.ravel().tolist(), 1.0)
    if whole is not None:
        entries[whole] = -1.0
    value = 1.0 if whole is None else 0.0
    builder.row(entries, lower=value, upper=value)


def _assign(builder: ModelBuilder, z: IntArray, y: IntArray, x: IntArray) -> None:
    groups, devices, formats = z.shape
    for i in range(groups):
        for j in range(devices):
            _equal(builder, z[i, j], int(x[i, j]))
        for b in range(formats):
            _equal(builder, z[i, :, b], int(y[i, b]))
        for parts in (x[i], y[i], z[i]):
            _equal(builder, parts, None)


def _stages(builder: ModelBuilder, case: LlmPqCase, z: IntArray) -> Expression:
    prefill_unit, decode_unit = time_units(case)
    loads: list[tuple[Expression, Expression]] = [
        (
            _weigh(z[:, j], case.prefill_s[:, j] / prefill_unit),
            _weigh(z[:, j], case.decode_s[:, j] / decode_unit),
        )
        for j in range(z.shape[1])
    ]
    return add_stages(builder, case, loads)
