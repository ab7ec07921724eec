"""Bounds by phase, by intervals of pace and by whole numbers of layers."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from solver import Goal, Limits, Objective, StopRule, solve
from solver.backends.highs import HighsBackend
from solver.capacity import most_layers, most_layers_of_kind
from solver.formulation import formulate
from solver.instance import ANYTHING, Instance, Interval
from solver.linear import BackendStop, Effort
from solver.paces import enclose, halve
from solver.phases import PhaseBounds
from solver.target import Target
from tests.solver.brute_force import best_plan
from tests.solver.hand_made import pipeline
from tests.solver.random_problems import random_problem

EFFORT = Effort(gap=1e-9, time_s=60.0, seed=0)
LATENCY = Target(objective=Objective())


def least(form, expression) -> float:
    result = HighsBackend().relax(form.model(expression), EFFORT)
    return np.inf if result.stop is BackendStop.INFEASIBLE else result.bound


def instances(problem):
    for batch in problem.batches:
        for prefill, decode in product(batch.prefill, batch.decode):
            yield Instance(problem=problem, batch=batch, prefill=prefill, decode=decode)


def best_of(instance) -> float:
    pair = replace(instance.batch, prefill=(instance.prefill,), decode=(instance.decode,))
    report = solve(replace(instance.problem, batches=(pair,)), stop=StopRule(gap=0.0))
    return np.inf if report.plan is None else report.objective


def test_a_stage_holds_whole_layers_only():
    """2.9 s at 1 s a layer: two layers, or three at 0.9 s; one less beside 1 s of embedding."""
    base = pipeline(memory=1e9)
    problem = replace(
        base,
        prefill_s=np.broadcast_to(np.array([1.0, 0.9])[:, None, None], base.prefill_s.shape),
        embedding_prefill_s=np.ones_like(base.embedding_prefill_s),
    )
    instance = Instance(
        problem=problem,
        batch=problem.batches[0],
        prefill=0,
        decode=0,
        prefill_pace=Interval(high=2.9),
    )
    assert most_layers(instance).tolist() == [3] * len(problem.groups)
    assert most_layers_of_kind(instance).tolist() == [[3]] * len(problem.groups)
    assert most_layers(instance, (True, False)).tolist() == [2] * len(problem.groups)


@pytest.mark.parametrize("seed", range(700, 730))
def test_no_mix_of_formats_and_kinds_holds_more_layers(seed):
    problem = random_problem(seed, tensor_parallel=True, num_layers=6)
    rng = np.random.default_rng(seed)
    instance = next(instances(problem))
    a = problem.prefill_s[..., instance.prefill]
    d = problem.decode_s[..., instance.decode]
    instance = replace(
        instance,
        prefill_pace=Interval(high=float(a.mean() * rng.uniform(1, 5))),
        decode_pace=Interval(high=float(d.mean() * rng.uniform(1, 5))),
    )
    costs = np.stack([a, d, instance.layer_bytes])
    room = np.array([instance.prefill_pace.high, instance.decode_pace.high, 0.0])
    for g in range(len(problem.groups)):
        allowed = np.flatnonzero(problem.group_formats[g])
        room[2] = max(instance.free_bytes[g], 0.0)
        by_kind = costs[:, g, allowed]
        for k in range(len(problem.kind_names)):
            assert _most(by_kind[:, :, k], room) <= most_layers_of_kind(instance)[g, k]
        assert _most(by_kind.reshape(3, -1), room) <= most_layers(instance)[g]


def _most(costs, room) -> int:
    """Most things of the given costs, shape (3, things), within the room; 6 at most are tried."""
    mixes = np.array([n for n in product(range(7), repeat=costs.shape[1]) if sum(n) <= 6])
    fits = (mixes @ costs.T <= room).all(axis=1)
    return int(mixes[fits].sum(axis=1).max())


@pytest.mark.parametrize("seed", range(740, 765))
def test_the_phases_apart_are_below_the_optimum(seed):
    problem = random_problem(seed, tensor_parallel=seed % 2 == 0, ragged=seed % 3 == 0)
    known = {}
    for goal in (Goal.LATENCY, Goal.TPOT):
        known[goal] = PhaseBounds(goal=goal, limits=Limits(), merged=False, relax=least)
    for instance in instances(problem):
        pair = replace(instance.batch, prefill=(instance.prefill,), decode=(instance.decode,))
        report = solve(replace(problem, batches=(pair,)), stop=StopRule(gap=0.0))
        if report.plan is not None:
            slack = 1 + 1e-7
            assert known[Goal.LATENCY].of(instance).latency_s <= report.objective * slack
            assert known[Goal.LATENCY].of(instance).ttft_s <= report.evaluation.ttft_s * slack
            assert known[Goal.TPOT].of(instance).tpot_s <= report.evaluation.tpot_s * slack


@pytest.mark.parametrize("seed", [4, 15, 17, 31, 43])
def test_paces_far_beyond_the_layers_are_not_bounded(seed):
    """Layers that take next to nothing beside embedding, head and links."""
    problem = random_problem(seed, ragged=True)
    problem = replace(problem, prefill_s=problem.prefill_s * 1e-9, decode_s=problem.decode_s * 1e-9)
    report, best = solve(problem, stop=StopRule(gap=0.0)), best_plan(problem, Objective(), Limits())
    assert (report.plan is None) == (best is None)
    if best is not None:
        assert report.bound <= best.value * (1 + 1e-6)


@pytest.mark.parametrize(
    "seed",
    [*(pytest.param(seed, marks=pytest.mark.slow) for seed in range(770, 783)), *range(783, 800)],
)
def test_the_optimum_lies_within_the_paces_that_a_cutoff_leaves(seed):
    """Also counted with equal stages together it is never missed, at either half or both."""
    problem = random_problem(seed, tensor_parallel=seed % 2 == 0, ragged=seed % 3 == 0)
    for instance in instances(problem):
        best = best_of(instance)
        if best == np.inf:
            continue
        form = formulate(instance, Limits(), pooled=True)
        goal = LATENCY.linear(form, 0.0)
        form.builder.row(goal.expression, upper=goal.inverse(best * (1 + 1e-6)))
        box = enclose(form, least)
        assert box is not None
        parts = halve(box, 0.01) or [box]
        assert min(_exact(part) for part in parts) == pytest.approx(best, rel=1e-6)
        assert min(_counted(part) for part in parts) <= best * (1 + 1e-6)


def _exact(instance) -> float:
    return _solved(formulate(instance, Limits()))


def _counted(instance) -> float:
    return _solved(formulate(instance, Limits(), merged=True, pooled=True))


def _solved(form) -> float:
    goal = LATENCY.linear(form, 0.0)
    result = HighsBackend().solve(form.model(goal.expression), EFFORT)
    return np.inf if result.stop is BackendStop.INFEASIBLE else goal.value(result.bound)


def test_paces_that_nothing_bounds_stay_open():
    """With one micro-batch the slowest stage costs nothing more, so a cutoff says little of it."""
    problem = pipeline()
    instance = next(instances(problem))
    assert instance.prefill_pace == ANYTHING
    assert halve(instance, 0.01) == []
