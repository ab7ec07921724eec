"""The search against the integer program of every pair, solved as it is stated."""

import numpy as np
import pytest

from solver import Goal, Limits, Objective, Status, StopRule, solve
from solver.backends.highs import HighsBackend
from solver.formulation import formulate
from solver.instance import Instance
from solver.linear import BackendStop, Effort
from solver.target import Target
from tests.solver.random_problems import random_problem

EFFORT = Effort(gap=1e-9, time_s=300.0, seed=0)
SMALL = {"most_gpus": 4, "most_layers": 6}
WHOLE = {"most_gpus": 5, "most_layers": 8}
GOALS = (Goal.LATENCY, Goal.THROUGHPUT, Goal.TTFT, Goal.TPOT, Goal.LATENCY_AND_QUALITY)


def least_of_all_pairs(problem, objective, limits) -> float:
    """No order, no bound, no window, no box: one plain integer program a pair."""
    target, values = Target(objective=objective), []
    for batch in problem.batches:
        for prefill in batch.prefill:
            for decode in batch.decode:
                instance = Instance(problem=problem, batch=batch, prefill=prefill, decode=decode)
                form = formulate(instance, limits)
                goal = target.linear(form, 0.0)
                result = HighsBackend().solve(form.model(goal.expression), EFFORT)
                found = result.stop is not BackendStop.INFEASIBLE
                values.append(goal.value(result.bound) if found else np.inf)
    return min(values)


def _case(seed, most_gpus, most_layers):
    rng = np.random.default_rng(seed)
    problem = random_problem(
        seed,
        tensor_parallel=True,
        ragged=seed % 4 == 0,
        num_gpus=int(rng.integers(4, most_gpus + 1)),
        num_layers=int(rng.integers(5, most_layers + 1)),
    )
    goal = GOALS[seed % len(GOALS)]
    theta = 30.0 if goal is Goal.LATENCY_AND_QUALITY else 0.0
    middle = float(problem.loss_nats.mean(axis=1).sum())
    limits = Limits(loss_nats=middle if rng.random() < 0.7 else None)
    return problem, Objective(goal=goal, theta_s_per_nat=theta), limits


def _agrees(seed, size):
    problem, objective, limits = _case(seed, **size)
    report = solve(
        problem, objective=objective, limits=limits, stop=StopRule(gap=0.0, time_limit_s=300)
    )
    least = least_of_all_pairs(problem, objective, limits)
    if least == np.inf:
        assert report.status is Status.INFEASIBLE
        return
    value = 1 / report.objective if objective.goal.maximise else report.objective
    assert report.status is Status.OPTIMAL
    assert value == pytest.approx(least, rel=2e-6)


def _is_honest(seed, size, gaps):
    """A plan within the gap asked for, and no plan below the bound."""
    problem, objective, limits = _case(seed, **size)
    least = least_of_all_pairs(problem, objective, limits)
    for gap in gaps:
        report = solve(problem, objective=objective, limits=limits, stop=StopRule(gap=gap))
        if least == np.inf:
            assert report.status is Status.INFEASIBLE
            continue
        value, bound = report.objective, report.bound
        if objective.goal.maximise:
            value, bound = 1 / value, 1 / bound
        assert bound <= least * (1 + 1e-6)
        assert value >= least * (1 - 1e-6)
        assert report.gap <= gap * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(2400, 2408))
def test_a_bound_is_never_better_than_the_best_plan(seed):
    _is_honest(seed, SMALL, [0.003, 0.2])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2408, 2488))
def test_a_bound_is_never_better_than_the_best_plan_at_scale(seed):
    _is_honest(seed, WHOLE, [0.001, 0.01, 0.1])


@pytest.mark.parametrize("seed", range(2000, 2008))
def test_the_search_finds_what_the_integer_programs_find(seed):
    _agrees(seed, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2008, 2320))
def test_the_search_finds_what_the_integer_programs_find_at_scale(seed):
    _agrees(seed, WHOLE if seed % 4 == 0 else SMALL)
