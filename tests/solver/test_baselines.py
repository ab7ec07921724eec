"""The even split is the best of its kind."""

from itertools import product

import pytest

from solver import Limits, Objective, Plan, Stage, evaluate, even_split, violations
from tests.solver.hand_made import pipeline
from tests.solver.random_problems import random_problem


def test_extra_layers_go_before_the_last_stage():
    """Seven layers on three GPUs: 2, 3, 2, as vLLM splits them."""
    plan, _ = even_split(pipeline(speeds=(1, 1, 1), num_layers=7), Limits(), Objective())
    assert [len(stage.formats) for stage in plan.stages] == [2, 3, 2]


def test_no_more_stages_than_layers():
    plan, _ = even_split(pipeline(speeds=(1, 1, 1), num_layers=2), Limits(), Objective())
    assert [len(stage.formats) for stage in plan.stages] == [1, 1]


def test_there_may_be_none():
    assert even_split(pipeline(memory=1.0), Limits(), Objective()) is None


@pytest.mark.parametrize("seed", range(40))
def test_no_pair_of_micro_batches_is_better(seed):
    problem = random_problem(seed)
    found = even_split(problem, Limits(), Objective())
    single = [g for g, group in enumerate(problem.groups) if group.tensor_parallel == 1]
    order = [g for g in single for _ in range(problem.devices[problem.groups[g].device].count)]
    if len(order) < problem.num_layers:
        return
    latencies = []
    for batch, fmt in product(problem.batches, range(3)):
        stages = tuple(
            Stage(group=g, first_layer=i, formats=(fmt,))
            for i, g in enumerate(order[: problem.num_layers])
        )
        if not all(problem.allowed(s.group, s.first_layer)[fmt] for s in stages):
            continue
        for prefill, decode in product(batch.prefill, batch.decode):
            plan = Plan(
                batch_size=batch.size,
                prefill_micro_batch=int(problem.micro_batches[prefill]),
                decode_micro_batch=int(problem.micro_batches[decode]),
                stages=stages,
            )
            values = evaluate(problem, plan)
            if not violations(problem, values, Limits()):
                latencies.append(values.latency_s)
    assert (found is None) == (not latencies)
    if found is not None:
        assert found[1].latency_s == pytest.approx(min(latencies))
