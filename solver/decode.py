"""From a point of the formulation to a plan: which slots, in which order, with which layers."""

from collections import defaultdict

import numpy as np

from solver.formulation import Formulation
from solver.problem import FloatArray
from solver.result import Plan, Stage

__all__ = ["read_plan", "read_stages"]


def read_plan(form: Formulation, point: FloatArray) -> Plan:
    """
    Read a plan from a point of a formulation that is neither merged nor pooled.

    Parameters
    ----------
    form
        The formulation that the point solves.
    point
        Value of every column; whole columns are rounded.
    """
    inst = form.instance
    sizes = inst.problem.micro_batches
    stages, position = [], 0
    whole = np.rint(point).astype(int)
    layers = _layers_of_slots(form, whole)
    for slot in _order(form, whole):
        formats = tuple(layers[slot])
        stages.append(Stage(group=form.slots[slot].group, first_layer=position, formats=formats))
        position += len(formats)
    return Plan(
        batch_size=inst.batch.size,
        prefill_micro_batch=int(sizes[inst.prefill]),
        decode_micro_batch=int(sizes[inst.decode]),
        stages=tuple(stages),
    )


def read_stages(form: Formulation, point: FloatArray) -> list[tuple[int, int]]:
    """
    Group and number of layers of every stage, in pipeline order.

    Equal stages that the formulation pools share its layers evenly, the first and the last stage of
    the pipeline taking the smaller shares.
    """
    whole = np.rint(point).astype(int)
    order = _order(form, whole)
    where: dict[int, list[int]] = defaultdict(list)
    for position, k in enumerate(order):
        where[k].append(position)
    ends = (0, len(order) - 1)
    lengths = [0] * len(order)
    for k, layers in _layers_of_slots(form, whole).items():
        positions = sorted(where[k], key=ends.__contains__)
        for index, position in enumerate(positions):
            lengths[position] = len(layers[index :: len(positions)])
    return [(form.slots[k].group, n) for k, n in zip(order, lengths, strict=True) if n]


def _layers_of_slots(form: Formulation, whole: np.ndarray) -> dict[int, list[int]]:
    """Formats of every slot's layers, run by run, in format order within a run."""
    layers: dict[int, list[int]] = defaultdict(list)
    for (_, k, f), column in sorted(form.columns.count.items()):
        layers[k] += [f] * int(whole[column])
    return layers


def _order(form: Formulation, whole: np.ndarray) -> list[int]:
    """Slots in pipeline order."""
    columns, order = form.columns, list[int]()
    place = _only(columns.first, whole)
    for r, row in enumerate(columns.start):
        starting = [k for k, column in enumerate(row) for _ in range(whole[column])]
        ends = columns.cross[r] if r < len(columns.cross) else columns.last
        first = place if r == 0 else None
        last = next((k for k, column in enumerate(ends) if whole[column]), None)
        if starting:
            walk = _walk(form, whole, r, order[-1] if order else place)
            order += _fill(form, walk, starting, first, last)
    return order


def _only(columns: list[int], whole: np.ndarray) -> int:
    return next(k for k, column in enumerate(columns) if whole[column])


def _walk(form: Formulation, whole: np.ndarray, run: int, before: int) -> list[int]:
    """Nodes visited within a run, from the node of slot ``before`` on (Hierholzer's trail)."""
    node = form.slots[before].node
    assert form.route is not None
    if not form.route.go:
        return [node]
    leaving: dict[int, list[int]] = defaultdict(list)
    for (u, v), column in sorted(form.route.go[run].items()):
        leaving[u] += [v] * int(whole[column])
    stack, trail = [node], []
    while stack:
        if leaving[stack[-1]]:
            stack.append(leaving[stack[-1]].pop())
        else:
            trail.append(stack.pop())
    return trail[::-1]


def _fill(
    form: Formulation, walk: list[int], starting: list[int], first: int | None, last: int | None
) -> list[int]:
    """
    Give every visit of the walk its slots: one each, the rest on a node's last visit.

    The first visit of a run after the first has no slot of its own where the walk only passes on
    from the stage before.
    """
    waiting: dict[int, list[int]] = defaultdict(list)
    for k in starting:
        waiting[form.slots[k].node].append(k)
    waiting = {node: _with_ends(slots, first, last) for node, slots in waiting.items()}
    visits_left: dict[int, int] = defaultdict(int)
    for node in walk:
        visits_left[node] += 1
    order: list[int] = []
    for position, node in enumerate(walk):
        visits_left[node] -= 1
        passing = position == 0 and first is None
        slots = waiting.get(node, [])
        if visits_left[node] == 0:
            order += slots
            waiting[node] = []
        elif not passing:
            order.append(slots.pop(0))
    return order


def _with_ends(slots: list[int], first: int | None, last: int | None) -> list[int]:
    """The slots in order, one copy of the first before all and one of the last behind."""
    inner, head, tail = sorted(slots), list[int](), list[int]()
    for end, k in ((head, first), (tail, last)):
        if k in inner:
            inner.remove(k)
            end.append(k)
    return head + inner + tail
