"""Scaled prefill time, decode time and memory of every slot, as expressions of the columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from solver.columns import Columns
from solver.instance import Instance, Slot
from solver.linear import Expression
from solver.problem import FloatArray

__all__ = ["Loads", "slot_loads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """
    What each slot is asked to carry.

    Parameters
    ----------
    prefill, decode
        Times of one micro-batch in the units given to `slot_loads`.
    prefill_last, decode_last
        Those of the last micro-batch; nothing where it is a full one.
    memory
        Bytes of layers, embedding and head over the memory of one GPU.
    free
        Share of a GPU's memory that is left beside work space; negative when none is.
    memory_bytes
        Memory of one GPU, at least a byte.
    """

    prefill: Sequence[Expression]
    decode: Sequence[Expression]
    prefill_last: Sequence[Expression]
    decode_last: Sequence[Expression]
    memory: Sequence[Expression]
    free: Sequence[float]
    memory_bytes: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Sum:
    """Adds up layers and ends over the slots."""

    slots: Sequence[Slot]
    kinds: Sequence[int]
    columns: Columns

    def of(
        self, layer: FloatArray, first: FloatArray, last: FloatArray, units: Sequence[float]
    ) -> list[dict[int, float]]:
        """``layer`` has shape (G, F, K), ``first`` and ``last`` (G,), ``units`` one per slot."""
        loads: list[dict[int, float]] = [{} for _ in self.slots]
        for (r, k, f), column in self.columns.count.items():
            loads[k][column] = float(layer[self.slots[k].group, f, self.kinds[r]]) / units[k]
        for k, slot in enumerate(self.slots):
            loads[k][self.columns.first[k]] = float(first[slot.group]) / units[k]
            loads[k][self.columns.last[k]] = float(last[slot.group]) / units[k]
        return loads


def slot_loads(
    instance: Instance,
    slots: Sequence[Slot],
    kinds: Sequence[int],
    columns: Columns,
    prefill_unit: float,
    decode_unit: float,
) -> Loads:
    """
    Loads of every slot.

    Parameters
    ----------
    instance, slots, kinds, columns
        Of the formulation; ``kinds`` gives the layer kind of every run.
    prefill_unit, decode_unit
        Seconds that count as 1.
    """
    p = instance.problem
    add_up = _Sum(slots, kinds, columns)
    memory_bytes = [max(p.devices[slot.device].memory_bytes, 1.0) for slot in slots]
    memory = add_up.of(
        instance.layer_bytes,
        p.embedding_bytes,
        p.head_bytes + instance.last_work_bytes,
        memory_bytes,
    )
    for k, slot in enumerate(slots):
        memory[k][columns.both[k]] = -float(p.shared_bytes[slot.group]) / memory_bytes[k]

    def prefill(size: int) -> list[dict[int, float]]:
        ends = p.embedding_prefill_s[:, size], p.head_prefill_s[:, size]
        return add_up.of(p.prefill_s[..., size], *ends, [prefill_unit] * len(slots))

    def decode(size: int) -> list[dict[int, float]]:
        ends = p.embedding_decode_s[:, size], p.head_decode_s[:, size]
        return add_up.of(p.decode_s[..., size], *ends, [decode_unit] * len(slots))

    return Loads(
        prefill=prefill(instance.prefill),
        decode=decode(instance.decode),
        prefill_last=[] if instance.prefill_last is None else prefill(instance.prefill_last),
        decode_last=[] if instance.decode_last is None else decode(instance.decode_last),
        memory=memory,
        free=[
            float(instance.free_bytes[slot.group]) / memory_bytes[k] for k, slot in enumerate(slots)
        ],
        memory_bytes=memory_bytes,
    )
