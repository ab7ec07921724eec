"""What a simulation reports."""

from dataclasses import dataclass

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from cost_model.gantt import GanttRow

__all__ = ["Distribution", "LinkUse", "MemoryCurve", "Simulation", "StageUse"]

_LEVELS = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """
    Seconds over requests or tokens.

    A percentile is the least value that so many percent of the entries do not exceed.
    """

    count: int
    min_s: float
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float

    @classmethod
    def of(cls, seconds: FloatArray, weights: IntArray | None = None) -> "Distribution":
        """
        Distribution of some values.

        Parameters
        ----------
        seconds
            Values, shape (V,), at least one.
        weights
            How often each counts, shape (V,), at least 1; once by default.
        """
        if weights is None:
            weights = np.ones(len(seconds), dtype=np.int64)
        middle, high, highest = np.quantile(
            seconds, _LEVELS, weights=weights, method="inverted_cdf"
        ).tolist()
        return cls(
            count=int(weights.sum()),
            min_s=float(seconds.min()),
            mean_s=float(np.average(seconds, weights=weights)),
            p50_s=middle,
            p90_s=high,
            p99_s=highest,
            max_s=float(seconds.max()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUse:
    """
    What a stage (each of its GPUs) did.

    Parameters
    ----------
    prefill_busy_s, decode_busy_s
        Seconds that it computed.
    prefill_idle_s, decode_idle_s
        Bubbles: seconds that it waited before and after the last first token of the batch.
    peak_bytes
        Most memory that each of its GPUs held.
    available_bytes
        What each has.
    """

    prefill_busy_s: float
    decode_busy_s: float
    prefill_idle_s: float
    decode_idle_s: float
    peak_bytes: float
    available_bytes: float

    @property
    def busy_s(self) -> float:
        """Seconds that it computed in all."""
        return self.prefill_busy_s + self.decode_busy_s

    @property
    def idle_s(self) -> float:
        """Seconds that it waited in all."""
        return self.prefill_idle_s + self.decode_idle_s


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUse:
    """
    What a link or network card carried.

    Parameters
    ----------
    name
        As in the pipeline.
    prefill_busy_s, decode_busy_s
        Seconds that it was busy, by phase of the micro-batch.
    waited_s
        Seconds that transfers waited for their links, summed over those that used this one.
    transfers
        How many it carried.
    """

    name: str
    prefill_busy_s: float
    decode_busy_s: float
    waited_s: float
    transfers: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryCurve:
    """
    Memory over time, at about a hundred moments.

    Parameters
    ----------
    time_s
        Shape (S,), rising.
    used_bytes
        Shape (S, J): what each GPU of a stage holds. KV cache is taken as a stage begins to write
        it and given back everywhere once the request has its last token.
    """

    time_s: FloatArray
    used_bytes: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulation:
    """
    One batch, replayed. Times count from its start.

    Parameters
    ----------
    latency_s
        Until the last request is answered.
    prefill_end_s
        Until all first tokens are there.
    ttft_s, finish_s
        Shape (B,): when each request has its first and its last token.
    tpot_s
        Shape (B,): mean time between its tokens; 0 for a request of one token.
    steady_tpot_s
        Mean time between tokens from the second on, over all requests; None where no request has
        three.
    ttft, tpot
        Distributions over requests; ``tpot`` over those of two tokens or more, None without.
    gaps
        Distribution over the times between tokens of all requests; None where there are none.
    stages, links
        What they did.
    memory
        Memory over time.
    gantt
        Rows of a chart, where asked for.
    """

    latency_s: float
    prefill_end_s: float
    ttft_s: FloatArray
    finish_s: FloatArray
    tpot_s: FloatArray
    steady_tpot_s: float | None
    ttft: Distribution
    tpot: Distribution | None
    gaps: Distribution | None
    stages: tuple[StageUse, ...]
    links: tuple[LinkUse, ...]
    memory: MemoryCurve
    gantt: tuple[GanttRow, ...] = ()
