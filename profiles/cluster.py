"""The nouns of a request: what GPUs there are, how they are joined, and what is to be served."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, fsum, isclose

from profiles.errors import InputError
from profiles.gpus import Gpu
from profiles.lengths import LengthBucket, merge_lengths
from profiles.links import Link

__all__ = ["TENSOR_PARALLEL_SIZES", "Cluster", "EngineSettings", "GpuGroup", "Node", "Workload"]

TENSOR_PARALLEL_SIZES = (1, 2, 4, 8)
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGroup:
    """
    Equal GPUs of one node.

    Parameters
    ----------
    gpu
        The type.
    count
        How many there are, at least 1.
    price_usd_per_hour
        Price of one GPU; None when unknown. Ignored where the node has a price of its own.
    min_used, max_used
        How many of them a plan must and may use; ``max_used`` None allows all.
    """

    gpu: Gpu
    count: int
    price_usd_per_hour: float | None = None
    min_used: int = 0
    max_used: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count of {self.gpu.name} is {self.count}; it must be at least 1.")
        if not 0 <= self.min_used <= self.usable:
            raise InputError(
                f"min_used of {self.gpu.name} is {self.min_used}, but 0 to {self.usable} may be "
                "used; lower min_used or raise max_used or count."
            )

    @property
    def usable(self) -> int:
        """How many of the GPUs a plan may use."""
        return self.count if self.max_used is None else min(self.count, self.max_used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """
    A machine: its GPUs, the link between them, and its network card.

    Parameters
    ----------
    name
        Unique within the cluster.
    groups
        The GPUs, one group per type.
    link
        Joins any two GPUs of the node.
    nic
        Joins the node with others; every transfer that leaves (or enters) the node shares it.
    price_usd_per_hour
        Price of the whole node, charged as soon as one of its GPUs is used; None when its GPUs
        are rented one by one.
    """

    name: str
    groups: tuple[GpuGroup, ...]
    link: Link
    nic: Link
    price_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    Nodes and how they are joined.

    Parameters
    ----------
    nodes
        At least one.
    tensor_parallel
        Sizes of tensor-parallel groups that a stage may have.
    between
        Links of particular pairs of nodes, by name in either order; other pairs use the slower
        of the two NICs.
    """

    nodes: tuple[Node, ...]
    tensor_parallel: tuple[int, ...] = TENSOR_PARALLEL_SIZES
    between: dict[frozenset[str], Link] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if not names or len(set(names)) < len(names):
            raise InputError(f"Nodes are {names}; give at least one, each with its own name.")
        if not self.tensor_parallel or min(self.tensor_parallel) < 1:
            raise InputError(
                f"tensor_parallel is {self.tensor_parallel}; give sizes of 1 or more, such as 1, 2."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """
    What is served: a batch of equal requests, or of several lengths (see `mixed`).

    Parameters
    ----------
    batch_sizes
        Requests served together; with several, the plan chooses one.
    prompt_tokens, output_tokens
        Length of every prompt and every answer, in tokens; of several lengths the means, rounded
        up.
    lengths
        Several lengths, their weights summing to 1; empty where all requests are alike.
    num_requests
        Requests in all, served in waves of one batch; None means one batch.
    prefill_micro_batches, decode_micro_batches
        Allowed micro-batch sizes; None allows the ceilings of batch / m for every m.
    """

    batch_sizes: tuple[int, ...]
    prompt_tokens: int
    output_tokens: int
    num_requests: int | None = None
    prefill_micro_batches: tuple[int, ...] | None = None
    decode_micro_batches: tuple[int, ...] | None = None
    lengths: tuple[LengthBucket, ...] = ()

    @classmethod
    def mixed(
        cls,
        lengths: Sequence[LengthBucket],
        *,
        batch_sizes: tuple[int, ...],
        num_requests: int | None = None,
        prefill_micro_batches: tuple[int, ...] | None = None,
        decode_micro_batches: tuple[int, ...] | None = None,
    ) -> "Workload":
        """
        Requests of several lengths.

        Parameters
        ----------
        lengths
            At least one; weights in any unit. Other parameters are those of the class.

        Raises
        ------
        InputError
            When there is no length, or a number is out of range.
        """
        if not lengths:
            raise InputError("lengths is empty; give at least one.")
        buckets = merge_lengths(lengths)
        return cls(
            batch_sizes=batch_sizes,
            prompt_tokens=_mean_rounded_up(buckets, "prompt_tokens"),
            output_tokens=_mean_rounded_up(buckets, "output_tokens"),
            num_requests=num_requests,
            prefill_micro_batches=prefill_micro_batches,
            decode_micro_batches=decode_micro_batches,
            lengths=buckets if len(buckets) > 1 else (),
        )

    def __post_init__(self) -> None:
        numbers = {
            "batch_sizes": self.batch_sizes,
            "prompt_tokens": (self.prompt_tokens,),
            "output_tokens": (self.output_tokens,),
            "num_requests": () if self.num_requests is None else (self.num_requests,),
            "prefill_micro_batches": self.prefill_micro_batches or (),
            "decode_micro_batches": self.decode_micro_batches or (),
        }
        for name, values in numbers.items():
            if any(value < 1 for value in values):
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not self.batch_sizes:
            raise InputError("batch_sizes is empty; give at least one batch size.")
        self._check_lengths()

    def _check_lengths(self) -> None:
        if not self.lengths:
            return
        total = fsum(bucket.weight for bucket in self.lengths)
        if not isclose(total, 1.0):
            raise InputError(f"Weights of lengths sum to {total}, not 1; use Workload.mixed.")
        for name in ("prompt_tokens", "output_tokens"):
            mean = _mean_rounded_up(self.lengths, name)
            if getattr(self, name) != mean:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but the lengths have {mean} on average; "
                    "use Workload.mixed."
                )

    @property
    def buckets(self) -> tuple[LengthBucket, ...]:
        """All lengths that occur, their weights summing to 1; one where requests are alike."""
        alike = LengthBucket(prompt_tokens=self.prompt_tokens, output_tokens=self.output_tokens)
        return self.lengths or (alike,)

    @property
    def longest_prompt_tokens(self) -> int:
        """Tokens of the longest prompt."""
        return max(bucket.prompt_tokens for bucket in self.buckets)

    @property
    def longest_output_tokens(self) -> int:
        """Tokens of the longest answer."""
        return max(bucket.output_tokens for bucket in self.buckets)

    @property
    def longest_tokens(self) -> int:
        """Most tokens that a request has, prompt and output together."""
        return max(bucket.tokens for bucket in self.buckets)


def _mean_rounded_up(buckets: Sequence[LengthBucket], name: str) -> int:
    mean = fsum(bucket.weight * getattr(bucket, name) for bucket in buckets)
    return ceil(mean - _ROUNDING)  # a mean of whole numbers may come out an ulp too large


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """
    The serving engine and what it does with memory.

    Parameters
    ----------
    name
        Whose kernels run the model: see `profiles.kernels`.
    memory_fraction
        Share of a GPU's memory the engine may fill.
    reserve_bytes
        Memory that the engine's runtime takes on each GPU (context, workspace, graphs).
    kv_bits
        Width of the KV cache: 16 or 8; or 32, where ``value_bits`` is.
    value_bits
        Width of activations, embedding and LM head: 16, or 32 for an engine run in full precision.
    kernels
        Kernel by (GPU name, format name) where the engine's default is not wanted.
    """

    name: str = "vllm"
    memory_fraction: float = 0.92
    reserve_bytes: int = 1024**3
    kv_bits: int = 16
    value_bits: int = 16
    kernels: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.memory_fraction <= 1:
            raise InputError(
                f"memory_fraction is {self.memory_fraction}; it must be over 0, up to 1."
            )
        if self.reserve_bytes < 0:
            raise InputError(f"reserve_bytes is {self.reserve_bytes}; it must be 0 or more.")
        if self.value_bits not in (16, 32):
            raise InputError(f"value_bits is {self.value_bits}; it must be 16 or 32.")
        if self.kv_bits not in (8, 16, self.value_bits):
            raise InputError(
                f"kv_bits is {self.kv_bits}; it must be 8 or 16, or 32 where value_bits is 32."
            )
