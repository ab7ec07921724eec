"""
CBC, which PuLP brings along: one process for every model, ended when it is no longer wanted.

CBC tells its bounds in its log, rounded, and its point only at the end. A bound is taken from the
log less what rounding may have added; where the log has none it is -inf.
"""

import shutil
import signal
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
from pulp.apis.coin_api import pulp_cbc_path

from profiles.errors import BackendError
from solver.backends.cbc_process import CbcEnd, CbcProcess
from solver.backends.pulp_model import pulp_problem
from solver.linear import BackendResult, BackendStop, Effort, LinearModel, is_feasible
from solver.problem import FloatArray

__all__ = ["CbcBackend"]

# Every word that CBC 2.10 can head a solution with; None marks an end without answer or proof.
_STOPS: dict[str, BackendStop | None] = {
    "Optimal": BackendStop.PROVEN,
    "Optimal (within gap tolerance)": BackendStop.PROVEN,
    "Infeasible": BackendStop.INFEASIBLE,
    "Integer infeasible": BackendStop.INFEASIBLE,
    "Stopped on time": BackendStop.TIME_LIMIT,
    "Stopped on iterations": BackendStop.WORK_LIMIT,
    "Stopped on ctrl-c": BackendStop.CANCELLED,
    "Stopped on difficulties": None,
    "Unbounded": None,
    "Status unknown": None,
}
_WITHOUT_POINT = " (no integer solution - continuous used)"
_FEASIBILITY = 1e-9
# What a proof by CBC leaves open beside the gap asked for, as a share of the objective.
_PROOF = 1e-9
# How it ends where it does not get the memory that it asks for.
_OUT_OF_MEMORY = (-signal.SIGKILL, -signal.SIGABRT)
# How it dies where it finds a model infeasible while tightening limits, and what it says.
_CRASH, _TIGHTENED = -signal.SIGSEGV, "Problem is infeasible - tightenPrimalBounds!"


class CbcBackend:
    """Proves linear models with CBC."""

    def relax(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve without the integrality conditions; the bound is the optimal value."""
        loose = replace(model, integer=np.zeros_like(model.integer))
        with TemporaryDirectory(prefix="hetplan-cbc-") as folder:
            work = _Work(model=loose, effort=replace(effort, gap=0.0), folder=Path(folder))
            result = work.run("-initialSolve", cancelled=cancelled)
        proven = result.stop in (BackendStop.PROVEN, BackendStop.INFEASIBLE)
        return result if proven else BackendResult(stop=result.stop, point=None, bound=-inf)

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
        """Solve in whole; points are told at the end only."""
        with TemporaryDirectory(prefix="hetplan-cbc-") as folder:
            work = _Work(model=model, effort=effort, folder=Path(folder))
            result = work.run("-solve", start=start, on_bound=on_bound, cancelled=cancelled)
        if on_point is not None and result.point is not None:
            on_point(result.point)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A model on its way through CBC, in a folder of its own."""

    model: LinearModel
    effort: Effort
    folder: Path

    def run(
        self,
        how: str,
        *,
        start: FloatArray | None = None,
        on_bound: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        if cancelled is not None and cancelled():
            return BackendResult(stop=BackendStop.CANCELLED, point=None, bound=-inf)
        deadline = monotonic() + self.effort.time_s
        columns = self._write()
        begin = [] if start is None else self._write_start(start)
        options = self._options(deadline - monotonic())
        command = [_cbc(), "model.mps", *begin, *options, how]
        process = CbcProcess(folder=self.folder, deadline=deadline, cancelled=cancelled)
        end = process.run([*command, *_READING], on_bound)
        if end.code == _CRASH and _TIGHTENED in process.run(command).log:
            return BackendResult(stop=BackendStop.INFEASIBLE, point=None, bound=inf)
        return self._read(columns, end)

    def _write(self) -> list[int]:
        """Write the model; returns the columns in the order of the file, -1 for one of PuLP's."""
        problem = pulp_problem(self.model)
        written = problem.writeMPS(str(self.folder / "model.mps"))
        return [int(v.name[1:]) if v.name.startswith("x") else -1 for v in written]

    def _write_start(self, start: FloatArray) -> list[str]:
        lines = [f"{j} x{j} {value!r} 0" for j, value in enumerate(start.tolist())]
        text = "\n".join(["Stopped on time - objective value 0", *lines, ""])
        (self.folder / "start.txt").write_text(text, encoding="utf-8")
        return ["-mipstart", "start.txt"]

    def _options(self, seconds: float) -> list[str]:
        effort = self.effort
        options: dict[str, object] = {
            "sec": max(seconds, 0.01),
            "timeMode": "elapsed",
            # The integer preprocessing of CBC 2.10 cuts off the best point of one small model in
            # two hundred.
            "preprocess": "off",
            "ratio": effort.gap,
            "allow": 0,
            "increment": 0,
            "primalTolerance": _FEASIBILITY,
            "dualTolerance": _FEASIBILITY,
            "integerTolerance": _FEASIBILITY,
            "randomSeed": effort.seed,
            "randomCbcSeed": effort.seed,
        }
        if effort.max_nodes is not None:
            options["maxNodes"] = effort.max_nodes
        return [word for name, value in options.items() for word in (f"-{name}", str(value))]

    def _read(self, columns: Sequence[int], end: CbcEnd) -> BackendResult:
        head = self.folder / "solution.txt"
        ended = end.stop
        if ended is None and (end.code or not head.exists()):
            ended = _failed(end)
        if ended is not None and not head.exists():
            return BackendResult(stop=ended, point=None, bound=end.bound)
        with head.open(encoding="utf-8") as file:
            words = file.readline().split(" - objective value")[0]
        stop = _stop(words.removesuffix(_WITHOUT_POINT))
        if stop is BackendStop.INFEASIBLE:
            return BackendResult(stop=stop, point=None, bound=inf)
        point = None if words.endswith(_WITHOUT_POINT) else self._point(columns)
        if stop is not BackendStop.PROVEN:
            return BackendResult(stop=ended or stop, point=point, bound=end.bound)
        if point is None:
            raise BackendError("CBC calls a point optimal that breaks the model.")
        return BackendResult(stop=stop, point=point, bound=self._proven(point))

    def _point(self, columns: Sequence[int]) -> FloatArray | None:
        """The point in CBC's own binary form, which keeps all digits; None if it is no solution."""
        data = (self.folder / "solution.bin").read_bytes()
        num_rows, num_columns, _ = struct.unpack_from("<iid", data)
        values = np.frombuffer(data, dtype="<f8", offset=struct.calcsize("<iid"))
        # row activities, row duals, columns, reduced costs
        found = values[2 * num_rows : 2 * num_rows + num_columns]
        point = np.clip(0.0, self.model.lower, self.model.upper)
        mine = np.array(columns) >= 0
        point[np.array(columns)[mine]] = found[mine]
        whole = self.model.integer > 0
        point[whole] = np.round(point[whole])
        return point if is_feasible(self.model, point) else None

    def _proven(self, point: FloatArray) -> float:
        value = float(self.model.cost @ point)
        gap = self.effort.gap
        return value - (gap / (1 - gap) + _PROOF) * abs(value)


_READING = ("-printingOptions", "all", "-solution", "solution.txt", "-saveSolution", "solution.bin")


def _cbc() -> str:
    """The program; PuLP's own where it has one for this machine."""
    path = shutil.which(pulp_cbc_path) or shutil.which("cbc")
    if path is None:
        raise BackendError(
            "PuLP has no CBC for this machine and there is none on the PATH; install one, or "
            "choose another backend."
        )
    return path


def _stop(words: str) -> BackendStop:
    stop = _STOPS.get(words)
    if stop is None:
        raise BackendError(f"CBC ended with {words!r}, which is neither a solution nor a proof.")
    return stop


def _failed(end: CbcEnd) -> BackendStop:
    if end.code in _OUT_OF_MEMORY or "bad_alloc" in end.log:
        return BackendStop.MEMORY
    raise BackendError(f"CBC failed with exit code {end.code}: {end.log[-200:].strip()!r}.")
