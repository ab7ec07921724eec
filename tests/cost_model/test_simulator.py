"""The simulator on pipelines whose every moment can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model import simulator
from cost_model.simulated_pipeline import (
    Hop,
    Order,
    Phase,
    Requests,
    SimulatedPipeline,
    SizedTimes,
    StageMachine,
    Start,
    Transfer,
)
from cost_model.simulation import Distribution
from cost_model.simulator import simulate
from profiles.errors import InputError


def linear(per_request: float) -> SizedTimes:
    """So many seconds per request."""
    return SizedTimes(sizes=(1.0, 100.0), seconds=(per_request, 100 * per_request))


def transfer(seconds: float, busy: float) -> Transfer:
    def always(value):
        return SizedTimes(sizes=(1.0,), seconds=(value,))

    return Transfer(seconds=always(seconds), busy=always(busy))


def hop(*links: int, prefill=(0.0, 0.0), decode=(0.0, 0.0)) -> Hop:
    return Hop(links=links, prefill=transfer(*prefill), decode=transfer(*decode))


def pipeline(*stages, hops=None, back=None, links=()) -> SimulatedPipeline:
    """Stages of (prefill, decode) seconds per request; one byte of KV cache a token."""
    machines = tuple(
        StageMachine(
            node="n",
            gpus=(f"g{j}",),
            prefill=linear(prefill),
            decode=linear(decode),
            weights_bytes=100.0,
            kv_bytes_per_token=1.0,
            available_bytes=1000.0,
        )
        for j, (prefill, decode) in enumerate(stages)
    )
    num_hops = len(stages) - 1
    if back is None and num_hops:
        back = hop()
    return SimulatedPipeline(
        stages=machines,
        links=links,
        hops=(hop(),) * num_hops if hops is None else hops,
        back=back,
        prompt_tokens=4,
    )


def batch(count, *, output=1, prefill=1, decode=1, prompt=4) -> Requests:
    return Requests.equal(
        count,
        prompt_tokens=prompt,
        output_tokens=output,
        prefill_micro_batch=prefill,
        decode_micro_batch=decode,
    )


# -- prefill ------------------------------------------------------------------------------------


def test_prefill_is_paced_by_the_slowest_stage():
    """1 s and 2 s, three micro-batches: first tokens at 3, 5 and 7 s."""
    result = simulate(pipeline((1.0, 0.0), (2.0, 0.0)), batch(3))
    assert result.ttft_s.tolist() == [3.0, 5.0, 7.0]
    assert (result.prefill_end_s, result.latency_s) == (7.0, 7.0)
    assert [stage.prefill_busy_s for stage in result.stages] == [3.0, 6.0]
    assert [stage.prefill_idle_s for stage in result.stages] == [4.0, 1.0]


def test_transfer_takes_its_latency_while_the_stage_goes_on():
    """1 s stages; a transfer arrives after 5 s but keeps the link for 0.5 s: 7, 8, 9 s."""
    pipe = pipeline((1.0, 0.0), (1.0, 0.0), hops=(hop(0, prefill=(5.0, 0.5)),), links=("link",))
    result = simulate(pipe, batch(3))
    assert result.ttft_s.tolist() == [7.0, 8.0, 9.0]
    assert (result.links[0].prefill_busy_s, result.links[0].waited_s) == (1.5, 0.0)


def test_slow_link_paces_the_prefill():
    """The link is busy for 3 s each: micro-batches start on it at 1, 4, 7 and arrive 3 s later."""
    pipe = pipeline((1.0, 0.0), (1.0, 0.0), hops=(hop(0, prefill=(3.0, 3.0)),), links=("link",))
    result = simulate(pipe, batch(3))
    assert result.ttft_s.tolist() == [5.0, 8.0, 11.0]
    assert result.links[0].waited_s == 2.0 + 4.0


def test_last_micro_batch_takes_less_time():
    """Five requests by twos, 1 s a request: 2 + 2 + 1 s on each of two stages."""
    result = simulate(pipeline((1.0, 0.0), (1.0, 0.0)), batch(5, prefill=2))
    assert result.ttft_s.tolist() == [4.0, 4.0, 6.0, 6.0, 7.0]


def test_longer_prompts_take_longer():
    """
    Prompts of 2, 4 and 8 tokens where times hold for 4: 0.5, 1 and 2 s on each stage.

    Between the stages 0.25, 0.5 and 1 s of bytes and 3 s of latency.
    """
    requests = Requests(
        prompt_tokens=(2, 4, 8),
        output_tokens=(1, 1, 1),
        prefill_micro_batch=1,
        decode_micro_batch=1,
    )
    pipe = pipeline((1.0, 0.0), (1.0, 0.0), hops=(hop(0, prefill=(3.5, 0.5)),), links=("link",))
    result = simulate(pipe, requests)
    # Sent at 0.5, 1.5 and 3.5; there at 3.75, 5 and 7.5; done 0.5, 1 and 2 s later.
    assert result.ttft_s.tolist() == [4.25, 6.0, 9.5]
    assert result.links[0].prefill_busy_s == 1.75


# -- decode -------------------------------------------------------------------------------------


def test_one_micro_batch_goes_round():
    """1 s and 2 s in decode, 0.5 s back: a token every 3.5 s after the first round of 3 s."""
    pipe = pipeline((1.0, 1.0), (1.0, 2.0), back=hop(0, decode=(0.5, 0.1)), links=("back",))
    result = simulate(pipe, batch(1, output=4))
    assert result.prefill_end_s == 2.0
    assert result.latency_s == 2.0 + 3.0 + 3.5 + 3.5
    assert result.steady_tpot_s == 3.5
    assert result.tpot_s.tolist() == [10.0 / 3]
    assert result.links[0].transfers == 2  # the last token need not travel back


def test_many_micro_batches_are_paced_by_the_slowest_stage():
    """Three of 1 s + 2 s: the second stage never rests, a token every 6 s."""
    result = simulate(pipeline((1.0, 1.0), (1.0, 2.0)), batch(3, output=4))
    assert result.steady_tpot_s == 6.0
    assert result.prefill_end_s == 4.0
    assert result.finish_s.tolist() == [4 + 15.0, 4 + 17.0, 4 + 19.0]


def test_card_that_two_borders_share_carries_one_transfer_at_a_time():
    """Both borders of three 1 s stages need card 0 for 2 s; by hand the second batch waits."""
    pipe = pipeline(
        (1.0, 0.0),
        (1.0, 0.0),
        (1.0, 0.0),
        hops=(hop(0, prefill=(2.0, 2.0)), hop(0, prefill=(2.0, 2.0))),
        links=("card",),
    )
    result = simulate(pipe, batch(2))
    # Border 1 at 1-3 (batch 1) and 3-5 (batch 2); border 2 at 5-7 and 7-9; then one second each.
    assert result.ttft_s.tolist() == [8.0, 10.0]
    assert result.links[0].waited_s == 1.0 + 1.0 + 1.0
    assert result.links[0].prefill_busy_s == 8.0


def test_transfer_waits_for_both_of_its_cards():
    """The second border needs card 1, which the first one holds until 4 s."""
    pipe = pipeline(
        (1.0, 0.0),
        (1.0, 0.0),
        (1.0, 0.0),
        hops=(hop(0, 1, prefill=(0.0, 3.0)), hop(1, 2, prefill=(0.0, 1.0))),
        links=("a", "b", "c"),
    )
    result = simulate(pipe, batch(1))
    assert result.ttft_s.tolist() == [5.0]  # sent at 2, let through at 4
    assert [link.waited_s for link in result.links] == [0.0, 2.0, 2.0]


# -- starts and orders --------------------------------------------------------------------------


def test_barrier_waits_for_the_whole_batch():
    """Two requests of 1 s prefill on one stage, 1 s decode: decode starts at 2 s for both."""
    result = simulate(pipeline((1.0, 1.0)), batch(2, output=2))
    assert result.finish_s.tolist() == [3.0, 4.0]


def test_overlapped_start_fills_the_bubbles_of_prefill():
    """
    Stages of 1 s and 3 s in prefill, 1 s each in decode, two requests, two tokens.

    Stage 2 prefills at 1-4 and 4-7; the first request's decode is on stage 1 at 4-5 and waits for
    stage 2 until 7: done at 8. The second's is on stage 1 at 7-8, on stage 2 at 8-9.
    With the barrier both start on stage 1 at 7: done at 9 and 10.
    """
    pipe = pipeline((1.0, 1.0), (3.0, 1.0))
    requests = batch(2, output=2)
    assert simulate(pipe, requests, start=Start.OVERLAPPED).finish_s.tolist() == [8.0, 9.0]
    assert simulate(pipe, requests).finish_s.tolist() == [9.0, 10.0]


def test_bubbles_before_and_after_the_last_first_token():
    """
    As above with 4 s of decode on stage 1: it decodes at 4-8 and 8-12, stage 2 at 8-9 and 12-13.

    The last first token is there at 7 s: stage 1 waited at 2-4 before, at 12-13 after.
    """
    result = simulate(pipeline((1.0, 4.0), (3.0, 1.0)), batch(2, output=2), start=Start.OVERLAPPED)
    assert result.finish_s.tolist() == [9.0, 13.0]
    first, second = result.stages
    assert (first.prefill_idle_s, first.decode_idle_s) == (2.0, 1.0)
    assert (second.prefill_idle_s, second.decode_idle_s) == (1.0, 4.0)


def test_first_tokens_travel_back_before_an_overlapped_decode():
    """0.5 s back: one stage more, the decode starts at 2.5 s, not at 2 s."""
    pipe = pipeline((1.0, 1.0), (1.0, 1.0), back=hop(0, prefill=(0.5, 0.5)), links=("back",))
    assert simulate(pipe, batch(1, output=2), start=Start.OVERLAPPED).latency_s == 4.5
    assert simulate(pipe, batch(1, output=2)).latency_s == 4.0


def test_decode_micro_batch_waits_for_all_its_requests():
    """Prefill one by one, decode by twos: the first pair at 2 s, the last one alone at 3 s."""
    result = simulate(pipeline((1.0, 1.0)), batch(3, output=2, decode=2), start=Start.OVERLAPPED)
    assert result.finish_s.tolist() == [5.0, 5.0, 6.0]  # prefill goes first: it came first


def test_decode_first_overtakes_waiting_prompts():
    """One stage, 1 s each, three requests: the first decodes at 1-2 s, before the second prompt."""
    pipe, requests = pipeline((1.0, 1.0)), batch(3, output=2)
    options = {"start": Start.OVERLAPPED, "order": Order.DECODE_FIRST}
    result = simulate(pipe, requests, **options)
    assert result.ttft_s.tolist() == [1.0, 3.0, 5.0]
    assert result.finish_s.tolist() == [2.0, 4.0, 6.0]
    come = simulate(pipe, requests, start=Start.OVERLAPPED)
    assert come.ttft_s.tolist() == [1.0, 2.0, 3.0]
    assert come.finish_s.tolist() == [4.0, 5.0, 6.0]


# -- requests of several lengths ----------------------------------------------------------------


def mixed() -> Requests:
    """Two requests in one micro-batch, of 2 and 4 tokens."""
    return Requests(
        prompt_tokens=(4, 4), output_tokens=(2, 4), prefill_micro_batch=2, decode_micro_batch=2
    )


def test_step_takes_those_that_still_lack_tokens():
    """1 s a request and step: 2 s together, then 1 s and 1 s alone, after 2 s of prefill."""
    result = simulate(pipeline((1.0, 1.0)), mixed())
    assert result.finish_s.tolist() == [4.0, 6.0]
    assert result.tpot_s.tolist() == [2.0, 4.0 / 3]
    assert result.steady_tpot_s == 1.0
    assert result.gaps == Distribution(
        count=4, min_s=1.0, mean_s=1.5, p50_s=1.0, p90_s=2.0, p99_s=2.0, max_s=2.0
    )


def test_request_of_one_token_is_not_decoded():
    """The other one is."""
    requests = replace(mixed(), output_tokens=(1, 2))
    result = simulate(pipeline((1.0, 1.0)), requests)
    assert result.finish_s.tolist() == [2.0, 3.0]
    assert result.tpot_s.tolist() == [0.0, 1.0]
    assert result.tpot is not None
    assert result.tpot.count == 1
    assert result.steady_tpot_s is None


def test_no_token_gaps_without_a_second_token():
    """Prefill alone."""
    result = simulate(pipeline((1.0, 1.0)), batch(2))
    assert (result.tpot, result.gaps, result.steady_tpot_s) == (None, None, None)


# -- memory -------------------------------------------------------------------------------------


def test_kv_cache_grows_by_a_token_a_step():
    """Prompts of 4, four output tokens, two requests: 2 x (4 + 3) tokens, beside 100 bytes."""
    result = simulate(pipeline((1.0, 1.0)), batch(2, output=4, prefill=2, decode=2))
    assert result.stages[0].peak_bytes == 114.0
    assert result.memory.time_s.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert result.memory.used_bytes[:, 0].tolist() == [100.0, 108.0, 110.0, 112.0, 114.0]


def test_answered_request_gives_its_cache_back():
    """Of 2 and 4 tokens: 10 tokens after the first step, 5 freed, then 6 and 7."""
    result = simulate(pipeline((1.0, 1.0)), mixed())
    assert result.memory.used_bytes[:, 0].tolist() == [100.0, 108.0, 110.0, 106.0, 107.0]
    assert result.stages[0].peak_bytes == 110.0


# -- sizes, rows, limits ------------------------------------------------------------------------


def test_times_between_and_beyond_sizes():
    """On the line between two; as the smallest below; in proportion above."""
    times = SizedTimes(sizes=(2.0, 4.0), seconds=(1.0, 3.0))
    assert [times.at(size) for size in (1, 2, 3, 4, 8)] == [1.0, 1.0, 2.0, 3.0, 6.0]


def test_percentiles_are_values_that_occur():
    """Of 1 to 10: 5, 9 and 10."""
    found = Distribution.of(np.arange(1.0, 11.0))
    assert (found.p50_s, found.p90_s, found.p99_s, found.mean_s) == (5.0, 9.0, 10.0, 5.5)


def test_gantt_keeps_first_and_last_rounds():
    """Ten tokens: all of prefill, rounds 1, 2, 8 and 9, on the stage and on both cards."""
    pipe = pipeline(
        (1.0, 1.0),
        (1.0, 1.0),
        hops=(hop(0, 1, prefill=(1.0, 0.5), decode=(1.0, 0.5)),),
        links=("out", "in"),
    )
    rows = simulate(pipe, batch(1, output=10), gantt_rounds=2).gantt
    assert {row.round for row in rows} == {0, 1, 2, 8, 9}
    assert {row.machine for row in rows if row.kind == "link"} == {"out", "in"}
    first = next(row for row in rows if row.machine == "stage 2")
    assert (first.phase, first.micro_batch, first.start_s, first.end_s) == (Phase.PREFILL, 1, 2, 3)
    assert simulate(pipe, batch(1, output=10)).gantt == ()


def test_too_long_a_replay_is_refused(monkeypatch):
    """Named with its remedy."""
    monkeypatch.setattr(simulator, "MAX_STAGE_STEPS", 7)
    with pytest.raises(InputError, match=r"8 steps.*at most 7.*fewer output tokens"):
        simulate(pipeline((1.0, 1.0), (1.0, 1.0)), batch(1, output=4))


def test_too_long_a_chart_is_refused(monkeypatch):
    """Named with its remedy."""
    monkeypatch.setattr(simulator, "MAX_GANTT_ROWS", 8)
    with pytest.raises(InputError, match=r"up to 9 rows.*at most 8.*fewer than 5 rounds"):
        simulate(pipeline((1.0, 1.0)), batch(1, output=3), gantt_rounds=5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SizedTimes(sizes=(2.0, 1.0), seconds=(1.0, 1.0)), "sizes over 0 that rise"),
        (lambda: SizedTimes(sizes=(), seconds=()), "sizes over 0 that rise"),
        (lambda: SizedTimes(sizes=(1.0,), seconds=(1.0, 2.0)), "2 seconds for 1 sizes"),
        (lambda: SizedTimes(sizes=(1.0,), seconds=(-1.0,)), "seconds is -1.0"),
        (lambda: SizedTimes(sizes=(1.0,), seconds=(float("nan"),)), "seconds is nan"),
        (lambda: batch(0), "no requests"),
        (lambda: batch(1, output=0), "output_tokens has an entry of 0"),
        (lambda: batch(1, prompt=0), "prompt_tokens has an entry of 0"),
        (lambda: batch(1, prefill=0), "prefill_micro_batch is 0"),
        (lambda: batch(1, decode=-1), "decode_micro_batch is -1"),
        (lambda: replace(batch(2), output_tokens=(1,)), "both for every request"),
        (lambda: pipeline((1.0, 1.0), hops=(hop(),)), "1 stages and 1 hops"),
        (lambda: pipeline((1.0, 1.0), back=hop()), "back must be given"),
        (lambda: pipeline((1.0, 1.0), (1.0, 1.0), back=hop(3)), "Link 3 does not exist"),
        (lambda: replace(pipeline((1.0, 1.0)), prompt_tokens=0), "prompt_tokens is 0"),
        (lambda: simulate(pipeline((1.0, 1.0)), batch(1), gantt_rounds=-1), "gantt_rounds is -1"),
    ],
)
def test_bad_input_is_named(make, message):
    """With the value and what is allowed."""
    with pytest.raises(InputError, match=message):
        make()
