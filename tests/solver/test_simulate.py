"""Plans replayed: equal to the formulas where these are exact, true to the machines elsewhere."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.random_plans import random_plan
from cost_model.simulated_pipeline import Order, Phase, Start
from profiles.errors import InputError
from profiles.lengths import LengthBucket
from solver import BatchOption, Plan, Stage, batch_lengths, evaluate, simulate_plan
from solver.simulate import simulated_pipeline
from tests.solver.hand_made import pipeline

EXACT = 1e-9
FAST, ALL = 80, 320
BESIDE_LAYERS = (
    *("embedding_prefill_s", "embedding_decode_s", "head_prefill_s", "head_decode_s"),
    *("prefill_occupancy_s", "decode_occupancy_s", "return_occupancy_s"),
)


def assert_equals_formulas(seed: int) -> None:
    """TTFT, TPOT, latency and busy shares of an even plan whose cards are not shared."""
    problem, plan = random_plan(seed)
    formula, replay = evaluate(problem, plan), simulate_plan(problem, plan)
    batch = replay.batch
    assert batch.prefill_end_s == pytest.approx(formula.ttft_s, rel=EXACT)
    assert batch.latency_s == pytest.approx(formula.batch_latency_s, rel=EXACT)
    assert replay.latency_s == pytest.approx(formula.latency_s, rel=EXACT)
    assert batch.ttft.max_s == batch.prefill_end_s
    if problem.output_tokens > 2:
        assert batch.steady_tpot_s == pytest.approx(formula.tpot_s, rel=EXACT)
    decode_s = batch.latency_s - batch.prefill_end_s
    for use, report in zip(batch.stages, formula.stages, strict=True):
        assert use.prefill_busy_s / batch.prefill_end_s == pytest.approx(report.prefill_busy)
        if problem.output_tokens > 1:
            assert use.decode_busy_s / decode_s == pytest.approx(report.decode_busy)


@pytest.mark.parametrize("first", range(0, FAST, 20))
def test_replay_equals_the_formulas(first):
    """Barrier start, even micro-batches, no shared card: to 1e-9."""
    for seed in range(first, first + 20):
        assert_equals_formulas(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, ALL, 20))
def test_replay_equals_the_formulas_on_more_plans(first):
    """The rest of 320."""
    test_replay_equals_the_formulas(first)


def test_random_plans_are_of_every_kind():
    """Paced by stages and by links, by the ring and by the slowest; 1 to 8 stages, 1 to 500."""
    kinds = defaultdict(int)
    for seed in range(FAST):
        problem, plan = random_plan(seed)
        values = evaluate(problem, plan)
        m_d = plan.batch_size // plan.decode_micro_batch
        round_s = sum(stage.decode_s + stage.decode_link_s for stage in values.stages)
        kinds["prefill", values.bottleneck_prefill.split()[0]] += 1
        kinds["decode", values.bottleneck_decode.split()[0]] += 1
        kinds["ring"] += problem.output_tokens > 2 and m_d > 1 and values.tpot_s < 1.5 * round_s
        kinds["slowest"] += values.tpot_s > 1.5 * round_s
        kinds["one stage"] += len(plan.stages) == 1
        kinds["seven stages"] += len(plan.stages) > 6
        kinds["one token"] += problem.output_tokens == 1
        kinds["many tokens"] += problem.output_tokens > 200
    wanted = ("stage", "link", "network")
    assert all(kinds[phase, pace] > 2 for phase in ("prefill", "decode") for pace in wanted)
    assert all(kinds[kind] > 2 for kind in kinds if isinstance(kind, str))


def first_come_times(problem, plan) -> tuple[float, float]:
    """
    TTFT and latency by recursion: a stage starts a micro-batch when that has arrived and the one
    before it has left. Right while no micro-batch overtakes another and no card is shared.
    """
    pipe = simulated_pipeline(problem, plan)
    hops = [*pipe.hops, pipe.back]
    stages, links = [0.0] * len(hops), [0.0] * len(hops)

    def passed(phase, size, time_s):
        """When a micro-batch leaves the last stage; and when it is back."""
        left_s = time_s
        for j, (machine, hop) in enumerate(zip(pipe.stages, hops, strict=True)):
            left_s = max(time_s, stages[j]) + machine.times(phase).at(size)
            stages[j] = time_s = left_s
            if hop is not None and (phase is Phase.DECODE or j < len(hops) - 1):
                way = hop.transfer(phase)
                sent_s = max(left_s, links[j])
                links[j] = sent_s + way.busy.at(size)
                time_s = sent_s + way.seconds.at(size)
        return left_s, time_s

    def sizes(step):
        return [min(step, plan.batch_size - at) for at in range(0, plan.batch_size, step)]

    ttft_s = max(passed(Phase.PREFILL, size, 0.0)[0] for size in sizes(plan.prefill_micro_batch))
    micro_batches = sizes(plan.decode_micro_batch)
    ready = [ttft_s] * len(micro_batches)
    end_s = ttft_s
    for _ in range(problem.output_tokens - 1):
        for k, size in enumerate(micro_batches):
            end_s, ready[k] = passed(Phase.DECODE, size, ready[k])
    return ttft_s, end_s


def test_ragged_micro_batches_equal_a_recursion():
    """A smaller last micro-batch: no formula, but the same as by recursion over the stages."""
    for seed in range(40):
        problem, plan = random_plan(seed, is_even=False)
        problem = replace(problem, output_tokens=min(problem.output_tokens, 60))
        batch = simulate_plan(problem, plan).batch
        assert (batch.prefill_end_s, batch.latency_s) == pytest.approx(
            first_come_times(problem, plan), rel=EXACT
        )


def test_the_formulas_are_never_too_fast_where_the_last_micro_batch_is_smaller():
    for seed in range(120):
        problem, plan = random_plan(seed, is_even=False)
        problem = replace(problem, output_tokens=min(problem.output_tokens, 40))
        values, batch = evaluate(problem, plan), simulate_plan(problem, plan).batch
        assert batch.prefill_end_s <= values.ttft_s * (1 + EXACT)
        assert batch.latency_s <= values.batch_latency_s * (1 + EXACT)


def test_the_formulas_hold_for_one_stage_of_equal_layers_with_a_smaller_last_micro_batch():
    """Without embedding, head and links nothing is estimated."""
    seen = 0
    for seed in range(200):
        problem, plan = random_plan(seed, is_even=False)
        if len(plan.stages) == 1:
            seen += 1
            equal = {
                name: np.broadcast_to(getattr(problem, name)[:, :1, :1], problem.prefill_s.shape)
                for name in ("prefill_s", "decode_s")
            }
            nothing = {name: 0 * getattr(problem, name) for name in BESIDE_LAYERS}
            problem = replace(problem, **equal, **nothing)
            values, batch = evaluate(problem, plan), simulate_plan(problem, plan).batch
            assert batch.prefill_end_s == pytest.approx(values.ttft_s, rel=EXACT)
            assert batch.latency_s == pytest.approx(values.batch_latency_s, rel=EXACT)
    assert seen > 10


def test_overlap_never_delays_the_first_tokens():
    """First come, first served: prompts go first, so TTFT is that of the formula."""
    for seed in range(30):
        problem, plan = random_plan(seed)
        batch = simulate_plan(problem, plan, start=Start.OVERLAPPED).batch
        assert batch.prefill_end_s == pytest.approx(evaluate(problem, plan).ttft_s, rel=EXACT)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("start", Start)
def test_machines_do_one_thing_at_a_time(start, order):
    """Whatever the plan: rows of a machine never overlap, and sum to its busy seconds."""
    for seed in range(12):
        problem, plan = random_plan(seed, is_even=seed % 2 == 0, shares_cards=seed % 3 > 0)
        problem = replace(problem, output_tokens=min(problem.output_tokens, 12))
        options = {"start": start, "order": order, "gantt_rounds": 12}
        batch = simulate_plan(problem, plan, **options).batch
        rows = defaultdict(list)
        for row in batch.gantt:
            rows[row.machine].append((row.start_s, row.end_s))
        for busy in rows.values():
            for (_, end_s), (start_s, _) in pairwise(sorted(busy)):
                assert start_s >= end_s - 1e-9
        for number, use in enumerate(batch.stages, start=1):
            busy = rows[f"stage {number}"]
            assert sum(end - start for start, end in busy) == pytest.approx(use.busy_s)
            assert use.busy_s + use.idle_s == pytest.approx(batch.latency_s)
        for link in batch.links:
            busy = rows[link.name]
            assert len(busy) == link.transfers
            assert sum(end - start for start, end in busy) == pytest.approx(
                link.prefill_busy_s + link.decode_busy_s
            )


@pytest.mark.parametrize("start", Start)
def test_micro_batches_pass_the_stages_in_order(start):
    """Each is computed on every stage once a round, a stage after the other, round by round."""
    for seed in range(12):
        problem, plan = random_plan(seed, is_even=False, shares_cards=True)
        problem = replace(problem, output_tokens=min(problem.output_tokens, 8))
        rows = simulate_plan(problem, plan, start=start, gantt_rounds=8).batch.gantt
        ways = defaultdict(list)
        for row in rows:
            if row.kind == "stage":
                ways[row.phase, row.micro_batch].append(row)
        stages = [f"stage {number}" for number in range(1, len(plan.stages) + 1)]
        for (phase, _), way in ways.items():
            rounds = 1 if phase is Phase.PREFILL else problem.output_tokens - 1
            assert [row.machine for row in way] == stages * rounds
            assert all(b.start_s >= a.end_s - 1e-12 for a, b in pairwise(way))


# -- machines of a plan -------------------------------------------------------------------------


def plan_of(problem, *lengths, prefill=1, decode=1):
    """Stages on groups 0, 1, ... of so many layers, all in the first format."""
    starts = np.cumsum([0, *lengths])
    return Plan(
        batch_size=problem.batches[0].size,
        prefill_micro_batch=prefill,
        decode_micro_batch=decode,
        stages=tuple(
            Stage(group=j, first_layer=int(starts[j]), formats=(0,) * length)
            for j, length in enumerate(lengths)
        ),
    )


def test_borders_between_nodes_share_their_cards():
    """Nodes A, B, A: out of A and into A carry a border each and the way back stays inside."""
    problem = pipeline(speeds=(1.0, 1.0, 1.0), num_layers=3, link_s=0.1)
    devices = tuple(
        replace(device, node=node) for device, node in zip(problem.devices, (0, 1, 0), strict=True)
    )
    machines = simulated_pipeline(replace(problem, devices=devices), plan_of(problem, 1, 1, 1))
    assert machines.links == (
        "network out of node0",
        "network into node1",
        "network out of node1",
        "network into node0",
        "link 3-1 in node0",
    )
    assert [hop.links for hop in (*machines.hops, machines.back)] == [(0, 1), (2, 3), (4,)]


@pytest.fixture
def there_and_back():
    """Nodes A, B, A, B: four stages of 1 s, two requests, borders that keep their cards for 4 s."""
    problem = pipeline(speeds=(1.0,) * 4, num_layers=4, batch=2, link_s=4.0, output_tokens=6)
    nodes = (0, 1, 0, 1)
    devices = tuple(replace(d, node=u) for d, u in zip(problem.devices, nodes, strict=True))
    seconds = {"decode_s": problem.prefill_s, "decode_link_s": problem.prefill_link_s}
    busy = dict.fromkeys(("prefill_occupancy_s", "decode_occupancy_s"), problem.prefill_link_s)
    nothing = {"return_link_s": problem.return_link_s * 0}
    return replace(problem, devices=devices, **seconds, **busy, **nothing)


def test_formula_is_careful_with_a_shared_card_in_prefill(there_and_back):
    """It adds up what the card out of A carries; in truth the second request waits once."""
    plan = plan_of(there_and_back, 1, 1, 1, 1)
    assert evaluate(there_and_back, plan).ttft_s == 4 + 3 * 4 + 8
    # Out of A: first border at 1-5 and 5-9, third border at 11-15 and 15-19.
    assert simulate_plan(there_and_back, plan).batch.ttft_s.tolist() == [16.0, 20.0]


def test_shared_card_slows_the_ring_more_than_the_formula_says(there_and_back):
    """
    A round takes 4 + 12 s, and the card out of A carries 2 x 8 s: a token every 16 s by formula.

    But the first request comes back while the second one's third border keeps that card for 2 s
    more, round after round: 18 s.
    """
    plan = plan_of(there_and_back, 1, 1, 1, 1)
    assert evaluate(there_and_back, plan).tpot_s == 16.0
    assert simulate_plan(there_and_back, plan).batch.steady_tpot_s == 18.0


def test_memory_is_that_of_the_check_at_full_length():
    """Peak: weights, ends and work as in the check; KV cache but for the last token, not stored."""
    for seed in range(20):
        problem, plan = random_plan(seed, is_even=False)
        problem = replace(problem, output_tokens=max(2, problem.output_tokens))
        plan = replace(plan, decode_micro_batch=plan.batch_size)
        at = problem.micro_batches.tolist().index(plan.batch_size)
        problem = replace(problem, batches=(replace(problem.batches[0], decode=(at,)),))
        full = problem.prompt_tokens + problem.output_tokens
        batch, formula = simulate_plan(problem, plan).batch, evaluate(problem, plan)
        for use, stage in zip(batch.stages, formula.stages, strict=True):
            kept = stage.memory.used_bytes - stage.memory.kv_bytes / full
            assert use.peak_bytes == pytest.approx(kept)
            assert use.available_bytes == stage.memory.available_bytes


def test_last_batch_may_be_smaller():
    """Ten requests by fours: two batches of four and one of two, 1 s a request and stage."""
    problem = pipeline(speeds=(1.0,), num_layers=1, batch=4)
    replay = simulate_plan(replace(problem, num_requests=10), plan_of(problem, 1))
    assert replay.waves == 3
    assert replay.last is not None
    assert (replay.batch.latency_s, replay.last.latency_s) == (4.0, 2.0)
    assert replay.latency_s == 10.0
    even = simulate_plan(replace(problem, num_requests=8), plan_of(problem, 1))
    assert (even.last, even.latency_s) == (None, 8.0)
    few = simulate_plan(replace(problem, num_requests=3), plan_of(problem, 1))
    assert (few.waves, few.last, few.latency_s) == (1, None, 3.0)


def test_way_back_that_sets_the_pace_is_not_waited_for_in_the_end():
    """
    One 1 s stage on each of two nodes, two micro-batches; the way back keeps its cards for 5 s.

    The formula lets it pace the first round and the last as well; the replay ends sooner.
    """
    problem = pipeline(speeds=(10.0, 10.0), num_layers=2, batch=2, output_tokens=4)
    slow = problem.return_link_s + 5.0 * (1 - np.eye(2))[:, :, None]
    problem = replace(problem, decode_s=problem.decode_s * 100)
    problem = replace(problem, return_link_s=slow, return_occupancy_s=slow)
    plan = plan_of(problem, 1, 1)
    formula, batch = evaluate(problem, plan), simulate_plan(problem, plan).batch
    ttft_s = 0.3
    assert formula.ttft_s == pytest.approx(ttft_s)
    assert formula.batch_latency_s == pytest.approx(ttft_s + 2 + 5 + 2 * 10)
    # Back at 7 and 12, 14 and 19 ... the first leaves the last stage at 2, 9, 19, the second at
    # 3, 14, 24.
    assert batch.latency_s == pytest.approx(ttft_s + 24.0)


# -- lengths ------------------------------------------------------------------------------------


def test_batch_has_lengths_by_their_weights():
    """Three of four short, one long, spread evenly."""
    short = LengthBucket(prompt_tokens=8, output_tokens=2, weight=3.0)
    long = LengthBucket(prompt_tokens=64, output_tokens=9, weight=1.0)
    batch = batch_lengths([short, long], 8)
    assert batch.count((8, 2)) == 6
    assert batch[:4].count((64, 9)) == batch[4:].count((64, 9)) == 1


def test_lengths_must_fit_the_batch():
    """Named with what is expected."""
    problem = pipeline(speeds=(1.0,), num_layers=1, batch=4)
    with pytest.raises(InputError, match="output_tokens has 2 entries, but a batch holds 4"):
        simulate_plan(problem, plan_of(problem, 1), output_tokens=[1, 2])


def test_requests_of_their_own_length_end_on_their_own():
    """One stage, 0.1 s a step and request: 2 and 4 tokens, both prefilled at 2 s."""
    problem = pipeline(speeds=(1.0,), num_layers=1, batch=2, micro_batches=(1, 2), output_tokens=3)
    plan = plan_of(problem, 1, prefill=2, decode=2)
    replay = simulate_plan(problem, plan, output_tokens=[2, 4])
    assert replay.batch.finish_s == pytest.approx([2.2, 2.4])


def test_plan_that_does_not_fit_is_refused():
    """As by the check."""
    problem = pipeline(speeds=(1.0,), num_layers=2)
    with pytest.raises(InputError, match="holds 1 layers; the model has 2"):
        simulate_plan(problem, plan_of(problem, 1))
    option = BatchOption(size=1, prefill=(0,), decode=(0,))
    with pytest.raises(InputError, match="is not among the candidates"):
        simulate_plan(
            replace(problem, batches=(option,)), replace(plan_of(problem, 2), batch_size=3)
        )
