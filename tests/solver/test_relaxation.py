"""Bounds that order the search: pooled slots, the merged form, closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from solver import Limits, Objective, StopRule, solve
from solver.backends.highs import HighsBackend
from solver.formulation import formulate
from solver.instance import Instance
from solver.linear import BackendStop, Effort
from solver.quick import LeastTimes, may_fit
from solver.target import Target
from tests.solver.hand_made import pipeline
from tests.solver.random_problems import random_problem

EFFORT = Effort(gap=0.0, time_s=60.0, seed=0)


def relaxed(instance, **form) -> float:
    built = formulate(instance, Limits(), **form)
    goal = Target(objective=Objective()).linear(built, 0.0)
    result = HighsBackend().relax(built.model(goal.expression), EFFORT)
    return np.inf if result.stop is BackendStop.INFEASIBLE else goal.value(result.bound)


def drawn(seed):
    return random_problem(seed, tensor_parallel=seed % 2 == 0, ragged=seed % 3 == 0)


def instances(seed):
    problem = drawn(seed)
    batch = problem.batches[0]
    return [
        Instance(problem=problem, batch=batch, prefill=p, decode=d)
        for p in batch.prefill
        for d in batch.decode
    ]


@pytest.mark.parametrize("seed", range(500, 530))
def test_pooled_slots_have_the_relaxation_of_single_ones(seed):
    for instance in instances(seed):
        single, pooled = relaxed(instance), relaxed(instance, pooled=True)
        assert pooled == pytest.approx(single, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("seed", range(500, 530))
def test_every_relaxation_is_below_the_optimum(seed):
    problem = drawn(seed)
    for instance in instances(seed):
        pair = replace(instance.batch, prefill=(instance.prefill,), decode=(instance.decode,))
        report = solve(replace(problem, batches=(pair,)), stop=StopRule(gap=0.0))
        best = np.inf if report.plan is None else report.objective * (1 + 1e-9)
        assert relaxed(instance) <= best
        assert relaxed(instance, merged=True, pooled=True) <= best
        assert LeastTimes.of(problem, Limits()).bounds(instance).latency_s <= best
        assert may_fit(instance) or report.plan is None


def test_memory_that_is_short_for_all_layers_together_is_seen_at_once():
    """Four layers of 5 bytes at least on two GPUs of 9 or 11 bytes."""
    for memory, fits in ((9.0, False), (11.0, True)):
        problem = pipeline(memory=memory)
        instance = Instance(problem=problem, batch=problem.batches[0], prefill=0, decode=0)
        assert may_fit(instance) is fits


def test_stages_held_fixed_keep_to_memory():
    """A GPU of 25 bytes takes two layers of 10 bytes or four of 5, also where four are held."""
    problem = pipeline(memory=25.0)
    instance = Instance(problem=problem, batch=problem.batches[0], prefill=0, decode=0)
    form = formulate(instance, Limits(), stages=[(0, 4)])
    upper = {key: form.builder.upper[column] for key, column in form.columns.count.items()}
    assert upper == {(0, 0, 0): 2, (0, 0, 1): 4}
