"""Pareto sets against every plan of small problems, and by hand."""

from itertools import combinations

import numpy as np
import pytest

from profiles.errors import InputError
from solver import (
    PARETO_GOALS,
    Goal,
    Limits,
    ParetoSet,
    Status,
    StopReason,
    StopRule,
    evaluate,
    pareto,
    violations,
)
from solver.result import OPTIMAL_GAP
from tests.solver.brute_force import all_values
from tests.solver.random_problems import random_problem

# A clock must not decide: the tests may run beside others.
EXACT, COARSE = StopRule(gap=0.0, time_limit_s=3600), StopRule(gap=1e-3, time_limit_s=3600)
# Among values of about 0.01 to 100: what proofs to 1e-6 and limits kept to 1e-7 may add up to, and
# the tolerance of quality loss.
NEAR, NATS = 1e-5, 3e-6
QUICK_TWO, QUICK_THREE = (0, 3, 4, 8, 9, 10), (0, 6, 9)


def minimised(found: ParetoSet, values: tuple[float, ...]) -> np.ndarray:
    """Values as they are minimised: throughput as seconds per token."""
    return np.array(
        [1 / v if a.goal.maximise else v for a, v in zip(found.axes, values, strict=True)]
    )


def check_against_all_plans(problem, goals, limits=None, points=6, stop=EXACT) -> ParetoSet:
    """
    Every enumerated plan is covered to the resolution; no shown one is beaten by any.

    With a gap, by none that is better than the bounds of the point.
    """
    limits = limits or Limits()
    found = pareto(problem, goals, limits=limits, stop=stop, points=points)
    every = all_values(problem, goals, limits)
    assert found.is_complete
    assert found.is_infeasible == (len(every) == 0)
    assert bool(found.points) == (len(every) > 0)
    near = np.array([NATS if a.goal is Goal.QUALITY_LOSS else 0.0 for a in found.axes])
    covered = np.zeros(len(every), dtype=bool)
    steps = np.array([axis.step for axis in found.axes])
    gaps = np.array([stop.gap if axis.step == 0 else 0.0 for axis in found.axes])
    assert all(0 <= axis.share <= 1 for axis in found.axes)
    for point in found.points:
        values, bounds = minimised(found, point.values), minimised(found, point.bounds)
        assert not violations(problem, evaluate(problem, point.plan), limits)
        slack = near + NEAR * np.abs(values)
        covered |= (values * (1 - gaps) <= every + steps + slack).all(axis=1)
        no_worse = (every <= values * (1 + 1e-10)).all(axis=1)
        least = values if stop is EXACT else bounds
        assert not (no_worse & (every < least - slack).any(axis=1)).any()
    assert covered.all()
    return found


def goals_of(seed: int, count: int) -> tuple[Goal, ...]:
    """Sets of goals one after the other, latency and throughput never together."""
    sets = [
        chosen
        for chosen in combinations(PARETO_GOALS, count)
        if not {Goal.LATENCY, Goal.THROUGHPUT} <= set(chosen)
    ]
    return sets[seed % len(sets)]


def two(seed: int, points: int = 6) -> None:
    """One problem with two objectives."""
    problem = random_problem(seed, num_layers=1 + seed % 3)
    check_against_all_plans(problem, goals_of(seed, 2), points=points)


def three(seed: int) -> None:
    """One problem with three objectives."""
    problem = random_problem(seed, num_layers=1 + seed % 3, num_gpus=1 + seed % 2)
    check_against_all_plans(problem, goals_of(seed, 3), points=10)


@pytest.mark.parametrize("seed", QUICK_TWO)
def test_two_objectives_agree_with_enumeration(seed):
    two(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted(set(range(40)) - set(QUICK_TWO)))
def test_two_objectives_agree_with_enumeration_at_scale(seed):
    two(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 50))
def test_two_objectives_agree_with_enumeration_in_small_steps(seed):
    two(seed, points=40)


@pytest.mark.parametrize("seed", QUICK_THREE)
def test_three_objectives_agree_with_enumeration(seed):
    three(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted(set(range(20)) - set(QUICK_THREE)))
def test_three_objectives_agree_with_enumeration_at_scale(seed):
    three(seed)


def coarse(seed: int) -> None:
    """Latency against quality loss at a gap: the steps are proven together."""
    problem = random_problem(seed, num_layers=3)
    goals = (Goal.LATENCY, Goal.QUALITY_LOSS)
    found = check_against_all_plans(problem, goals, points=8, stop=COARSE)
    assert all(point.gaps[0] <= COARSE.gap * (1 + NEAR) for point in found.points)


@pytest.mark.parametrize("seed", [2])
def test_a_gap_is_kept_at_every_point(seed):
    coarse(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *range(3, 30)])
def test_a_gap_is_kept_at_every_point_at_scale(seed):
    coarse(seed)


def test_limits_hold_for_every_point():
    """Two GPUs at most: as if the third were not there."""
    problem = random_problem(8, num_layers=2, num_gpus=3)
    check_against_all_plans(problem, (Goal.TTFT, Goal.QUALITY_LOSS), Limits(gpus=2))


def test_named_points_are_the_best_of_their_kind():
    found = pareto(random_problem(3, num_layers=2), (Goal.LATENCY, Goal.QUALITY_LOSS), stop=EXACT)
    views = {view.name: found.points[view.point] for view in found.views}
    assert set(views) == {"fastest", "best quality", "balanced"}
    for name, column in (("fastest", 0), ("best quality", 1)):
        assert views[name].values[column] == min(point.values[column] for point in found.points)


def test_points_come_in_the_order_of_the_goals_asked_for():
    """Turned around, the same points the other way up."""
    problem = random_problem(3, num_layers=2)
    goals = (Goal.LATENCY, Goal.QUALITY_LOSS)
    here = pareto(problem, goals, stop=EXACT, points=6)
    there = pareto(problem, goals[::-1], stop=EXACT, points=6)
    assert [point.plan for point in here.points] == [p.plan for p in there.points][::-1]
    assert all(point.status is Status.OPTIMAL for point in here.points)
    assert max(gap for point in here.points for gap in point.gaps[:1]) <= OPTIMAL_GAP


def test_a_cancelled_set_does_not_claim_to_be_complete():
    found = pareto(
        random_problem(3, num_layers=2),
        (Goal.LATENCY, Goal.QUALITY_LOSS),
        cancelled=lambda: True,
    )
    assert not found.is_complete
    assert not found.is_infeasible
    assert found.stop_reason is StopReason.CANCELLED


@pytest.mark.parametrize(
    ("goals", "points", "word"),
    [
        ((Goal.LATENCY,), 20, "two or three"),
        ((Goal.LATENCY, Goal.LATENCY), 20, "two or three"),
        ((Goal.LATENCY, Goal.STAGES), 20, "'stages'"),
        ((Goal.LATENCY, Goal.GPUS), 1, "points is 1"),
    ],
)
def test_what_makes_no_set_is_refused(goals, points, word):
    with pytest.raises(InputError, match=word):
        pareto(random_problem(3), goals, points=points)


def test_latency_and_throughput_are_one_objective_for_one_batch_size():
    problem = next(p for p in map(random_problem, range(20)) if len(p.batches) == 1)
    with pytest.raises(InputError, match="one objective"):
        pareto(problem, (Goal.LATENCY, Goal.THROUGHPUT))
