"""
A discrete-event replay of a pipeline: stages and links as machines, micro-batch by micro-batch.

Nothing here knows the closed formulas of a plan's cost. Every stage computes one micro-batch at a
time and hands it to the links as soon as it is done; it goes on with the next one while the
transfer runs. A transfer waits until all links that it needs have carried what was asked of them
before (first come, first served), keeps them busy for its bytes, and arrives after its latency.
Decode goes round: the tokens sampled on the last stage travel back to the first.
"""

from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple

from cost_model.gantt import GanttRow
from cost_model.simulated_flights import (
    Flight,
    PassTimes,
    decode_flights,
    num_stage_steps,
    prefill_flights,
)
from cost_model.simulated_pipeline import Order, Phase, Requests, SimulatedPipeline, Start
from cost_model.simulation import Simulation
from cost_model.simulation_records import LinkLog, Samples, StageLog, summarised
from profiles.errors import InputError

__all__ = ["MAX_GANTT_ROWS", "MAX_STAGE_STEPS", "ROWS_PER_STEP", "simulate"]

MAX_STAGE_STEPS = 5_000_000
"""Beyond this a replay takes minutes and the memory of a small machine."""
MAX_GANTT_ROWS = 200_000
ROWS_PER_STEP = 3
"""Rows that a step gives at most: the stage and two network cards."""


def simulate(
    pipeline: SimulatedPipeline,
    requests: Requests,
    *,
    start: Start = Start.BARRIER,
    order: Order = Order.FIRST_COME,
    gantt_rounds: int = 0,
) -> Simulation:
    """
    Replay one batch.

    Parameters
    ----------
    pipeline, requests
        Machines and work. A decode step takes those requests of the micro-batch that still lack
        tokens and lasts as long as a micro-batch of so many; the time of a prefill micro-batch is
        in proportion to the mean length of its prompts.
    start
        ``BARRIER``: decode starts when the last prefill micro-batch has left the last stage, and
        the first tokens are back at once. ``OVERLAPPED``: every decode micro-batch starts as soon
        as the first tokens of all its requests have travelled back.
    order
        What a stage takes next of what waits. It matters where prefill and decode overlap: with
        ``FIRST_COME`` prompts, which all wait from the beginning, go first on the first stage;
        with ``DECODE_FIRST`` a decode step overtakes prompts that wait.
    gantt_rounds
        How many first and how many last decode rounds of every micro-batch are kept as rows,
        beside all of prefill; 0 keeps no rows at all.

    Raises
    ------
    InputError
        When the replay has more than `MAX_STAGE_STEPS` steps, or `MAX_GANTT_ROWS` rows.
    """
    _check_size(pipeline, requests, gantt_rounds)
    replay = _Replay(pipeline, requests, start, order, gantt_rounds)
    replay.run()
    return summarised(
        pipeline,
        requests,
        flights=(replay.prefills, replay.decodes),
        stages=replay.stages,
        links=replay.links,
        samples=replay.samples,
        prefill_end_s=replay.prefill_end_s,
        gantt=tuple(replay.rows),
    )


def _check_size(pipeline: SimulatedPipeline, requests: Requests, gantt_rounds: int) -> None:
    num_stages = len(pipeline.stages)
    steps = num_stage_steps(requests, num_stages)
    if steps > MAX_STAGE_STEPS:
        raise InputError(
            f"The replay has {steps} steps (stages x micro-batches x tokens); at most "
            f"{MAX_STAGE_STEPS} can be simulated. Simulate fewer output tokens or larger "
            "micro-batches."
        )
    if gantt_rounds < 0:
        raise InputError(f"gantt_rounds is {gantt_rounds}; it must be 0 or more.")
    decode = len(requests.groups(requests.decode_micro_batch))
    longest = max(requests.output_tokens) - 1
    passes = len(requests.groups(requests.prefill_micro_batch))
    passes += decode * min(longest, 2 * gantt_rounds)
    rows = passes * num_stages * ROWS_PER_STEP
    if gantt_rounds and rows > MAX_GANTT_ROWS:
        raise InputError(
            f"The chart would have up to {rows} rows; at most {MAX_GANTT_ROWS} are kept. Ask for "
            f"fewer than {gantt_rounds} rounds."
        )


class _What(IntEnum):
    """What an event is."""

    ARRIVED = 0  # a micro-batch is at a stage
    DONE = 1  # a stage has computed it
    CHOOSE = 2  # a stage is free and takes the next one


class _Event(NamedTuple):
    """Something that happens: ``order`` settles ties by who came first."""

    time_s: float
    order: int
    stage: int
    flight: Flight
    what: _What


class _Replay:
    """The state of a replay."""

    def __init__(
        self,
        pipeline: SimulatedPipeline,
        requests: Requests,
        start: Start,
        order: Order,
        gantt_rounds: int,
    ) -> None:
        self._overlapped = start is Start.OVERLAPPED
        self._decode_first = order is Order.DECODE_FIRST
        self._gantt_rounds = gantt_rounds
        self._times = PassTimes(pipeline)
        self._last = len(pipeline.stages) - 1
        back = () if pipeline.back is None else pipeline.back.links
        self._links_of = [*(hop.links for hop in pipeline.hops), back]
        self._events: list[_Event] = []
        self._num_events = 0
        self._waiting: list[list[tuple[int, int, Flight]]] = [[] for _ in pipeline.stages]
        self.prefills = prefill_flights(requests, pipeline.prompt_tokens)
        self.decodes = [flight for flight in decode_flights(requests) if flight.rounds]
        self._prefills_left = len(self.prefills)
        self._tokens_back_s = 0.0
        self._next_start = 0
        self.stages = [StageLog() for _ in pipeline.stages]
        self.links = [LinkLog(name=name) for name in pipeline.links]
        flights = [*self.prefills, *self.decodes]
        self.samples = Samples(sum(flight.rounds for flight in flights))
        self.prefill_end_s = 0.0
        self.rows: list[GanttRow] = []

    def run(self) -> None:
        """From the first micro-batch to the last token."""
        for flight in self.prefills:
            self._arrives(0.0, 0, flight)
        while self._events:
            time_s, _, stage, flight, what = heappop(self._events)
            if what is _What.DONE:
                self._done(time_s, stage, flight)
            elif what is _What.ARRIVED:
                self._arrived(time_s, stage, flight)
            else:
                self._choose(time_s, stage)

    def _will(self, what: _What, time_s: float, stage: int, flight: Flight) -> None:
        self._num_events += 1
        heappush(self._events, _Event(time_s, self._num_events, stage, flight, what))

    # -- stages -----------------------------------------------------------------------------

    def _arrives(self, time_s: float, stage: int, flight: Flight) -> None:
        self._will(_What.ARRIVED, time_s, stage, flight)

    def _arrived(self, time_s: float, stage: int, flight: Flight) -> None:
        if not self.stages[stage].is_busy and not self._waiting[stage]:
            self._compute(time_s, stage, flight)
            return
        later = self._decode_first and flight.phase is Phase.PREFILL
        self._num_events += 1
        heappush(self._waiting[stage], (int(later), self._num_events, flight))

    def _choose(self, time_s: float, stage: int) -> None:
        _, _, flight = heappop(self._waiting[stage])
        self._compute(time_s, stage, flight)

    def _compute(self, time_s: float, stage: int, flight: Flight) -> None:
        seconds = self._times.of(flight).stage_s[stage]
        end_s = time_s + seconds
        self.stages[stage].begin(flight.phase, seconds, end_s, flight.written[flight.index])
        if self._is_kept(flight):
            self._keep(f"stage {stage + 1}", "stage", flight, time_s, end_s)
        self._will(_What.DONE, end_s, stage, flight)

    def _done(self, time_s: float, stage: int, flight: Flight) -> None:
        self.stages[stage].is_busy = False
        if stage < self._last:
            self._arrives(self._sent(time_s, stage, flight), stage + 1, flight)
        else:
            self._left_last(time_s, flight)
        if not self._waiting[stage]:
            return
        if self._decode_first:
            # What arrives at this very moment may overtake those that wait.
            self._will(_What.CHOOSE, time_s, stage, flight)
        else:
            self._choose(time_s, stage)

    # -- links ------------------------------------------------------------------------------

    def _sent(self, time_s: float, stage: int, flight: Flight) -> float:
        """When the micro-batch arrives: at the next stage, or back at the first."""
        times = self._times.of(flight)
        busy_s = times.hop_busy_s[stage]
        logs = [self.links[link] for link in self._links_of[stage]]
        start_s = max([time_s, *(log.free_s for log in logs)])
        for log in logs:
            log.carry(flight.phase, start_s, busy_s, start_s - time_s)
            if self._is_kept(flight):
                self._keep(log.name, "link", flight, start_s, start_s + busy_s)
        return start_s + times.hop_s[stage]

    # -- rounds -----------------------------------------------------------------------------

    def _left_last(self, time_s: float, flight: Flight) -> None:
        """A round is complete: its tokens are there."""
        flight.done_s.append(time_s)
        self.samples.take(time_s, self.stages)
        freed = flight.freed[flight.index]
        if freed:
            for log in self.stages:
                log.kv_tokens -= freed
        if flight.phase is Phase.PREFILL:
            self._prefilled(time_s, flight)
        elif flight.round < flight.rounds:
            back_s = self._sent(time_s, self._last, flight)
            flight.round += 1
            self._arrives(back_s, 0, flight)

    def _prefilled(self, time_s: float, flight: Flight) -> None:
        self._prefills_left -= 1
        if not self._prefills_left:
            self.prefill_end_s = time_s
            for log in self.stages:
                log.mark_prefill_end(time_s)
        if self._overlapped and self.decodes:
            self._release_prefilled(time_s, flight)
        elif not self._prefills_left:
            for waiting in self.decodes:
                self._arrives(time_s, 0, waiting)

    def _release_prefilled(self, time_s: float, flight: Flight) -> None:
        """Start the decode micro-batches all of whose first tokens are on their way back."""
        self._tokens_back_s = max(self._tokens_back_s, self._sent(time_s, self._last, flight))
        while self._next_start < len(self.decodes):
            waiting = self.decodes[self._next_start]
            if waiting.requests.stop > flight.requests.stop:
                return
            self._next_start += 1
            self._arrives(self._tokens_back_s, 0, waiting)

    # -- rows -------------------------------------------------------------------------------

    def _is_kept(self, flight: Flight) -> bool:
        most = self._gantt_rounds
        return most > 0 and (flight.round <= most or flight.round > flight.rounds - most)

    def _keep(self, machine: str, kind: str, flight: Flight, start_s: float, end_s: float) -> None:
        self.rows.append(
            GanttRow(
                machine=machine,
                kind="stage" if kind == "stage" else "link",
                phase=flight.phase,
                micro_batch=flight.number + 1,
                round=flight.round,
                start_s=start_s,
                end_s=end_s,
            )
        )
