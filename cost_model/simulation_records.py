"""What machines write down during a replay, and the report made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from cost_model.gantt import GanttRow
from cost_model.simulated_flights import Flight
from cost_model.simulated_pipeline import Phase, Requests, SimulatedPipeline, StageMachine
from cost_model.simulation import Distribution, LinkUse, MemoryCurve, Simulation, StageUse

__all__ = ["LinkLog", "Samples", "StageLog", "summarised"]

_MOST_SAMPLES = 100
_MIN_STEADY_TOKENS = 3  # the gap between the first two belongs to the start of decode


@dataclass(slots=True)
class StageLog:
    """A stage: what it does now, what it has done, and the tokens in its KV cache."""

    is_busy: bool = False
    busy_until_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    busy_before_s: float = 0.0
    kv_tokens: int = 0
    peak_tokens: int = 0

    def begin(self, phase: Phase, seconds: float, end_s: float, tokens: int) -> None:
        """Start on a micro-batch that writes so many tokens."""
        self.is_busy = True
        self.busy_until_s = end_s
        if phase is Phase.PREFILL:
            self.prefill_s += seconds
        else:
            self.decode_s += seconds
        self.kv_tokens += tokens
        self.peak_tokens = max(self.peak_tokens, self.kv_tokens)

    def mark_prefill_end(self, time_s: float) -> None:
        """All first tokens are there: what was computed until now counts as before."""
        to_come = self.busy_until_s - time_s if self.is_busy else 0.0
        self.busy_before_s = self.prefill_s + self.decode_s - to_come


@dataclass(slots=True)
class LinkLog:
    """A link: until when it is taken, and what it has carried."""

    name: str
    free_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    waited_s: float = 0.0
    transfers: int = 0

    def carry(self, phase: Phase, start_s: float, busy_s: float, waited_s: float) -> None:
        """Take a transfer."""
        self.free_s = start_s + busy_s
        if phase is Phase.PREFILL:
            self.prefill_s += busy_s
        else:
            self.decode_s += busy_s
        self.waited_s += waited_s
        self.transfers += 1


@dataclass(slots=True)
class Samples:
    """Tokens in the KV caches, at about a hundred of ``total`` moments."""

    total: int
    time_s: list[float] = field(default_factory=list)
    tokens: list[tuple[int, ...]] = field(default_factory=list)
    seen: int = 0

    def take(self, time_s: float, stages: Sequence[StageLog]) -> None:
        """Note this moment, or let it pass."""
        self.seen += 1
        if self.seen % ceil(self.total / _MOST_SAMPLES) == 0 or self.seen == self.total:
            self.time_s.append(time_s)
            self.tokens.append(tuple(log.kv_tokens for log in stages))


def summarised(
    pipeline: SimulatedPipeline,
    requests: Requests,
    *,
    flights: tuple[Sequence[Flight], Sequence[Flight]],
    stages: Sequence[StageLog],
    links: Sequence[LinkLog],
    samples: Samples,
    prefill_end_s: float,
    gantt: tuple[GanttRow, ...],
) -> Simulation:
    """
    The report of a finished replay.

    Parameters
    ----------
    pipeline, requests
        What was replayed.
    flights
        Micro-batches of prefill and of decode.
    stages, links, samples, gantt
        What was written down.
    prefill_end_s
        When the last prefill micro-batch left the last stage.
    """
    times = _token_times(requests, *flights)
    several = times.outputs > 1
    tpot_s = (times.last_s - times.first_s) / np.maximum(times.outputs - 1, 1)
    latency_s = float(times.last_s.max())
    return Simulation(
        latency_s=latency_s,
        prefill_end_s=prefill_end_s,
        ttft_s=times.first_s,
        finish_s=times.last_s,
        tpot_s=tpot_s,
        steady_tpot_s=times.steady_s(),
        ttft=Distribution.of(times.first_s),
        tpot=Distribution.of(tpot_s[several]) if several.any() else None,
        gaps=_gaps(times, flights[1]) if several.any() else None,
        stages=tuple(
            _stage_use(machine, log, prefill_end_s, latency_s)
            for machine, log in zip(pipeline.stages, stages, strict=True)
        ),
        links=tuple(map(_link_use, links)),
        memory=_memory(pipeline, samples),
        gantt=gantt,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _TokenTimes:
    """When each request, shape (B,), has its first, second and last token; and how many it gets."""

    outputs: IntArray
    first_s: FloatArray
    second_s: FloatArray
    last_s: FloatArray

    def steady_s(self) -> float | None:
        """Mean time between tokens from the second on."""
        steady = self.outputs >= _MIN_STEADY_TOKENS
        if not steady.any():
            return None
        gaps = int((self.outputs[steady] - 2).sum())
        return float((self.last_s - self.second_s)[steady].sum()) / gaps


def _token_times(
    requests: Requests, prefills: Sequence[Flight], decodes: Sequence[Flight]
) -> _TokenTimes:
    outputs = np.array(requests.output_tokens, dtype=np.int64)
    first_s = np.zeros(len(outputs))
    for flight in prefills:
        first_s[flight.requests.start : flight.requests.stop] = flight.done_s[0]
    second_s, last_s = first_s.copy(), first_s.copy()
    for flight in decodes:
        for i in flight.requests:
            if outputs[i] > 1:
                second_s[i], last_s[i] = flight.done_s[0], flight.done_s[outputs[i] - 2]
    return _TokenTimes(outputs, first_s, second_s, last_s)


def _gaps(times: _TokenTimes, decodes: Sequence[Flight]) -> Distribution:
    """Times between tokens: from the first to the second by request, the rest by round."""
    starts = (times.second_s - times.first_s)[times.outputs > 1]
    seconds = [starts, *(np.diff(flight.done_s) for flight in decodes)]
    weights = [np.ones(len(starts), dtype=np.int64)]
    weights += [np.array(flight.active[1:], dtype=np.int64) for flight in decodes]
    return Distribution.of(np.concatenate(seconds), np.concatenate(weights))


def _link_use(log: LinkLog) -> LinkUse:
    return LinkUse(
        name=log.name,
        prefill_busy_s=log.prefill_s,
        decode_busy_s=log.decode_s,
        waited_s=log.waited_s,
        transfers=log.transfers,
    )


def _stage_use(
    machine: StageMachine, log: StageLog, prefill_end_s: float, latency_s: float
) -> StageUse:
    after_s = log.prefill_s + log.decode_s - log.busy_before_s
    return StageUse(
        prefill_busy_s=log.prefill_s,
        decode_busy_s=log.decode_s,
        prefill_idle_s=max(prefill_end_s - log.busy_before_s, 0.0),
        decode_idle_s=max(latency_s - prefill_end_s - after_s, 0.0),
        peak_bytes=machine.fixed_bytes + log.peak_tokens * machine.kv_bytes_per_token,
        available_bytes=machine.available_bytes,
    )


def _memory(pipeline: SimulatedPipeline, samples: Samples) -> MemoryCurve:
    fixed = np.array([machine.fixed_bytes for machine in pipeline.stages])
    per_token = np.array([machine.kv_bytes_per_token for machine in pipeline.stages])
    tokens = np.array([(0,) * len(fixed), *samples.tokens], dtype=np.float64)
    return MemoryCurve(
        time_s=np.array([0.0, *samples.time_s]), used_bytes=fixed + tokens * per_token
    )
