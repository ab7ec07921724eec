"""
LLM-PQ's problem by its coefficients, and the rules by which its cost is counted.

Index letters used in shapes: ``L`` layers, ``N`` devices, ``B`` formats, ``P`` prefill micro-batch
sizes.

References
----------
Zhao et al., LLM-PQ: Serving LLM on Heterogeneous Clusters with Phase-Aware Partition and Adaptive
Quantization, arXiv 2403.01136, DOI 10.1145/3627535.3638480, and the code released with it.
"""

from dataclasses import dataclass, fields
from math import ceil, isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from solver.problem import BoolArray, FloatArray, IntArray

__all__ = ["LlmPqPlan", "LlmPqProblem", "LlmPqRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmPqRules:
    """
    How cost is counted and what is searched; see the class methods for the two usual sets.

    Parameters
    ----------
    full_decode
        Whether each token after the first costs the slowest stage m_d times, or m_d - 1 times.
    ends_once
        Whether embedding and head are charged once on the first device, or once with every layer
        group on it (in prefill m_p times each, and not at all where there is a single device).
    loss_summed
        Whether the quality loss of a layer group is the sum over its layers, or their mean.
    single_requests
        Whether a prefill micro-batch of one request is among the candidates.
    group_size
        Layers that are placed together; it must divide L.
    whole_megabytes
        Whether the memory of a layer group is rounded up to 2^20 bytes.

    Raises
    ------
    InputError
        When ``group_size`` is less than 1.
    """

    full_decode: bool
    ends_once: bool
    loss_summed: bool
    single_requests: bool
    group_size: int = 1
    whole_megabytes: bool = False

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise InputError(
                f"group_size is {self.group_size}; give 1 layer or more.", pointer="/group_size"
            )

    @classmethod
    def as_published(cls, *, group_size: int = 1, whole_megabytes: bool = False) -> Self:
        """The rules of the released code."""
        return cls(
            full_decode=False,
            ends_once=False,
            loss_summed=False,
            single_requests=False,
            group_size=group_size,
            whole_megabytes=whole_megabytes,
        )

    @classmethod
    def corrected(cls, *, group_size: int = 1) -> Self:
        """The rules with the faults of the released code mended."""
        return cls(
            full_decode=True,
            ends_once=True,
            loss_summed=True,
            single_requests=True,
            group_size=group_size,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LlmPqProblem:
    """
    One model on a pipeline of devices, one batch: coefficients for every order and micro-batch.

    Parameters
    ----------
    blocks
        Shape (N,): the GPU type of every device. In every order devices of a type come one after
        the other, wherever they are listed.
    batch_size, tokens
        Requests served together; tokens generated for each, mu_n.
    theta_s_per_nat
        Seconds that one unit of quality loss is worth.
    prefill_micro_batches
        Shape (P,): sizes for which times are known, rising.
    prefill_s, decode_s
        Shapes (P, L, N, B) and (L, N, B): seconds of a layer for one prefill micro-batch, and for
        one decode step of ceil(batch / N) requests.
    ends_prefill_s, ends_decode_s
        Shapes (P, N) and (N,): seconds of embedding and head, on whichever device comes first.
    send_prefill_s, send_decode_s
        Shapes (P, N, N) and (N, N): seconds to hand a micro-batch from a device to another.
    memory_bytes
        Shape (L, N, B): weights and KV cache of a layer.
    capacity_bytes
        Shape (P, N): what a device has for layers.
    ends_bytes
        Shape (P, N): what the first device holds besides its layers.
    loss_nats
        Shape (L, B): quality loss omega of a layer in a format.
    allowed
        Shape (L, N, B): whether the device can run the layer in the format; the entries of the
        other arrays where it cannot are ignored.

    Raises
    ------
    InputError
        When shapes disagree, a number is negative or not finite, or sizes do not rise.
    """

    blocks: tuple[int, ...]
    batch_size: int
    tokens: int
    theta_s_per_nat: float
    prefill_micro_batches: IntArray
    prefill_s: FloatArray
    decode_s: FloatArray
    ends_prefill_s: FloatArray
    ends_decode_s: FloatArray
    send_prefill_s: FloatArray
    send_decode_s: FloatArray
    memory_bytes: FloatArray
    capacity_bytes: FloatArray
    ends_bytes: FloatArray
    loss_nats: FloatArray
    allowed: BoolArray

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                own = value.copy()
                own.setflags(write=False)
                object.__setattr__(self, field.name, own)
        _check_arrays(self)
        _check_values(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LlmPqProblem):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_layers(self) -> int:
        """Number of layers, L."""
        return len(self.loss_nats)

    @property
    def num_devices(self) -> int:
        """Number of devices, N."""
        return len(self.blocks)

    @property
    def decode_micro_batch(self) -> int:
        """The one decode micro-batch that is considered, ceil(batch / N)."""
        return ceil(self.batch_size / self.num_devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmPqPlan:
    """
    Where every layer runs, and in which format.

    Parameters
    ----------
    order
        All devices in pipeline order, also those without layers.
    prefill_micro_batch, decode_micro_batch
        Sizes in requests.
    devices, formats
        Device and format of every layer.
    """

    order: tuple[int, ...]
    prefill_micro_batch: int
    decode_micro_batch: int
    devices: tuple[int, ...]
    formats: tuple[int, ...]


def _shapes(problem: LlmPqProblem) -> dict[str, tuple[int, ...]]:
    num_sizes, num_devices = len(problem.prefill_micro_batches), problem.num_devices
    num_layers, num_formats = problem.loss_nats.shape
    per_layer = (num_layers, num_devices, num_formats)
    return {
        "prefill_micro_batches": (num_sizes,),
        "prefill_s": (num_sizes, *per_layer),
        "decode_s": per_layer,
        "ends_prefill_s": (num_sizes, num_devices),
        "ends_decode_s": (num_devices,),
        "send_prefill_s": (num_sizes, num_devices, num_devices),
        "send_decode_s": (num_devices, num_devices),
        "memory_bytes": per_layer,
        "capacity_bytes": (num_sizes, num_devices),
        "ends_bytes": (num_sizes, num_devices),
        "loss_nats": (num_layers, num_formats),
        "allowed": per_layer,
    }


def _check_arrays(problem: LlmPqProblem) -> None:
    if problem.loss_nats.ndim != 2:
        raise InputError(
            f"loss_nats has shape {problem.loss_nats.shape}; give one row per layer and one column "
            "per format.",
            pointer="/loss_nats",
        )
    for name, shape in _shapes(problem).items():
        array: NDArray[Any] = getattr(problem, name)
        if array.shape != shape:
            raise InputError(
                f"{name} has shape {array.shape}, expected {shape} from the numbers of sizes, "
                "layers, devices and formats.",
                pointer=f"/{name}",
            )
        # A device without room for anything is told by a capacity below 0.
        low = -np.inf if name == "capacity_bytes" else 0
        bad = ~np.isfinite(array) | (array < low)
        if bad.any():
            raise InputError(
                f"{name} has {array[bad][0]} at {np.argwhere(bad)[0].tolist()}; every entry must "
                "be a finite number, 0 or more.",
                pointer=f"/{name}",
            )


def _check_values(problem: LlmPqProblem) -> None:
    for name in ("batch_size", "tokens", "num_layers", "num_devices"):
        value = getattr(problem, name)
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1.", pointer=f"/{name}")
    theta = problem.theta_s_per_nat
    if not (isfinite(theta) and theta >= 0):
        raise InputError(
            f"theta_s_per_nat is {theta}; give a finite number of seconds per nat, 0 or more.",
            pointer="/theta_s_per_nat",
        )
    sizes = problem.prefill_micro_batches
    if (sizes < 1).any() or (np.diff(sizes) <= 0).any():
        raise InputError(
            f"prefill_micro_batches is {sizes.tolist()}; sizes must be 1 or more and rise.",
            pointer="/prefill_micro_batches",
        )
