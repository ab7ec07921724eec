"""One subproblem of the search: batch, pair of micro-batch sizes, intervals of price and pace."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import ceil, inf

import numpy as np

from solver.problem import BatchOption, FloatArray, PipelineProblem

__all__ = [
    "ANYTHING",
    "Instance",
    "Interval",
    "Pair",
    "Run",
    "Slot",
    "layer_runs",
    "make_slots",
    "slots_of",
]

# Batch size, indices of the micro-batch sizes of prefill and decode.
Pair = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """All values from ``low`` to ``high``."""

    low: float = 0.0
    high: float = inf

    @property
    def width(self) -> float:
        """High less low."""
        return self.high - self.low

    def halves(self) -> "tuple[Interval, Interval]":
        """The lower and the upper half."""
        middle = (self.low + self.high) / 2
        return replace(self, high=middle), replace(self, low=middle)


ANYTHING = Interval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Consecutive layers that are alike in kind, quality loss and allowed formats."""

    first_layer: int
    num_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """
    A stage that a plan may open: a copy of a stage group.

    Parameters
    ----------
    group, device, node, tensor_parallel
        Of the stage group.
    copies
        1, or in a relaxation all copies of the group pooled: the equal copies of a solution can be
        averaged, so the pool has the same relaxation.
    """

    group: int
    device: int
    node: int
    tensor_parallel: int
    copies: int = 1


def layer_runs(problem: PipelineProblem) -> tuple[Run, ...]:
    """Split the layers into the longest runs of equal ones."""
    rows = np.column_stack([problem.layer_kinds, problem.loss_nats, problem.layer_formats])
    starts = [0, *(np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1), len(rows)]
    return tuple(Run(first_layer=int(a), num_layers=int(b - a)) for a, b in pairwise(starts))


def make_slots(
    problem: PipelineProblem, *, gpus: Sequence[int] | None = None, pooled: bool = False
) -> tuple[Slot, ...]:
    """As many copies of every stage group as its GPUs (and the layers) allow; ``gpus`` by class."""
    slots: list[Slot] = []
    for index, group in enumerate(problem.groups):
        count = problem.devices[group.device].count if gpus is None else gpus[group.device]
        copies = min(count // group.tensor_parallel, problem.num_layers)
        if pooled and copies:
            slots.append(_slot(problem, index, copies))
        elif not pooled:
            slots += [_slot(problem, index)] * copies
    return tuple(slots)


def slots_of(
    problem: PipelineProblem, stages: Sequence[tuple[int, int]]
) -> tuple[tuple[Slot, ...], list[int]]:
    """Slots for stages of given groups and lengths, equal ones by falling length; layers' slots."""
    falling = sorted(range(len(stages)), key=lambda j: (stages[j][0], -stages[j][1]))
    place = {j: k for k, j in enumerate(falling)}
    home = [place[j] for j, (_, num_layers) in enumerate(stages) for _ in range(num_layers)]
    return tuple(_slot(problem, stages[j][0]) for j in falling), home


def _slot(problem: PipelineProblem, index: int, copies: int = 1) -> Slot:
    group = problem.groups[index]
    return Slot(
        group=index,
        device=group.device,
        node=problem.devices[group.device].node,
        tensor_parallel=group.tensor_parallel,
        copies=copies,
    )


@dataclass(frozen=True, kw_only=True)
class Instance:
    """
    The problem at one batch size and one pair of micro-batch sizes.

    Parameters
    ----------
    problem
        The whole problem.
    batch
        The batch size.
    prefill, decode
        Indices of the micro-batch sizes of the two phases.
    price_low, price_high
        Price in USD per hour that the plan may have.
    gpus
        GPUs of each device class that the plan uses; None where it may choose.
    prefill_pace, decode_pace
        Seconds that the slowest stage (or link) of each phase may take for one micro-batch.
    """

    problem: PipelineProblem
    batch: BatchOption
    prefill: int
    decode: int
    price_low: float = 0.0
    price_high: float = inf
    gpus: tuple[int, ...] | None = None
    prefill_pace: Interval = ANYTHING
    decode_pace: Interval = ANYTHING

    @property
    def pair(self) -> Pair:
        """Batch size and the two micro-batch sizes."""
        return self.batch.size, self.prefill, self.decode

    @property
    def output_tokens(self) -> int:
        """Output tokens of all requests."""
        return self.problem.served_requests(self.batch.size) * self.problem.output_tokens

    @property
    def num_prefill(self) -> int:
        """Micro-batches in prefill, m_p."""
        return ceil(self.batch.size / int(self.problem.micro_batches[self.prefill]))

    @property
    def num_decode(self) -> int:
        """Micro-batches in decode, m_d."""
        return ceil(self.batch.size / int(self.problem.micro_batches[self.decode]))

    @cached_property
    def prefill_last(self) -> int | None:
        """Index of the size of the last micro-batch in prefill; None where it is a full one."""
        last = self.problem.last_micro_batch(self.batch.size, self.prefill)
        return None if last == self.prefill else last

    @cached_property
    def decode_last(self) -> int | None:
        """Index of the size of the last micro-batch in decode; None where it is a full one."""
        last = self.problem.last_micro_batch(self.batch.size, self.decode)
        return None if last == self.decode else last

    @cached_property
    def layer_bytes(self) -> FloatArray:
        """Shape (G, F, K): weights and the KV cache of all requests, per layer and GPU."""
        return self.problem.weight_bytes + self.batch.size * self.problem.kv_bytes[:, None, :]

    @cached_property
    def work_bytes(self) -> FloatArray:
        """Shape (G,): work space of a stage, the larger of the two phases."""
        p = self.problem
        return np.maximum(
            p.prefill_work_bytes[:, self.prefill], p.decode_work_bytes[:, self.decode]
        )

    @cached_property
    def last_work_bytes(self) -> FloatArray:
        """Shape (G,): what the last stage needs beyond ``work_bytes`` for logits."""
        p = self.problem
        prefill = p.prefill_work_bytes[:, self.prefill] + p.head_prefill_work_bytes[:, self.prefill]
        decode = p.decode_work_bytes[:, self.decode] + p.head_decode_work_bytes[:, self.decode]
        return np.maximum(prefill, decode) - self.work_bytes

    @cached_property
    def free_bytes(self) -> FloatArray:
        """Shape (G,): what a GPU of the group has for layers, embedding and head."""
        memory = [self.problem.devices[g.device].memory_bytes for g in self.problem.groups]
        return np.array(memory) - self.work_bytes
