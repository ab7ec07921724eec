"""The independent check: values by hand, and plans that it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from profiles.errors import InputError
from solver import Limits, Plan, Stage, evaluate, violations
from tests.solver.hand_made import pipeline


def two_stages(first=2, formats=(0, 0, 0, 0), **sizes):
    values = {"batch_size": 4, "prefill_micro_batch": 1, "decode_micro_batch": 2} | sizes
    return Plan(
        stages=(
            Stage(group=0, first_layer=0, formats=formats[:first]),
            Stage(group=1, first_layer=first, formats=formats[first:]),
        ),
        **values,
    )


@pytest.fixture
def problem():
    """Two GPUs, the second twice as fast; links of 0.5 s, 10 tokens out."""
    return pipeline(
        speeds=(1.0, 2.0), batch=4, micro_batches=(1, 2, 4), output_tokens=10, link_s=0.5
    )


def test_times_follow_the_formulas(problem):
    values = evaluate(problem, two_stages())
    # prefill, micro-batches of 1: stages 2 s and 1 s, link 0.5 s, three more at the pace of 2 s
    assert values.ttft_s == pytest.approx(2 + 1 + 0.5 + 3 * 2)
    # decode, micro-batches of 2: stages 0.4 s and 0.2 s, link 0.05 s, return 0.005 s;
    # the ring takes 0.655 s once around and 2 x 0.4 s at the pace of the first stage
    assert values.tpot_s == pytest.approx(0.8)
    first_round = 0.4 + 0.2 + 0.05 + 0.4
    assert values.latency_s == pytest.approx(values.ttft_s + first_round + 8 * 0.8)
    assert values.bottleneck_prefill == values.bottleneck_decode == "stage 1"


def test_a_long_ring_sets_the_token_time(problem):
    """One micro-batch waits for its own return: 0.8 + 0.4 + 0.05 + 0.005 s."""
    values = evaluate(problem, two_stages(decode_micro_batch=4))
    assert values.tpot_s == pytest.approx(1.255)


def test_one_token_needs_no_decode(problem):
    values = evaluate(replace(problem, output_tokens=1), two_stages())
    assert values.tpot_s == 0
    assert values.latency_s == values.ttft_s


def test_two_tokens_need_one_round(problem):
    values = evaluate(replace(problem, output_tokens=2), two_stages())
    assert values.latency_s == pytest.approx(values.ttft_s + 0.4 + 0.2 + 0.05 + 0.4)


def test_borders_on_one_network_card_add_up():
    """gpu0 - gpu1 - gpu0 leaves node 0 once and enters it once: no sum; two leavings would."""
    problem = pipeline(speeds=(1.0, 1.0, 1.0), batch=4, micro_batches=(1,), num_layers=3)
    devices = tuple(
        replace(d, node=node) for d, node in zip(problem.devices, (0, 1, 0), strict=True)
    )
    busy = np.full_like(problem.prefill_occupancy_s, 1.5)
    shared = replace(problem, devices=devices, prefill_occupancy_s=busy)
    there_and_back = Plan(
        batch_size=4,
        prefill_micro_batch=1,
        decode_micro_batch=1,
        stages=tuple(Stage(group=g, first_layer=g, formats=(0,)) for g in range(3)),
    )
    values = evaluate(shared, there_and_back)
    assert values.bottleneck_prefill.startswith("network")
    assert values.ttft_s == pytest.approx(3 * 1 + 3 * 1.5)
    fan = replace(
        shared, devices=tuple(replace(d, node=n) for d, n in zip(devices, (0, 1, 2), strict=True))
    )
    assert evaluate(fan, there_and_back).ttft_s == pytest.approx(3 * 1 + 3 * 1.5)


def test_two_borders_out_of_one_node_share_its_card():
    """node0 - node1 - node0 - node1 leaves node 0 twice: 2 x 1.5 s a micro-batch."""
    problem = pipeline(speeds=(1.0,) * 4, batch=4, micro_batches=(1,), num_layers=4)
    nodes = (0, 1, 0, 1)
    shared = replace(
        problem,
        devices=tuple(replace(d, node=n) for d, n in zip(problem.devices, nodes, strict=True)),
        prefill_occupancy_s=np.full_like(problem.prefill_occupancy_s, 1.5),
    )
    plan = Plan(
        batch_size=4,
        prefill_micro_batch=1,
        decode_micro_batch=1,
        stages=tuple(Stage(group=g, first_layer=g, formats=(0,)) for g in range(4)),
    )
    values = evaluate(shared, plan)
    assert values.bottleneck_prefill == "network out of node0"
    assert values.ttft_s == pytest.approx(4 * 1 + 3 * 3.0)


def test_memory_counts_kv_work_space_and_both_ends():
    problem = pipeline(speeds=(1.0,), batch=4, micro_batches=(2,))
    one = np.ones_like
    full = replace(
        problem,
        kv_bytes=np.full((1, 1), 0.5),
        embedding_bytes=np.full(1, 3.0),
        head_bytes=np.full(1, 3.0),
        shared_bytes=np.full(1, 3.0),
        prefill_work_bytes=2 * one(problem.prefill_work_bytes),
        decode_work_bytes=one(problem.prefill_work_bytes),
        head_decode_work_bytes=4 * one(problem.prefill_work_bytes),
    )
    plan = Plan(
        batch_size=4,
        prefill_micro_batch=2,
        decode_micro_batch=2,
        stages=(Stage(group=0, first_layer=0, formats=(0, 1, 1, 1)),),
    )
    memory = evaluate(full, plan).stages[0].memory
    assert memory.weights_bytes == 10 + 3 * 5
    assert memory.kv_bytes == 4 * 4 * 0.5
    assert memory.embedding_and_head_bytes == 3  # tied and on one stage: stored once
    assert memory.work_bytes == max(2, 1 + 4)
    assert memory.free_bytes == 100 - 25 - 8 - 3 - 5


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (two_stages(formats=(0, 0, 0)), "holds 3 layers; the model has 4"),
        (two_stages(formats=(0,) * 5), "ends after the last"),
        (two_stages(formats=(0, 0, 0, 7)), "format 7"),
        (two_stages(batch_size=5), "not among the candidates"),
        (two_stages(prefill_micro_batch=3), "not among the candidates"),
        (replace(two_stages(), stages=()), "no stages"),
        (
            replace(two_stages(), stages=(Stage(group=0, first_layer=1, formats=(0, 0, 0)),)),
            "must start at layer 0",
        ),
        (
            replace(two_stages(), stages=(Stage(group=9, first_layer=0, formats=(0,) * 4),)),
            "group 9 does not exist",
        ),
        (
            replace(
                two_stages(),
                stages=tuple(Stage(group=0, first_layer=2 * j, formats=(0, 0)) for j in range(2)),
            ),
            "uses 2 GPUs of gpu0; 1 may be used",
        ),
    ],
)
def test_malformed_plans_are_refused(problem, plan, words):
    with pytest.raises(InputError, match=words):
        evaluate(problem, plan)


def test_every_broken_limit_is_told(problem):
    tight = replace(
        problem, devices=tuple(replace(d, memory_bytes=15.0, min_used=1) for d in problem.devices)
    )
    limits = Limits(
        ttft_s=1, tpot_s=0.1, latency_s=1, loss_nats=0.001, price_usd_per_hour=0, gpus=1, stages=1
    )
    values = evaluate(tight, two_stages(formats=(1, 1, 0, 0)))
    broken = {v.limit for v in violations(tight, values, limits)}
    assert broken == {"memory", "ttft_s", "tpot_s", "latency_s", "loss_nats", "gpus", "stages"}


def test_excess_is_a_share_of_the_limit(problem):
    """Half as much again to the first token; 0.01 nats where none are allowed, in 0.001 nats."""
    values = evaluate(problem, two_stages(formats=(1, 0, 0, 0)))
    broken = violations(problem, values, Limits(ttft_s=values.ttft_s / 1.5, loss_nats=0.0))
    assert [each.excess for each in broken] == pytest.approx([0.5, 10.0])


def test_a_limit_met_to_the_last_digit_is_kept(problem):
    values = evaluate(problem, two_stages())
    exact = Limits(ttft_s=values.ttft_s, tpot_s=values.tpot_s, latency_s=values.latency_s, gpus=2)
    assert violations(problem, values, exact) == ()
