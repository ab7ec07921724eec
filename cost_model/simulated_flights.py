"""Micro-batches on their way through the pipeline, and how long each pass takes."""

from collections import Counter
from dataclasses import dataclass, field

from cost_model.simulated_pipeline import Phase, Requests, SimulatedPipeline

__all__ = ["Flight", "Pass", "PassTimes", "decode_flights", "num_stage_steps", "prefill_flights"]


@dataclass(frozen=True, slots=True)
class Pass:
    """
    Seconds of one pass of a micro-batch of one size.

    ``stage_s`` has one entry per stage; ``hop_s`` and ``hop_busy_s`` have one per stage too, that
    of the last stage being the way back (0 where there is none).
    """

    stage_s: tuple[float, ...]
    hop_s: tuple[float, ...]
    hop_busy_s: tuple[float, ...]


@dataclass(slots=True, eq=False)
class Flight:
    """
    A micro-batch and where it stands: the only thing here that changes.

    Parameters
    ----------
    phase, number
        Which one; numbers count from 0.
    requests
        Its requests.
    active
        By round: requests that take part. Prefill has one round, decode one per token after the
        first.
    length
        Mean length of its prompts, over that for which prefill times hold; 1 in decode.
    written
        By round: tokens written to the KV cache.
    freed
        By round: tokens of the KV cache that belong to requests answered by it.
    round
        The round that it is in: 0 in prefill, from 1 in decode.
    done_s
        When each round left the last stage.
    """

    phase: Phase
    number: int
    requests: range
    active: list[int]
    length: float
    written: list[int]
    freed: list[int]
    round: int = 0
    done_s: list[float] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """How many rounds it goes through."""
        return len(self.active)

    @property
    def index(self) -> int:
        """Where its round stands in the lists by round."""
        return self.round - 1 if self.round else 0


class PassTimes:
    """Passes by phase, size and length, each worked out once."""

    def __init__(self, pipeline: SimulatedPipeline) -> None:
        self._pipeline = pipeline
        self._known: dict[tuple[Phase, int, float], Pass] = {}

    def of(self, flight: Flight) -> Pass:
        """Times of the pass that a micro-batch is on."""
        key = (flight.phase, flight.active[flight.index], flight.length)
        if key not in self._known:
            self._known[key] = self._make(*key)
        return self._known[key]

    def _make(self, phase: Phase, size: int, length: float) -> Pass:
        """Seconds of bytes and of computing are in proportion to the length; latency is not."""
        stages = self._pipeline.stages
        ways = [(hop, length) for hop in self._pipeline.hops]
        if self._pipeline.back is not None:
            ways.append((self._pipeline.back, 1.0))  # one token each
        busy, whole = [0.0] * len(stages), [0.0] * len(stages)
        for at, (hop, times) in enumerate(ways):
            transfer = hop.transfer(phase)
            busy[at] = transfer.busy.at(size) * times
            whole[at] = transfer.seconds.at(size) + transfer.busy.at(size) * (times - 1)
        return Pass(
            stage_s=tuple(stage.times(phase).at(size) * length for stage in stages),
            hop_s=tuple(whole),
            hop_busy_s=tuple(busy),
        )


def prefill_flights(requests: Requests, prompt_tokens: float) -> list[Flight]:
    """
    Prefill micro-batches.

    Parameters
    ----------
    requests
        The batch.
    prompt_tokens
        Length of the prompts for which times hold.
    """
    flights = []
    for number, members in enumerate(requests.groups(requests.prefill_micro_batch)):
        prompts = [requests.prompt_tokens[i] for i in members]
        answered = [requests.prompt_tokens[i] for i in members if requests.output_tokens[i] == 1]
        flights.append(
            Flight(
                phase=Phase.PREFILL,
                number=number,
                requests=members,
                active=[len(members)],
                length=sum(prompts) / (len(members) * prompt_tokens),
                written=[sum(prompts)],
                freed=[sum(answered)],
            )
        )
    return flights


def decode_flights(requests: Requests) -> list[Flight]:
    """Decode micro-batches; a round takes those requests that still lack tokens."""
    return [
        _decode_flight(number, members, requests)
        for number, members in enumerate(requests.groups(requests.decode_micro_batch))
    ]


def _decode_flight(number: int, members: range, requests: Requests) -> Flight:
    ends: Counter[int] = Counter()
    freed: Counter[int] = Counter()
    for i in members:
        last = requests.output_tokens[i] - 1
        ends[last] += 1
        freed[last] += requests.prompt_tokens[i] + last
    active = []
    left = len(members)
    for last in range(max(ends)):
        left -= ends[last]
        active.append(left)
    return Flight(
        phase=Phase.DECODE,
        number=number,
        requests=members,
        active=active,
        length=1.0,
        written=active,
        freed=[freed[last] for last in range(1, len(active) + 1)],
        round=1,
    )


def num_stage_steps(requests: Requests, num_stages: int) -> int:
    """How many times a stage computes a micro-batch in all: what a simulation costs."""
    prefill = len(requests.groups(requests.prefill_micro_batch))
    outputs = requests.output_tokens
    decode = sum(
        max(outputs[members.start : members.stop]) - 1
        for members in requests.groups(requests.decode_micro_batch)
    )
    return num_stages * (prefill + decode)
