"""The solver against every plan of tiny problems."""

import numpy as np
import pytest

from solver import Goal, Limits, Objective, Status, StopRule, evaluate, score, solve, violations
from tests.solver.brute_force import best_plan
from tests.solver.random_problems import random_problem

EXACT = StopRule(gap=0.0, time_limit_s=120)
GOALS = list(Goal)


def _case(seed: int, *, tensor_parallel: bool, ragged: bool):
    problem = random_problem(seed, tensor_parallel=tensor_parallel, ragged=ragged)
    goal = GOALS[seed % len(GOALS)]
    theta = 30.0 if goal is Goal.LATENCY_AND_QUALITY else 0.0
    objective = Objective(goal=goal, theta_s_per_nat=theta)
    return problem, objective, _some_limits(seed, problem)


def _some_limits(seed, problem):
    """Limits near the values of the fastest plan, so that some bind and some make it infeasible."""
    rng = np.random.default_rng(seed + 10**6)
    free = solve(problem, stop=StopRule(gap=0.05)).evaluation
    if free is None or rng.random() < 0.3:
        return Limits()
    chosen = {}
    for name in ("ttft_s", "tpot_s", "latency_s", "loss_nats", "price_usd_per_hour"):
        if rng.random() < 0.3:
            chosen[name] = float(getattr(free, name) * rng.uniform(0.8, 1.6)) + 1e-3
    if rng.random() < 0.2:
        chosen["gpus"] = int(rng.integers(1, 4))
    if rng.random() < 0.2:
        chosen["stages"] = int(rng.integers(1, 3))
    if rng.random() < 0.1:
        chosen["min_stages"] = min(2, chosen.get("stages", 2))
    return Limits(**chosen)


def _agrees(seed: int, *, tensor_parallel: bool = False, ragged: bool = False):
    problem, objective, limits = _case(seed, tensor_parallel=tensor_parallel, ragged=ragged)
    report = solve(problem, objective=objective, limits=limits, stop=EXACT)
    best = best_plan(problem, objective, limits)
    if best is None:
        assert report.status is Status.INFEASIBLE
        assert report.plan is None
        return
    value = report.objective if not objective.goal.maximise else 1 / report.objective
    tolerance = 1e-6 if objective.goal is Goal.QUALITY_LOSS else 0.0
    assert value == pytest.approx(best.value, rel=1e-6, abs=max(tolerance, 1e-12))
    assert report.status is Status.OPTIMAL or tolerance
    values = evaluate(problem, report.plan)
    assert not violations(problem, values, limits)
    assert score(values, objective) == report.objective
    if objective.goal.ties_massively and not tolerance:
        assert values.latency_s == pytest.approx(best.latency_s, rel=1e-6)


@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_brute_force(seed):
    _agrees(seed)


@pytest.mark.parametrize("seed", range(400, 430))
def test_agrees_with_brute_force_where_the_last_micro_batch_is_smaller(seed):
    _agrees(seed, ragged=True)


@pytest.mark.parametrize("seed", range(60, 90))
def test_agrees_with_brute_force_with_tensor_parallel_groups(seed):
    _agrees(seed, tensor_parallel=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_agrees_with_brute_force_at_scale(seed):
    _agrees(seed, tensor_parallel=seed % 3 == 0, ragged=seed % 4 == 0)
