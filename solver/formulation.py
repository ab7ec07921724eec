"""
The pipeline problem at one pair of micro-batch sizes, as a mixed-integer linear program.

Layers that are alike and adjacent form *runs* r; every stage group offers equal *slots* k, each of
which may become one stage. Counting layers per run, slot and format instead of placing them one by
one loses nothing, because layers of a run are interchangeable; with runs of a single layer this is
the usual model with one binary per layer, slot and format.

Variables
    n[r,k,f]   layers of run r on slot k in format f             whole, 0 .. length of r
    start[r,k] slot k holds layers from run r on                 binary
    cross[r,k] slot k holds the layers at the border r-1 | r     binary, r >= 1
    first[k], last[k], both[k]   slot k is the first, the last, the only stage
    A, D, tau  slowest prefill step, slowest decode step, time between tokens
    A', D'     the same for a last micro-batch that is smaller than the others

Constraints (names of the functions below)
    cover        sum_k,f n[r,k,f] = length of r
    contiguous   sum_r start[r,k] <= 1,  cross[r,k] <= start[r-1,k] + cross[r-1,k],
                 sum_k cross[r,k] <= 1,  n > 0 only where start or cross, and a slot that enters
                 and leaves a run at its borders holds all of it
    ends         one first and one last stage
    memory       weights + KV + embedding + head + work space of a slot fit its GPUs
    pace         a[k] <= A, d[k] <= D, a'[k] <= A', d'[k] <= D'
                 tau >= sum d + links,  tau >= m_d D, or (m_d-1) D + D'
    share        GPUs of a class are used once; sums of load and memory over the slots of a class
                 are at most its GPUs times A, D and memory (implied by whole slots, not by the
                 relaxation, where slots share GPUs)
    route        links between stages: see `solver.route`
    box          where the instance bounds the paces: a[k] <= A_high used[k], the same for d, and
                 n[k] <= (most whole layers within the paces and memory) used[k], which rounds
                 down what the relaxation would fill with fractions of layers

Latency is linear in these: T = sum a + links + (m_p-1) A + sum d + links + (m_d-1) D + (n-2) tau,
where A' and D' stand in for the last A and D if the last micro-batch is smaller.

The *merged* form drops order and contiguity, counts all layers of a kind together and spreads
quality loss over the layers by a transportation problem: a relaxation with few columns for models
whose layers all differ in quality loss.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from profiles.units import GIB, HOUR, MILLION
from solver.capacity import most_layers, most_layers_of_kind
from solver.columns import Columns
from solver.instance import Instance, Interval, Run, Slot, layer_runs, make_slots, slots_of
from solver.linear import Expression, LinearModel, ModelBuilder, combine, total
from solver.loads import Loads, slot_loads
from solver.objective import Limits
from solver.problem import BoolArray, FloatArray, IntArray, PipelineProblem
from solver.route import Route, add_route

__all__ = ["Formulation", "Quantity", "formulate"]

_ROUNDING = 1e-9
_TINY = 1e-200
# Prices that differ by less than twice this share of the whole cluster's are one; see
# `solver.prices`. Without the slack, presolve may find equalities of odd decimals infeasible.
_PRICE_SLACK = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A linear expression whose value times ``unit`` is in base units (seconds, nats, USD/h)."""

    expression: Expression
    unit: float = 1.0


@dataclass(slots=True, kw_only=True)
class Formulation:
    """A model under construction and, once built, the key to reading its points."""

    instance: Instance
    runs: tuple[Run, ...]
    slots: tuple[Slot, ...]
    merged: bool
    loss_limit: float | None
    kinds: list[int]
    prefill_unit: float
    decode_unit: float
    builder: ModelBuilder = field(default_factory=ModelBuilder)
    columns: Columns = field(default_factory=Columns)
    route: Route | None = None
    quantities: dict[str, Quantity] = field(default_factory=dict)

    def slot_counts(self, slot: int, run: int | None = None) -> dict[int, float]:
        """Number of layers on a slot, of one run or all."""
        runs = range(len(self.runs)) if run is None else (run,)
        return {column: 1.0 for r in runs for column in self.columns.held[r, slot]}

    def used(self, slot: int) -> dict[int, float]:
        """1 where the slot is a stage."""
        return {row[slot]: 1.0 for row in self.columns.start}

    def touches(self, run: int, slot: int) -> dict[int, float]:
        """1 where the slot holds layers of the run."""
        if self.merged:
            return self.used(slot)
        touch = {self.columns.start[run][slot]: 1.0}
        if run:
            touch[self.columns.cross[run - 1][slot]] = 1.0
        return touch

    def of_device(self, device: int) -> list[int]:
        """Slots made of a device class."""
        return [k for k, slot in enumerate(self.slots) if slot.device == device]

    def model(self, objective: Expression) -> LinearModel:
        """The linear model with this objective."""
        return self.builder.build(objective)


def formulate(
    instance: Instance,
    limits: Limits,
    *,
    merged: bool = False,
    pooled: bool = False,
    spare_memory: bool = False,
    stages: Sequence[tuple[int, int]] | None = None,
) -> Formulation:
    """
    State one subproblem.

    Parameters
    ----------
    instance
        Batch size, micro-batch sizes, and intervals of price and pace.
    limits
        Limits on the plan.
    merged
        Whether to build the smaller relaxation instead of the exact model.
    pooled
        Whether equal slots are one: the same relaxation in fewer columns, and in whole numbers a
        relaxation still.
    spare_memory
        Whether GPUs may be given memory they do not have; the quantity ``missing_bytes`` counts it.
    stages
        Group and number of layers of every stage in pipeline order, where they are fixed and only
        formats are free (and the order, where all layers are alike).
    """
    slots, home = make_slots(instance.problem, gpus=instance.gpus, pooled=pooled), None
    if stages is not None:
        slots, home = slots_of(instance.problem, stages)
    form = _empty(instance, limits, slots, merged=merged)
    _add_columns(form, spare=spare_memory)
    if home is not None:
        _hold(form, home)
    _cover(form)
    _contiguous(form)
    _ends(form)
    _interchangeable(form)
    form.route = add_route(form.builder, form.slots, form.columns, _group_sizes(form), instance)
    loads = slot_loads(
        instance, form.slots, form.kinds, form.columns, form.prefill_unit, form.decode_unit
    )
    _memory(form, loads, spare=spare_memory)
    _pace(form, loads)
    _share(form, loads, spare=spare_memory)
    if not spare_memory:
        _box(form, loads)
    _measure(form, loads)
    _limit(form, limits)
    return form


def _empty(
    instance: Instance, limits: Limits, slots: tuple[Slot, ...], *, merged: bool
) -> Formulation:
    problem = instance.problem
    exact = layer_runs(problem)
    kinds = [int(problem.layer_kinds[run.first_layer]) for run in exact]
    if merged:
        present = sorted(set(kinds))
        sizes = [
            sum(r.num_layers for r, k in zip(exact, kinds, strict=True) if k == kind)
            for kind in present
        ]
        runs = tuple(Run(first_layer=-1, num_layers=size) for size in sizes)
        kinds = present
    else:
        runs = exact
    return Formulation(
        instance=instance,
        runs=runs,
        slots=slots,
        loss_limit=limits.loss_nats,
        merged=merged,
        kinds=kinds,
        prefill_unit=_prefill_unit(problem, instance.prefill),
        decode_unit=_decode_unit(problem, instance.decode),
    )


def _prefill_unit(problem: PipelineProblem, size: int) -> float:
    ends = problem.embedding_prefill_s[:, size], problem.head_prefill_s[:, size]
    return _unit(problem, problem.prefill_s[..., size], *ends)


def _decode_unit(problem: PipelineProblem, size: int) -> float:
    ends = problem.embedding_decode_s[:, size], problem.head_decode_s[:, size]
    return _unit(problem, problem.decode_s[..., size], *ends)


def _unit(problem: PipelineProblem, layer_s: FloatArray, *end_s: FloatArray) -> float:
    """Seconds of all layers, embedding and head at their fastest, which brings loads near 1."""
    usable = np.where(problem.group_formats[:, :, None], layer_s, np.inf).min(axis=(0, 1))
    total = float(usable[problem.layer_kinds].sum()) + sum(float(end.min()) for end in end_s)
    return total if np.isfinite(total) and total > 0 else 1.0


def _group_sizes(form: Formulation) -> list[int]:
    """Most slots that can start within each group of starts."""
    return [form.instance.problem.num_layers] if form.merged else [r.num_layers for r in form.runs]


def _run_formats(form: Formulation, run: int) -> BoolArray:
    """Shape (F,): formats that some layer of the run may take."""
    if form.merged:
        layers = np.flatnonzero(form.instance.problem.layer_kinds == form.kinds[run])
    else:
        layers = np.array([form.runs[run].first_layer])
    some: BoolArray = np.logical_or.reduce(_layer_formats(form, layers), axis=0)
    return some


def _layer_formats(form: Formulation, layers: IntArray) -> BoolArray:
    """Shape (layers, F): what they may take without breaking the limit on loss by themselves."""
    problem = form.instance.problem
    limit = np.inf if form.loss_limit is None else form.loss_limit
    mild: BoolArray = problem.loss_nats[layers] <= limit * (1 + _ROUNDING)
    both: BoolArray = problem.layer_formats[layers] & mild
    return both


def _add_columns(form: Formulation, *, spare: bool) -> None:
    columns, new = form.columns, form.builder.add
    num_slots = len(form.slots)
    for r in range(len(form.runs)):
        formats = _run_formats(form, r)
        for k in range(num_slots):
            most = _most_layers(form, r, k, formats, spare=spare)
            held = {int(f): new(most[f], integer=True) for f in np.flatnonzero(most > 0)}
            columns.count.update({(r, k, f): column for f, column in held.items()})
            columns.held[r, k] = tuple(held.values())
    num_starts = 1 if form.merged else len(form.runs)
    columns.start = [
        [new(slot.copies, integer=True) for slot in form.slots] for _ in range(num_starts)
    ]
    columns.cross = [
        [new(1, integer=True) for _ in range(num_slots)] for _ in range(num_starts - 1)
    ]
    columns.first = [new(1, integer=True) for _ in range(num_slots)]
    columns.last = [new(1, integer=True) for _ in range(num_slots)]
    columns.both = [new(1, integer=True) for _ in range(num_slots)]
    columns.prefill_pace = _pace_column(form, form.instance.prefill_pace, form.prefill_unit)
    columns.decode_pace = _pace_column(form, form.instance.decode_pace, form.decode_unit)
    columns.period = new()
    columns.prefill_last = None if form.instance.prefill_last is None else new()
    columns.decode_last = None if form.instance.decode_last is None else new()
    for node, price in enumerate(form.instance.problem.node_price_usd_per_hour):
        if price > 0:
            columns.rent[node] = new(1, integer=True)


def _pace_column(form: Formulation, pace: Interval, unit: float) -> int:
    low, high = pace.low * (1 - _ROUNDING) / unit, pace.high * (1 + _ROUNDING) / unit
    return form.builder.add(high, lower=low)


def _most_layers(
    form: Formulation, run: int, slot: int, formats: BoolArray, *, spare: bool
) -> FloatArray:
    """Shape (F,): layers of a run that a slot can hold in each format by kernel, memory, pace."""
    inst, place, size = form.instance, form.slots[slot], form.runs[run].num_layers
    allowed = formats & inst.problem.group_formats[place.group]
    most: FloatArray = np.where(allowed, float(size), 0.0)
    if spare:
        return most
    where = (place.group, slice(None), form.kinds[run])
    fitting = np.full(len(formats), float(size))
    for layer, room in (
        (inst.layer_bytes, max(float(inst.free_bytes[place.group]), 0.0)),
        (inst.problem.prefill_s[..., inst.prefill], inst.prefill_pace.high),
        (inst.problem.decode_s[..., inst.decode], inst.decode_pace.high),
    ):
        if room < np.inf:
            held = room / np.maximum(layer[where], _TINY) * (1 + _ROUNDING)
            fitting = np.minimum(fitting, np.floor(np.minimum(held, size)))
    smaller: FloatArray = np.minimum(most, fitting * place.copies)
    return smaller


def _hold(form: Formulation, home: Sequence[int]) -> None:
    """Every layer stays on the slot given for it."""
    for (r, k, _), column in form.columns.count.items():
        run = form.runs[r]
        held = home[run.first_layer : run.first_layer + run.num_layers].count(k)
        form.builder.upper[column] = min(form.builder.upper[column], float(held))


def _cover(form: Formulation) -> None:
    for r, run in enumerate(form.runs):
        placed = {c: 1.0 for k in range(len(form.slots)) for c in form.columns.held[r, k]}
        form.builder.row(placed, lower=run.num_layers, upper=run.num_layers)


def _contiguous(form: Formulation) -> None:
    row, columns = form.builder.row, form.columns
    for k in range(len(form.slots)):
        row(form.used(k), upper=form.slots[k].copies)
        for r, run in enumerate(form.runs):
            layers, touch = form.slot_counts(k, r), form.touches(r, k)
            row(combine((1, layers), (-run.num_layers, touch)), upper=0)
            if not form.merged:
                row(combine((1, layers), (-1, touch)), lower=0)
        if form.merged:
            row(combine((1, form.slot_counts(k)), (-1, form.used(k))), lower=0)
    for r, crossing in enumerate(columns.cross):
        row(dict.fromkeys(crossing, 1.0), upper=1)
        for k, column in enumerate(crossing):
            row(combine((1, {column: 1.0}), (-1, form.touches(r, k))), upper=0)
    for k in range(len(form.slots)):
        _hold_whole_runs(form, k)


def _hold_whole_runs(form: Formulation, slot: int) -> None:
    """A slot that enters a run at its first border and leaves at its last holds all of it."""
    columns = form.columns
    if form.merged:
        borders = [columns.first[slot], columns.last[slot]]
        sizes = [form.instance.problem.num_layers]
        counts = [form.slot_counts(slot)]
    else:
        borders = [columns.first[slot], *(row[slot] for row in columns.cross), columns.last[slot]]
        sizes = [run.num_layers for run in form.runs]
        counts = [form.slot_counts(slot, r) for r in range(len(form.runs))]
    for size, layers, enter, leave in zip(sizes, counts, borders, borders[1:], strict=False):
        inside = {enter: -float(size), leave: -float(size)}
        lower = -float(size * form.slots[slot].copies)
        form.builder.row(combine((1, layers), (1, inside)), lower=lower)


def _ends(form: Formulation) -> None:
    row, columns = form.builder.row, form.columns
    row(dict.fromkeys(columns.first, 1.0), lower=1, upper=1)
    row(dict.fromkeys(columns.last, 1.0), lower=1, upper=1)
    for k in range(len(form.slots)):
        row({columns.first[k]: 1.0, columns.start[0][k]: -1.0}, upper=0)
        row(
            combine((1, {columns.last[k]: 1.0}), (-1, form.touches(len(form.runs) - 1, k))), upper=0
        )
        row({columns.both[k]: 1.0, columns.first[k]: -1.0}, upper=0)
        row({columns.both[k]: 1.0, columns.last[k]: -1.0}, upper=0)


def _interchangeable(form: Formulation) -> None:
    """Equal slots are numbered by falling number of layers."""
    for k in range(len(form.slots) - 1):
        if form.slots[k] == form.slots[k + 1]:
            form.builder.row(
                combine((1, form.slot_counts(k)), (-1, form.slot_counts(k + 1))), lower=0
            )


def _memory(form: Formulation, loads: Loads, *, spare: bool) -> None:
    missing: dict[int, float] = {}
    for k, slot in enumerate(form.slots):
        needed = combine((1, loads.memory[k]), (-loads.free[k], form.used(k)))
        if spare:
            column = form.builder.add()
            needed[column] = -1.0
            missing[column] = slot.tensor_parallel * loads.memory_bytes[k] / GIB
        form.builder.row(needed, upper=0)
    form.quantities["missing_bytes"] = Quantity(expression=missing, unit=float(GIB))


@dataclass(frozen=True, slots=True)
class _Pace:
    """A column for the slowest machine: times of slots in its unit, and seconds of links."""

    column: int
    loads: Sequence[Expression]
    links: Sequence[Expression]
    unit: float


def _paces(form: Formulation, loads: Loads) -> list[_Pace]:
    columns, route = form.columns, form.route
    assert route is not None
    prefill, decode = form.prefill_unit, form.decode_unit
    paces = [
        _Pace(columns.prefill_pace, loads.prefill, route.prefill_occupancy, prefill),
        _Pace(columns.decode_pace, loads.decode, route.decode_occupancy, decode),
    ]
    if columns.prefill_last is not None:
        last = route.prefill_last_occupancy
        paces.append(_Pace(columns.prefill_last, loads.prefill_last, last, prefill))
    if columns.decode_last is not None:
        last = route.decode_last_occupancy
        paces.append(_Pace(columns.decode_last, loads.decode_last, last, decode))
    return paces


def _all_rounds(pace: int, last: int | None, count: int) -> dict[int, float]:
    """What a batch asks of the slowest machine."""
    return {pace: float(count)} if last is None else {pace: count - 1.0, last: 1.0}


def _pace(form: Formulation, loads: Loads) -> None:
    row, columns = form.builder.row, form.columns
    for pace in _paces(form, loads):
        for load, slot in zip(pace.loads, form.slots, strict=True):
            row(combine((1, load), (-float(slot.copies), {pace.column: 1.0})), upper=0)
        for seconds in pace.links:
            row(combine((1 / pace.unit, seconds), (-1, {pace.column: 1.0})), upper=0)
    assert form.route is not None
    rounds = _all_rounds(columns.decode_pace, columns.decode_last, form.instance.num_decode)
    row(combine((1, rounds), (-1, {columns.period: 1.0})), upper=0)
    once = combine(
        (1, total(*loads.decode)),
        (1 / form.decode_unit, form.route.decode_s),
        (1 / form.decode_unit, form.route.return_s),
    )
    row(combine((1, once), (-1, {columns.period: 1.0})), upper=0)


def _box(form: Formulation, loads: Loads) -> None:
    """What the upper ends of the pace intervals mean for whole layers."""
    inst, row = form.instance, form.builder.row
    paces = (
        (loads.prefill, inst.prefill_pace.high / form.prefill_unit),
        (loads.decode, inst.decode_pace.high / form.decode_unit),
    )
    if all(high == np.inf for _, high in paces):
        return
    for k in range(len(form.slots)):
        for load, high in paces:
            if high < np.inf:
                row(combine((1, load[k]), (-high * (1 + _ROUNDING), form.used(k))), upper=0)
    _round_down(form)


def _round_down(form: Formulation) -> None:
    """A slot holds a whole number of layers, fewer where it is the first or the last stage."""
    columns, row = form.columns, form.builder.row
    most, entry, leave, alone = (
        most_layers(form.instance, end)
        for end in ((False, False), (True, False), (False, True), (True, True))
    )
    of_kind = most_layers_of_kind(form.instance)
    for k, slot in enumerate(form.slots):
        g = slot.group
        ends = {
            columns.first[k]: float(most[g] - entry[g]),
            columns.last[k]: float(most[g] - leave[g]),
            columns.both[k]: float(entry[g] + leave[g] - most[g] - alone[g]),
        }
        whole = (-float(most[g]), form.used(k))
        row(combine((1, form.slot_counts(k)), whole, (1, ends)), upper=0)
        if len(form.runs) > 1:
            for r, kind in enumerate(form.kinds):
                touch = (-float(of_kind[g, kind]), form.touches(r, k))
                row(combine((1, form.slot_counts(k, r)), touch), upper=0)


def _share(form: Formulation, loads: Loads, *, spare: bool) -> None:
    row, columns = form.builder.row, form.columns
    for index, device in enumerate(form.instance.problem.devices):
        slots = form.of_device(index)
        size = {k: float(form.slots[k].tensor_parallel) for k in slots}
        gpus = combine(*((size[k], form.used(k)) for k in slots))
        least, most = device.min_used, device.count
        if form.instance.gpus is not None:
            least = most = form.instance.gpus[index]
        row(gpus, lower=least, upper=most)
        for pace in _paces(form, loads):
            carried = combine(*((size[k], pace.loads[k]) for k in slots))
            row(combine((1, carried), (-1, {pace.column: float(most)})), upper=0)
        work = [(size[k] * (1 - loads.free[k]), form.used(k)) for k in slots]
        if not spare:
            row(combine(*((size[k], loads.memory[k]) for k in slots), *work), upper=most)
    for node, column in columns.rent.items():
        for k, slot in enumerate(form.slots):
            if slot.node == node:
                row(combine((1, form.used(k)), (-slot.copies, {column: 1.0})), upper=0)


def _measure(form: Formulation, loads: Loads) -> None:
    """Name the quantities that objectives and limits speak of."""
    inst, columns, route = form.instance, form.columns, form.route
    assert route is not None
    prefill, decode = form.prefill_unit, form.decode_unit
    ttft = combine(
        (1, total(*loads.prefill)),
        (1 / prefill, route.prefill_s),
        (1, _all_rounds(columns.prefill_pace, columns.prefill_last, inst.num_prefill)),
        (-1, {columns.prefill_pace: 1.0}),
    )
    first_round = combine(
        (1, total(*loads.decode)),
        (1 / decode, route.decode_s),
        (1, _all_rounds(columns.decode_pace, columns.decode_last, inst.num_decode)),
        (-1, {columns.decode_pace: 1.0}),
    )
    steps = inst.problem.output_tokens - 2
    unit = prefill + decode * max(steps + 1, 0)
    latency = combine((prefill / unit, ttft))
    if steps >= 0:
        later = {columns.period: float(steps)}
        latency = combine((1, latency), (decode / unit, first_round), (decode / unit, later))
    form.quantities |= {
        "latency_s": Quantity(expression=latency, unit=unit * inst.problem.waves(inst.batch.size)),
        "ttft_s": Quantity(expression=ttft, unit=prefill),
        "tpot_s": Quantity(expression={columns.period: 1.0} if steps >= 0 else {}, unit=decode),
        "loss_nats": _loss(form),
        "price_usd_per_hour": _price(form),
        "gpus": Quantity(
            expression=combine(
                *((float(s.tensor_parallel), form.used(k)) for k, s in enumerate(form.slots))
            )
        ),
        "stages": Quantity(expression=total(*(form.used(k) for k in range(len(form.slots))))),
    }


def _price(form: Formulation) -> Quantity:
    p = form.instance.problem
    per_slot = [p.devices[s.device].price_usd_per_hour * s.tensor_parallel for s in form.slots]
    rent = {
        column: float(p.node_price_usd_per_hour[node]) for node, column in form.columns.rent.items()
    }
    used = combine(*((price, form.used(k)) for k, price in enumerate(per_slot)))
    everything = [d.price_usd_per_hour * d.count for d in p.devices]
    unit = float(sum(everything) + p.node_price_usd_per_hour.sum()) or 1.0
    return Quantity(expression=combine((1 / unit, used), (1 / unit, rent)), unit=unit)


def _loss(form: Formulation) -> Quantity:
    loss = form.instance.problem.loss_nats
    unit = form.loss_limit or float(loss.max(axis=1).sum()) or 1.0
    if form.merged:
        return Quantity(expression=_spread_loss(form, unit), unit=unit)
    expression = {
        column: loss[form.runs[r].first_layer, f] / unit
        for (r, _, f), column in form.columns.count.items()
        if loss[form.runs[r].first_layer, f] > 0
    }
    return Quantity(expression=expression, unit=unit)


def _spread_loss(form: Formulation, unit: float) -> dict[int, float]:
    """Quality loss of format totals, given to layers as is cheapest (a transportation problem)."""
    problem, expression = form.instance.problem, {}
    for r, kind in enumerate(form.kinds):
        layers = np.flatnonzero(problem.layer_kinds == kind)
        rows = np.column_stack([problem.loss_nats[layers], _layer_formats(form, layers)])
        alike, sizes = np.unique(rows, axis=0, return_counts=True)
        supply: dict[int, dict[int, float]] = defaultdict(dict)
        num_formats = len(problem.format_names)
        for row, size in zip(alike, sizes, strict=True):
            formats = np.flatnonzero(row[num_formats:])
            given = {int(f): form.builder.add(float(size)) for f in formats}
            form.builder.row(
                dict.fromkeys(given.values(), 1.0), lower=float(size), upper=float(size)
            )
            for f, column in given.items():
                supply[f][column] = 1.0
                expression[column] = float(row[f]) / unit
        for f in range(num_formats):
            wanted = {c: 1.0 for (q, _, g), c in form.columns.count.items() if q == r and g == f}
            form.builder.row(combine((1, wanted), (-1, supply[f])), lower=0, upper=0)
    return expression


def _limit_products(form: Formulation, limits: Limits) -> None:
    """Limits on throughput and cost as limits on latency: exact at one price."""
    latency, tokens = form.quantities["latency_s"], form.instance.output_tokens
    most = np.inf if limits.s_per_token is None else limits.s_per_token * tokens
    cost, price = limits.cost_usd_per_million_tokens, form.instance.price_low
    if cost is not None and price > 0:
        most = min(most, cost * tokens / MILLION * HOUR / price)
    if most < np.inf:
        form.builder.row(latency.expression, upper=most / latency.unit)


def _limit(form: Formulation, limits: Limits) -> None:
    for name, quantity in form.quantities.items():
        limit = getattr(limits, name, None)
        lower = float(limits.min_stages) if name == "stages" else -np.inf
        if limit is not None or lower > 1:
            upper = np.inf if limit is None else limit / quantity.unit
            form.builder.row(quantity.expression, lower=lower, upper=upper)
    _limit_products(form, limits)
    price = form.quantities["price_usd_per_hour"]
    if form.instance.price_low > 0 or form.instance.price_high < np.inf:
        form.builder.row(
            price.expression,
            lower=form.instance.price_low / price.unit - _PRICE_SLACK,
            upper=form.instance.price_high / price.unit + _PRICE_SLACK,
        )
