"""What the simulator replays: stages, links and requests as frozen values."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import isfinite

import numpy as np

from profiles.errors import InputError

__all__ = [
    "Hop",
    "Order",
    "Phase",
    "Requests",
    "SimulatedPipeline",
    "SizedTimes",
    "StageMachine",
    "Start",
    "Transfer",
]


class Phase(StrEnum):
    """Processing the prompts, or producing tokens one by one."""

    PREFILL = "prefill"
    DECODE = "decode"


class Start(StrEnum):
    """When decode starts."""

    BARRIER = "barrier"  # once the last prefill micro-batch has left the last stage
    OVERLAPPED = "overlapped"  # a micro-batch as soon as the first tokens of its requests are back


class Order(StrEnum):
    """Which of the waiting micro-batches a stage takes next."""

    FIRST_COME = "first-come"  # the one that has waited longest
    DECODE_FIRST = "decode-first"  # one of decode before any of prefill, else the first come


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedTimes:
    """
    Seconds of a micro-batch by its size.

    Parameters
    ----------
    sizes
        Requests of a micro-batch, over 0, rising.
    seconds
        Seconds at each size, 0 or more.

    Raises
    ------
    InputError
        When sizes do not rise, or a number is negative or not finite.
    """

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise((0.0, *self.sizes)))
        if not self.sizes or not rising:
            raise InputError(f"sizes are {self.sizes}; give sizes over 0 that rise.")
        if len(self.sizes) != len(self.seconds):
            raise InputError(
                f"There are {len(self.seconds)} seconds for {len(self.sizes)} sizes; give one each."
            )
        for seconds in self.seconds:
            _check_number("seconds", seconds)

    def at(self, size: float) -> float:
        """
        Seconds at a size: as given at a given size, on the straight line between two.

        A size below the smallest takes as long as the smallest; one above the largest takes
        longer in proportion.
        """
        largest = self.sizes[-1]
        if size > largest:
            return self.seconds[-1] * size / largest
        return float(np.interp(size, self.sizes, self.seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """
    Handing over a micro-batch.

    Parameters
    ----------
    seconds
        From sending to having received: latency + bytes / bandwidth.
    busy
        For how long the links are busy with it: bytes / bandwidth.
    """

    seconds: SizedTimes
    busy: SizedTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """
    The way from a stage to the next one, or back from the last to the first.

    Parameters
    ----------
    links
        Indices of the links that a transfer keeps busy, all at once: one inside a node; between
        nodes the card out of the one and the card into the other.
    prefill, decode
        The transfers of both phases. On the way back these are the sampled tokens of a prefill
        micro-batch and of a decode step.
    """

    links: tuple[int, ...]
    prefill: Transfer
    decode: Transfer

    def transfer(self, phase: Phase) -> Transfer:
        """The transfer of a phase."""
        return self.prefill if phase is Phase.PREFILL else self.decode


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMachine:
    """
    A stage: it computes one micro-batch at a time.

    Parameters
    ----------
    node
        Name of its node.
    gpus
        Names of its GPUs; as many as share each layer (tensor parallel). All are busy together.
    prefill, decode
        Seconds of a micro-batch of prompts, and of one decode step, through all its layers.
    weights_bytes, embedding_and_head_bytes, work_bytes
        On each GPU, throughout.
    kv_bytes_per_token
        KV cache of one token of one request, all layers of the stage, on each GPU.
    available_bytes
        What each GPU has for all of this.
    """

    node: str
    gpus: tuple[str, ...]
    prefill: SizedTimes
    decode: SizedTimes
    weights_bytes: float = 0.0
    embedding_and_head_bytes: float = 0.0
    work_bytes: float = 0.0
    kv_bytes_per_token: float = 0.0
    available_bytes: float = 0.0

    def __post_init__(self) -> None:
        for name in (
            "weights_bytes",
            "embedding_and_head_bytes",
            "work_bytes",
            "kv_bytes_per_token",
            "available_bytes",
        ):
            _check_number(name, getattr(self, name))

    def times(self, phase: Phase) -> SizedTimes:
        """Seconds of a phase."""
        return self.prefill if phase is Phase.PREFILL else self.decode

    @property
    def fixed_bytes(self) -> float:
        """All but the KV cache."""
        return self.weights_bytes + self.embedding_and_head_bytes + self.work_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPipeline:
    """
    Stages in pipeline order and what joins them.

    Parameters
    ----------
    stages
        At least one.
    links
        Name of every link; each carries one transfer at a time, first come, first served.
    hops
        From every stage to the next: one fewer than stages.
    back
        From the last stage to the first; None where there is just one stage.
    prompt_tokens
        Length of the prompts for which prefill times hold.

    Raises
    ------
    InputError
        When hops do not fit the stages or name links that do not exist.
    """

    stages: tuple[StageMachine, ...]
    links: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    back: Hop | None = None
    prompt_tokens: float

    def __post_init__(self) -> None:
        if not self.stages or len(self.hops) != len(self.stages) - 1:
            raise InputError(
                f"There are {len(self.stages)} stages and {len(self.hops)} hops; give at least one "
                "stage, and a hop from each to the next."
            )
        if (self.back is None) != (len(self.stages) == 1):
            raise InputError("back must be given where there are several stages, and only there.")
        if not self.prompt_tokens > 0:
            raise InputError(f"prompt_tokens is {self.prompt_tokens}; it must be over 0.")
        for hop in (*self.hops, *(() if self.back is None else (self.back,))):
            for link in hop.links:
                if not 0 <= link < len(self.links):
                    raise InputError(f"Link {link} does not exist; there are {len(self.links)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """
    One batch of requests, in the order in which micro-batches take them.

    Parameters
    ----------
    prompt_tokens, output_tokens
        Of every request, length B, at least 1 each.
    prefill_micro_batch, decode_micro_batch
        Requests of a micro-batch; the last one takes what is left.

    Raises
    ------
    InputError
        When there is no request, lengths differ, or a number is below 1.
    """

    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    prefill_micro_batch: int
    decode_micro_batch: int

    def __post_init__(self) -> None:
        num = len(self.prompt_tokens)
        if num != len(self.output_tokens):
            raise InputError(
                f"prompt_tokens has {num} entries and output_tokens has "
                f"{len(self.output_tokens)}; give both for every request."
            )
        if not num:
            raise InputError("There are no requests; give at least one.")
        for name in ("prompt_tokens", "output_tokens"):
            least = min(getattr(self, name))
            if least < 1:
                raise InputError(f"{name} has an entry of {least}; it must be 1 or more.")
        for name in ("prefill_micro_batch", "decode_micro_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more.")

    @classmethod
    def equal(
        cls,
        count: int,
        *,
        prompt_tokens: int,
        output_tokens: int,
        prefill_micro_batch: int,
        decode_micro_batch: int,
    ) -> "Requests":
        """A batch of ``count`` requests of one length."""
        return cls(
            prompt_tokens=(prompt_tokens,) * count,
            output_tokens=(output_tokens,) * count,
            prefill_micro_batch=prefill_micro_batch,
            decode_micro_batch=decode_micro_batch,
        )

    def groups(self, size: int) -> list[range]:
        """The requests of every micro-batch of this size."""
        num = len(self.prompt_tokens)
        return [range(first, min(first + size, num)) for first in range(0, num, size)]


def _check_number(name: str, value: float) -> None:
    if not (isfinite(value) and value >= 0):
        raise InputError(f"{name} is {value}; it must be a finite number, 0 or more.")
