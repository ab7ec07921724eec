"""
The pipeline problem as frozen arrays: nothing here knows a catalogue, a file or a solver.

Index letters used in shapes: ``L`` layers, ``K`` layer kinds, ``F`` formats, ``C`` device classes,
``G`` stage groups, ``U`` nodes, ``M`` micro-batch sizes.
"""

from dataclasses import dataclass, fields
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError

__all__ = [
    "AXES",
    "BatchOption",
    "BoolArray",
    "DeviceClass",
    "FloatArray",
    "IntArray",
    "PipelineProblem",
    "StageGroup",
    "default_micro_batches",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

AXES = {
    "node_price_usd_per_hour": "U",
    "layer_kinds": "L",
    "loss_nats": "LF",
    "layer_formats": "LF",
    "group_formats": "GF",
    "micro_batches": "M",
    "prefill_s": "GFKM",
    "decode_s": "GFKM",
    "embedding_prefill_s": "GM",
    "embedding_decode_s": "GM",
    "head_prefill_s": "GM",
    "head_decode_s": "GM",
    "weight_bytes": "GFK",
    "kv_bytes": "GK",
    "embedding_bytes": "G",
    "head_bytes": "G",
    "shared_bytes": "G",
    "prefill_work_bytes": "GM",
    "decode_work_bytes": "GM",
    "head_prefill_work_bytes": "GM",
    "head_decode_work_bytes": "GM",
    "prefill_link_s": "UUM",
    "decode_link_s": "UUM",
    "return_link_s": "UUM",
    "prefill_occupancy_s": "UUM",
    "decode_occupancy_s": "UUM",
    "return_occupancy_s": "UUM",
}
"""What the axes of every array of a problem run over, by the letters above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """
    Interchangeable GPUs: equal in type and node.

    Parameters
    ----------
    name
        For people, such as ``t4-node/T4``.
    node
        Index of the node, 0 to U - 1.
    count
        GPUs that a plan may use, at least 1.
    memory_bytes
        What one GPU has for weights, KV cache and work space.
    price_usd_per_hour
        Price of one GPU, 0 where the node is rented whole.
    min_used
        GPUs that a plan must use.
    """

    name: str
    node: int
    count: int
    memory_bytes: float
    price_usd_per_hour: float = 0.0
    min_used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGroup:
    """A kind of stage: ``tensor_parallel`` GPUs of device class ``device``."""

    device: int
    tensor_parallel: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOption:
    """A batch size and the micro-batch sizes (indices into ``micro_batches``) that go with it."""

    size: int
    prefill: tuple[int, ...]
    decode: tuple[int, ...]


def default_micro_batches(batch_size: int) -> tuple[int, ...]:
    """Every size ceil(batch / m), m = 1..batch, without repeats, smallest first."""
    return tuple(sorted({ceil(batch_size / m) for m in range(1, batch_size + 1)}))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PipelineProblem:
    """
    One model, one pipeline, one batch: everything a planner needs, as coefficients.

    Parameters
    ----------
    devices, groups
        Device classes and the stage groups made of them.
    node_names, format_names, kind_names
        For people; their lengths are U, F and K.
    node_price_usd_per_hour
        Shape (U,): price of a node that is rented whole, 0 where its GPUs are rented one by one.
    layer_kinds
        Shape (L,): kind of every layer, 0 to K - 1. Layers of one kind cost the same.
    loss_nats
        Shape (L, F): quality loss of a layer in a format, in nats of ln(perplexity), at least 0.
    layer_formats
        Shape (L, F): whether the request allows the format for the layer.
    group_formats
        Shape (G, F): whether the group has a kernel for the format and may use it.
    micro_batches, batches
        Shape (M,): all micro-batch sizes in play; and the batch sizes to choose from.
    prompt_tokens, output_tokens
        Length of every prompt and answer.
    num_requests
        Requests in all, served in waves of one batch; None means one wave.
    prefill_s, decode_s
        Shape (G, F, K, M): seconds that a layer takes for one micro-batch (one decode step).
    embedding_prefill_s, embedding_decode_s, head_prefill_s, head_decode_s
        Shape (G, M): seconds added on the first and on the last stage.
    weight_bytes
        Shape (G, F, K): bytes of a layer's weights on each GPU of the group.
    kv_bytes
        Shape (G, K): bytes of one request's KV cache at full length, per layer, on each GPU.
    embedding_bytes, head_bytes, shared_bytes
        Shape (G,): bytes of embedding and head on each GPU; and what a stage that holds both saves.
    prefill_work_bytes, decode_work_bytes, head_prefill_work_bytes, head_decode_work_bytes
        Shape (G, M): activations and buffers of a stage; and what the last stage adds for logits.
    prefill_link_s, decode_link_s, return_link_s
        Shape (U, U, M): seconds from stage to next stage (and of sampled tokens back to the first).
    prefill_occupancy_s, decode_occupancy_s, return_occupancy_s
        Shape (U, U, M): seconds that the transfer keeps its link busy.
    perplexity_16
        Perplexity of the model at 16 bits; None when unknown.

    Raises
    ------
    InputError
        When shapes disagree, a number is negative or not finite, or an index is out of range.

    Notes
    -----
    Times at formats that ``group_formats`` forbids are ignored (0 by convention).
    """

    devices: tuple[DeviceClass, ...]
    groups: tuple[StageGroup, ...]
    node_names: tuple[str, ...]
    node_price_usd_per_hour: FloatArray
    format_names: tuple[str, ...]
    kind_names: tuple[str, ...]
    layer_kinds: IntArray
    loss_nats: FloatArray
    layer_formats: BoolArray
    group_formats: BoolArray
    micro_batches: IntArray
    batches: tuple[BatchOption, ...]
    prompt_tokens: int
    output_tokens: int
    num_requests: int | None = None
    prefill_s: FloatArray
    decode_s: FloatArray
    embedding_prefill_s: FloatArray
    embedding_decode_s: FloatArray
    head_prefill_s: FloatArray
    head_decode_s: FloatArray
    weight_bytes: FloatArray
    kv_bytes: FloatArray
    embedding_bytes: FloatArray
    head_bytes: FloatArray
    shared_bytes: FloatArray
    prefill_work_bytes: FloatArray
    decode_work_bytes: FloatArray
    head_prefill_work_bytes: FloatArray
    head_decode_work_bytes: FloatArray
    prefill_link_s: FloatArray
    decode_link_s: FloatArray
    return_link_s: FloatArray
    prefill_occupancy_s: FloatArray
    decode_occupancy_s: FloatArray
    return_occupancy_s: FloatArray
    perplexity_16: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                own = value.copy()
                own.setflags(write=False)
                object.__setattr__(self, field.name, own)
        _check_shapes(self)
        _check_values(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PipelineProblem):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_layers(self) -> int:
        """Number of layers, L."""
        return len(self.layer_kinds)

    @property
    def num_gpus(self) -> int:
        """GPUs that a plan may use in all."""
        return sum(device.count for device in self.devices)

    def node_of(self, group: int) -> int:
        """Node on which the GPUs of a stage group are."""
        return self.devices[self.groups[group].device].node

    def allowed(self, group: int, layer: int) -> BoolArray:
        """Shape (F,): formats that the layer may take on the group."""
        both: BoolArray = self.group_formats[group] & self.layer_formats[layer]
        return both

    def last_micro_batch(self, batch_size: int, index: int) -> int:
        """
        Index of the size that the last micro-batch of a batch is charged at.

        The smallest of ``micro_batches`` that holds what is left of the batch: times at any other
        size are not known.
        """
        sizes = self.micro_batches
        left = (batch_size - 1) % int(sizes[index]) + 1
        return int(np.where(sizes >= left, sizes, np.iinfo(sizes.dtype).max).argmin())

    def decode_index(self, batch: BatchOption, size: int) -> int | None:
        """
        Index of a decode size of a batch; None where it is not among them.

        Where nothing is decoded every size will do, and one that is not among them is the first.
        """
        if self.output_tokens == 1 and size not in self.micro_batches[list(batch.decode)]:
            return batch.decode[0]
        return next((i for i in batch.decode if self.micro_batches[i] == size), None)

    def waves(self, batch_size: int) -> int:
        """How many batches one after the other serve all requests."""
        return 1 if self.num_requests is None else ceil(self.num_requests / batch_size)

    def served_requests(self, batch_size: int) -> int:
        """Requests served in all waves together."""
        return batch_size if self.num_requests is None else self.num_requests


def _shapes(problem: PipelineProblem) -> dict[str, tuple[int, ...]]:
    """Shape that each array must have."""
    lengths = {
        "L": len(problem.layer_kinds),
        "K": len(problem.kind_names),
        "F": len(problem.format_names),
        "G": len(problem.groups),
        "U": len(problem.node_names),
        "M": len(problem.micro_batches),
    }
    return {name: tuple(lengths[axis] for axis in axes) for name, axes in AXES.items()}


def _check_shapes(problem: PipelineProblem) -> None:
    for name, shape in _shapes(problem).items():
        array: NDArray[Any] = getattr(problem, name)
        if array.shape != shape:
            raise InputError(
                f"{name} has shape {array.shape}, expected {shape} from the numbers of groups, "
                "formats, kinds, layers, nodes and micro-batch sizes.",
                pointer=f"/{name}",
            )
        bad = ~np.isfinite(array) | (array < 0)
        if bad.any():
            raise InputError(
                f"{name} has {array[bad][0]} at {np.argwhere(bad)[0].tolist()}; every entry must "
                "be a finite number, 0 or more.",
                pointer=f"/{name}",
            )


def _check_values(problem: PipelineProblem) -> None:
    _require(problem.num_layers > 0, "layer_kinds", "is empty; a model has at least one layer")
    _require(len(problem.groups) > 0, "groups", "is empty; a plan needs at least one stage group")
    _require(len(problem.batches) > 0, "batches", "is empty; give at least one batch size")
    _require(problem.prompt_tokens >= 1, "prompt_tokens", "must be at least 1")
    _require(problem.output_tokens >= 1, "output_tokens", "must be at least 1")
    _require(
        problem.num_requests is None or problem.num_requests >= 1,
        "num_requests",
        "must be 1 or more",
    )
    _require(
        bool((problem.layer_kinds < len(problem.kind_names)).all()),
        "layer_kinds",
        "names a kind that does not exist",
    )
    _require(bool((problem.micro_batches >= 1).all()), "micro_batches", "must be at least 1 each")
    rising = bool((np.diff(problem.micro_batches) > 0).all())
    _require(rising, "micro_batches", "must rise, without repeats")
    _check_devices(problem)
    for index, batch in enumerate(problem.batches):
        _check_batch(problem, index, batch)


def _check_devices(problem: PipelineProblem) -> None:
    for index, device in enumerate(problem.devices):
        where = f"devices/{index}"
        _require(
            0 <= device.node < len(problem.node_names), where, f"node {device.node} does not exist"
        )
        _require(device.count >= 1, where, f"count {device.count} must be at least 1")
        _require(
            0 <= device.min_used <= device.count,
            where,
            f"min_used {device.min_used} must be 0 to count",
        )
        for name in ("memory_bytes", "price_usd_per_hour"):
            value = getattr(device, name)
            _require(
                bool(np.isfinite(value)) and value >= 0,
                where,
                f"{name} {value} must be a finite number, 0 or more",
            )
    for index, group in enumerate(problem.groups):
        where = f"groups/{index}"
        _require(
            0 <= group.device < len(problem.devices), where, f"device {group.device} does not exist"
        )
        count = problem.devices[group.device].count
        _require(
            1 <= group.tensor_parallel <= count,
            where,
            f"tensor_parallel {group.tensor_parallel} must be 1 to {count}",
        )
    _require(len(set(problem.groups)) == len(problem.groups), "groups", "lists a group twice")


def _check_batch(problem: PipelineProblem, index: int, batch: BatchOption) -> None:
    where = f"batches/{index}"
    _require(batch.size >= 1, where, f"size {batch.size} must be at least 1")
    for name, chosen in (("prefill", batch.prefill), ("decode", batch.decode)):
        _require(len(chosen) > 0, f"{where}/{name}", "is empty; give at least one micro-batch size")
        for position in chosen:
            _require(
                0 <= position < len(problem.micro_batches),
                f"{where}/{name}",
                f"index {position} does not exist",
            )
            size = int(problem.micro_batches[position])
            _require(
                size <= batch.size,
                f"{where}/{name}",
                f"micro-batch {size} exceeds the batch of {batch.size}",
            )


def _require(holds: bool, where: str, text: str) -> None:
    if not holds:
        raise InputError(f"{where} {text}.", pointer=f"/{where}")
