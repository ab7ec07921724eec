"""
A case of LLM-PQ's problem in counts: exact, with far fewer whole columns than layers.

Layer groups equal in time, memory and allowed formats are of one *kind* k; adjacent ones that also
agree in penalty form a *run* r.

    n[k,j,f]  layer groups of kind k on device j in format f      whole
    c[r,j,f]  those of run r                                      sum over the runs of k = n[k,j,f]
    v[r,j]    layer groups of run r on devices 0..j
    u[r,j]    run r is wholly on devices 0..j                     binary
    u[r,j] = 1 where v[r+1,j] > 0;  u[r,j] = 0 where v[r,j] < length of r

With n and u whole, c is a transportation problem with whole margins, so it is whole at a vertex.
The order of devices is fixed: a single run needs neither u nor c. The *merged* form drops u and v
and assigns formats to runs wherever they are: a relaxation with few columns. Held to stages of
given lengths, the exact form chooses their formats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from solver.linear import Expression, LinearModel, ModelBuilder, combine, total
from solver.llmpq.cases import LlmPqCase
from solver.llmpq.stages import add_stages, time_units
from solver.problem import FloatArray, IntArray

__all__ = ["CountModel", "LayerRun", "count_model", "layer_runs"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """Adjacent layer groups of one kind and penalty: ``first`` and how many."""

    kind: int
    first: int
    size: int


@dataclass(slots=True, kw_only=True)
class CountModel:
    """A case under construction and, once built, the key to reading its points."""

    case: LlmPqCase
    runs: tuple[LayerRun, ...]
    builder: ModelBuilder = field(default_factory=ModelBuilder)
    count: dict[tuple[int, int, int], int] = field(default_factory=dict)
    run_count: dict[tuple[int, int, int], int] = field(default_factory=dict)
    cost: Expression = field(default_factory=dict)

    @property
    def model(self) -> LinearModel:
        """The linear model."""
        return self.builder.build(self.cost)

    def cut(self, upper_s: float) -> None:
        """Look only for costs up to this."""
        unit = upper_s if upper_s > 0 else 1.0
        self.builder.row({c: x / unit for c, x in self.cost.items()}, upper=upper_s / unit)

    def on_device(self, device: int) -> dict[int, float]:
        """Number of layer groups on the device."""
        return {column: 1.0 for (_, j, _), column in self.count.items() if j == device}

    def before(self, device: int) -> dict[int, float]:
        """Number of layer groups on the devices before this one."""
        return {column: 1.0 for (_, j, _), column in self.count.items() if j < device}

    def lengths(self, point: FloatArray) -> IntArray:
        """Shape (N,): layer groups on every device."""
        lengths = np.zeros(self.case.shape[1], dtype=np.int64)
        for (_, j, _), column in self.count.items():
            lengths[j] += round(point[column])
        return lengths

    def read(self, point: FloatArray) -> tuple[IntArray, IntArray]:
        """Position and format of every layer group, shape (G,) each, of the exact form."""
        lengths = self.lengths(point)
        homes = np.repeat(np.arange(len(lengths)), lengths)
        formats: list[int] = []
        for (_, _, f), column in sorted(self.run_count.items()):
            formats += [f] * round(point[column])
        return homes, np.array(formats, dtype=np.int64)

    def hold(self, point: FloatArray) -> None:
        """Fix the whole columns at their values in the point."""
        for column in np.flatnonzero(self.builder.integer).tolist():
            self.builder.lower[column] = self.builder.upper[column] = float(round(point[column]))


def layer_runs(case: LlmPqCase) -> tuple[LayerRun, ...]:
    """Split the layer groups into runs."""
    groups = case.shape[0]
    parts = (case.prefill_s, case.decode_s, case.memory_bytes, case.allowed)
    rows = np.column_stack([part.reshape(groups, -1) for part in parts])
    kinds = np.unique(rows, axis=0, return_inverse=True)[1]
    both = np.column_stack([kinds, case.penalty_s])
    changes = np.flatnonzero((both[1:] != both[:-1]).any(axis=1)) + 1
    starts = [0, *changes.tolist(), groups]
    return tuple(LayerRun(kind=int(kinds[a]), first=a, size=b - a) for a, b in pairwise(starts))


def count_model(
    case: LlmPqCase,
    *,
    merged: bool,
    borders: Sequence[tuple[int, int]] | None = None,
) -> CountModel:
    """
    State a case in counts.

    Parameters
    ----------
    case
        The case.
    merged
        Whether runs may lie anywhere: a relaxation unless there is one run.
    borders
        For every device but the last: least and most layer groups on it and those before it.
    """
    form = CountModel(case=case, runs=layer_runs(case))
    windows = _windows(case, borders)
    _add_counts(form, windows)
    cost = _cover_anywhere(form) if merged else _cover_in_order(form, windows)
    _rank_equal_devices(form, windows)
    _fit(form)
    _bound_borders(form, windows)
    form.cost = total(cost, _stage_cost(form))
    return form


def _windows(case: LlmPqCase, borders: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
    """Least and most layer groups before every border, the ends of the pipeline included."""
    groups, devices, _ = case.shape
    inner = [(1, groups - 1)] * (devices - 1) if borders is None else list(borders)
    return [(0, 0), *inner, (groups, groups)]


def _room(run: LayerRun, windows: list[tuple[int, int]], device: int) -> int:
    """Most layer groups of a run that the device may hold."""
    first = max(run.first, windows[device][0])
    return max(min(run.first + run.size, windows[device + 1][1]) - first, 0)


def _add_counts(form: CountModel, windows: list[tuple[int, int]]) -> None:
    case = form.case
    most: dict[tuple[int, int, int], int] = {}
    for run in form.runs:
        for j in range(case.shape[1]):
            room = _room(run, windows, j)
            for f in np.flatnonzero(case.allowed[run.first, j]).tolist():
                key = (run.kind, j, f)
                most[key] = most.get(key, 0) + room
    first = {run.kind: run.first for run in form.runs}
    for (k, j, f), size in most.items():
        fitting = _fitting(case, first[k], j, f)
        if min(size, fitting) >= 1:
            form.count[k, j, f] = form.builder.add(min(size, fitting), integer=True)


def _fitting(case: LlmPqCase, group: int, device: int, fmt: int) -> float:
    """Layer groups like this one that fit the device's memory."""
    each = float(case.memory_bytes[group, device, fmt])
    free = max(float(case.capacity_bytes[device]), 0.0)
    return float(np.floor(free / each * (1 + _ROUNDING))) if each > 0 else np.inf


def _runs_of_kinds(form: CountModel) -> dict[int, list[int]]:
    """Runs of every kind."""
    members: dict[int, list[int]] = {}
    for r, run in enumerate(form.runs):
        members.setdefault(run.kind, []).append(r)
    return members


def _cover_anywhere(form: CountModel) -> Expression:
    """Every run takes formats from those of its kind; returns the penalty in seconds."""
    builder, penalty = form.builder, form.case.penalty_s
    cost: dict[int, float] = {}
    for kind, members in _runs_of_kinds(form).items():
        of_kind = {(j, f): c for (k, j, f), c in form.count.items() if k == kind}
        if len(members) == 1:
            run = form.runs[members[0]]
            builder.row(dict.fromkeys(of_kind.values(), 1.0), lower=run.size, upper=run.size)
            cost.update({c: float(penalty[run.first, f]) for (_, f), c in of_kind.items()})
            continue
        formats = sorted({f for _, f in of_kind})
        taken = {(r, f): builder.add(form.runs[r].size) for r in members for f in formats}
        cost.update({c: float(penalty[form.runs[r].first, f]) for (r, f), c in taken.items()})
        for r in members:
            size = form.runs[r].size
            builder.row({taken[r, f]: 1.0 for f in formats}, lower=size, upper=size)
        for f in formats:
            used = {c: 1.0 for (_, g), c in of_kind.items() if g == f}
            builder.row(used | {taken[r, f]: -1.0 for r in members}, lower=0, upper=0)
    return cost


def _rank_equal_devices(form: CountModel, windows: list[tuple[int, int]]) -> None:
    """Neighbours that may swap their layers, which are all alike, hold rising numbers of them."""
    for j in range(1, form.case.shape[1] - 1):
        low, high = windows[j][0], windows[j + 2][1]
        is_open = windows[j + 1][0] < windows[j + 1][1]
        alike = any(run.first <= low and high <= run.first + run.size for run in form.runs)
        if is_open and alike and _are_equal(form.case, j, j + 1):
            form.builder.row(combine((1, form.on_device(j)), (-1, form.on_device(j + 1))), upper=0)


def _are_equal(case: LlmPqCase, j: int, k: int) -> bool:
    by_layer = (case.prefill_s, case.decode_s, case.memory_bytes, case.allowed)
    by_device = (case.send_prefill_s, case.send_decode_s, case.capacity_bytes)
    return all(np.array_equal(array[:, j], array[:, k]) for array in by_layer) and all(
        array[j] == array[k] for array in by_device
    )


def _fit(form: CountModel) -> None:
    """Layers fit the memory of their device."""
    case = form.case
    first = {run.kind: run.first for run in form.runs}
    for j in range(case.shape[1]):
        free = float(case.capacity_bytes[j])
        if free > 0:
            needed = {
                c: float(case.memory_bytes[first[k], j, f]) / free
                for (k, at, f), c in form.count.items()
                if at == j
            }
            form.builder.row(needed, upper=1)


def _bound_borders(form: CountModel, windows: list[tuple[int, int]]) -> None:
    """Layer groups on the first devices, within the windows."""
    for j in range(1, form.case.shape[1]):
        low, high = windows[j]
        form.builder.row(form.before(j), lower=low, upper=high)


def _stage_cost(form: CountModel) -> Expression:
    case, (prefill_unit, decode_unit) = form.case, time_units(form.case)
    first = {run.kind: run.first for run in form.runs}
    loads: list[tuple[dict[int, float], dict[int, float]]] = [
        ({}, {}) for _ in range(case.shape[1])
    ]
    for (k, j, f), column in form.count.items():
        loads[j][0][column] = float(case.prefill_s[first[k], j, f]) / prefill_unit
        loads[j][1][column] = float(case.decode_s[first[k], j, f]) / decode_unit
    return add_stages(form.builder, case, loads)


def _cover_in_order(form: CountModel, windows: list[tuple[int, int]]) -> Expression:
    """Every run takes its formats where it lies; returns the penalty in seconds."""
    _add_run_counts(form, windows)
    done: list[Expression] = []
    for r, run in enumerate(form.runs):
        before = _before_borders(form, r, windows)
        for j, whole in enumerate(done):  # the run before is done where this one begins
            form.builder.row(combine((1, {before[j]: 1.0}), (-run.size, whole)), upper=0)
        done = [_done(form, run, column) for column in before]
    penalty = form.case.penalty_s
    return {c: float(penalty[form.runs[r].first, f]) for (r, _, f), c in form.run_count.items()}


def _add_run_counts(form: CountModel, windows: list[tuple[int, int]]) -> None:
    parts: dict[tuple[int, int, int], list[int]] = {key: [] for key in form.count}
    for r, run in enumerate(form.runs):
        for key in (key for key in form.count if key[0] == run.kind):
            room = _room(run, windows, key[1])
            if room:
                form.run_count[r, key[1], key[2]] = form.builder.add(room)
                parts[key].append(form.run_count[r, key[1], key[2]])
    for key, columns in parts.items():
        same = dict.fromkeys(columns, 1.0) | {form.count[key]: -1.0}
        form.builder.row(same, lower=0, upper=0)


def _before_borders(form: CountModel, r: int, windows: list[tuple[int, int]]) -> list[int]:
    """Columns v of a run: its layer groups on the devices before every border."""
    run, devices = form.runs[r], form.case.shape[1]
    before: list[int] = []
    for low, high in windows[1:-1]:
        least, most = (min(max(at - run.first, 0), run.size) for at in (low, high))
        before.append(form.builder.add(most, lower=least, integer=run.size == 1))
    for j in range(devices):
        held = {c: -1.0 for (at, d, _), c in form.run_count.items() if (at, d) == (r, j)}
        left = {before[j - 1]: -1.0} if j else {}
        right = {before[j]: 1.0} if j < devices - 1 else {}
        value = -float(run.size) if j == devices - 1 else 0.0
        form.builder.row(total(held, left, right), lower=value, upper=value)
    return before


def _done(form: CountModel, run: LayerRun, before: int) -> Expression:
    """Column u of a run and border: 1 only where all of the run is before the border."""
    if run.size == 1:
        return {before: 1.0}
    column = form.builder.add(1, integer=True)
    form.builder.row({column: float(run.size), before: -1.0}, upper=0)
    return {column: 1.0}
