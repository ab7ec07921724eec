"""One subproblem of the search: a batch size, a pair of micro-batch sizes, a price interval."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil, inf

import numpy as np

from solver.problem import BatchOption, FloatArray, PipelineProblem

__all__ = ["Instance", "Run", "Slot", "layer_runs", "make_slots"]


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


def make_slots(problem: PipelineProblem, *, pooled: bool = False) -> tuple[Slot, ...]:
    """As many copies of every stage group as its GPUs (and the layers) allow."""
    slots: list[Slot] = []
    for index, group in enumerate(problem.groups):
        device = problem.devices[group.device]
        copies = min(device.count // group.tensor_parallel, problem.num_layers)
        slot = Slot(
            group=index,
            device=group.device,
            node=device.node,
            tensor_parallel=group.tensor_parallel,
            copies=copies if pooled else 1,
        )
        slots += [slot] * (1 if pooled else copies)
    return tuple(slots)


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
    """

    problem: PipelineProblem
    batch: BatchOption
    prefill: int
    decode: int
    price_low: float = 0.0
    price_high: float = inf

    @property
    def num_prefill(self) -> int:
        """Micro-batches in prefill, m_p."""
        return ceil(self.batch.size / int(self.problem.micro_batches[self.prefill]))

    @property
    def num_decode(self) -> int:
        """Micro-batches in decode, m_d."""
        return ceil(self.batch.size / int(self.problem.micro_batches[self.decode]))

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
