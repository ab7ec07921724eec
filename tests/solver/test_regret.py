"""Whether a plan stays best in tables drawn from their error."""

from dataclasses import replace
from math import log, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from cost_model.uncertainty import ErrorTerm
from solver import Limits, Objective, RegretRule, StopRule, evaluate, regret, solve
from solver.objective import Goal
from solver.regret import binomial_interval, perturbed
from tests.solver.hand_made import pipeline


def term(problem, phase, sigma, groups=None, *, is_known=True):
    """One factor for all formats of some groups."""
    chosen = np.zeros(len(problem.groups), dtype=bool)
    chosen[slice(None) if groups is None else groups] = True
    cells = np.tile(chosen[:, None], (1, len(problem.format_names)))
    return ErrorTerm(
        name="t", phase=phase, sigma=sigma, is_known=is_known, cells=cells, ends=chosen
    )


def best_of(problem, **asked):
    return solve(problem, stop=StopRule(gap=0), **asked).plan


@pytest.fixture
def two_plans():
    """One layer and two GPUs, the second 1 % faster: it runs the layer."""
    return pipeline(speeds=(1.0, 1.01), num_layers=1)


def test_without_error_the_plan_stays_best():
    problem = pipeline(speeds=(1.0, 2.0), num_layers=3, batch=4, micro_batches=(1, 2, 4))
    found = regret(problem, best_of(problem), [], rule=RegretRule(samples=3))
    assert (found.within, found.beyond, found.undecided, found.samples) == (3, 0, 0, 3)
    assert found.share_high == 1.0
    assert found.median_low == found.p95_low == 0.0
    assert found.p95_high <= 0.01
    assert found.best_share == 1.0
    assert found.rival is None


def test_a_factor_on_all_times_changes_nothing():
    """Were everything twice as slow, the same plan would be best."""
    problem = pipeline(speeds=(1.0, 2.0), num_layers=3)
    terms = [term(problem, "prefill", 0.5), term(problem, "decode", 0.5)]
    found = regret(problem, best_of(problem), terms, rule=RegretRule(samples=5))
    assert found.within == 5
    assert found.p95_low == pytest.approx(0.0, abs=1e-9)


def test_the_share_is_that_of_a_known_crossing(two_plans):
    """
    Within 2 % while exp(s z1) / 1.01 <= 1.02 exp(s z0), z1 - z0 <= ln(1.02 x 1.01) / s: for
    s = 0.1, at standard deviation sqrt(2), in 58 % of the draws.
    """
    sigma = 0.1
    expected = NormalDist().cdf(log(1.02 * 1.01) / (sigma * sqrt(2)))
    assert expected == pytest.approx(0.583, abs=1e-3)
    terms = [term(two_plans, "prefill", sigma, group) for group in (0, 1)]
    plan = best_of(two_plans)
    found = regret(two_plans, plan, terms, rule=RegretRule(samples=300, seed=3))
    assert found.undecided == 0
    assert found.within + found.beyond == found.samples == 300
    assert found.share_low <= expected <= found.share_high
    assert found.share_high - found.share_low < 0.12
    assert found.best_share <= found.within / 300


def test_a_plan_that_is_best_more_often_is_named(two_plans):
    """The plan on the slower GPU, judged: the other one is best more often."""
    plan = best_of(two_plans)
    slower = replace(plan, stages=(replace(plan.stages[0], group=0),))
    terms = [term(two_plans, "prefill", 0.01, group) for group in (0, 1)]
    found = regret(two_plans, slower, terms, rule=RegretRule(samples=60))
    assert found.rival is not None
    assert found.rival.plan == plan
    assert found.rival.best_share > found.best_share
    assert found.rival.value == pytest.approx(evaluate(two_plans, plan).latency_s)


def test_the_same_seed_draws_the_same_tables(two_plans):
    terms = [term(two_plans, "prefill", 0.05, group) for group in (0, 1)]
    plan = best_of(two_plans)

    def drawn(seed):
        found = regret(two_plans, plan, terms, rule=RegretRule(samples=20, seed=seed))
        return replace(found, runtime_s=0.0)

    assert drawn(1) == drawn(1)
    assert drawn(1).p95_high != drawn(2).p95_high


def test_a_broken_limit_is_not_within(two_plans):
    """At a limit 1 % above the plan's TTFT, about half of the tables break it."""
    plan = best_of(two_plans)
    limits = Limits(ttft_s=1.01 * evaluate(two_plans, plan).ttft_s)
    terms = [term(two_plans, "prefill", 0.2, group) for group in (0, 1)]
    found = regret(two_plans, plan, terms, limits=limits, rule=RegretRule(samples=40))
    assert 5 < found.broken < 35
    assert found.beyond >= found.broken
    assert found.within + found.beyond + found.undecided == 40


def test_goals_to_maximise_are_judged_alike(two_plans):
    terms = [term(two_plans, "prefill", 0.05, group) for group in (0, 1)]
    plan, rule = best_of(two_plans), RegretRule(samples=20)
    latency = regret(two_plans, plan, terms, rule=rule)
    goal = Objective(goal=Goal.THROUGHPUT)
    throughput = regret(two_plans, plan, terms, objective=goal, rule=rule)
    assert throughput.within == latency.within
    assert throughput.p95_low == pytest.approx(latency.p95_low)


def test_time_that_runs_out_is_told(two_plans):
    found = regret(two_plans, best_of(two_plans), [], rule=RegretRule(samples=9, time_limit_s=1e-9))
    assert (found.samples, found.asked) == (0, 9)
    assert (found.share_low, found.share_high) == (0.0, 1.0)
    plan = best_of(two_plans)
    assert regret(two_plans, plan, [], cancelled=lambda: True).samples == 0


def test_a_draw_multiplies_what_its_term_names(two_plans):
    """One standard deviation of 0.1 more on the second GPU: exp(0.1), in prefill alone."""
    problem = replace(two_plans, head_prefill_s=np.ones((2, 1)))
    drawn = perturbed(problem, [term(problem, "prefill", 0.1, 1)], np.array([1.0]))
    ratio = drawn.prefill_s / problem.prefill_s
    np.testing.assert_allclose(ratio[0], 1.0)
    np.testing.assert_allclose(ratio[1], np.exp(0.1))
    np.testing.assert_allclose(drawn.head_prefill_s[:, 0], [1.0, np.exp(0.1)])
    np.testing.assert_array_equal(drawn.decode_s, problem.decode_s)


def test_wilson_interval_of_ten_in_twenty():
    """Centre 1/2, half-width 1.96 / (1 + z2/20) sqrt(1/80 + z2/1600) = 0.2007."""
    assert binomial_interval(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert binomial_interval(0, 10)[0] == 0.0
    assert binomial_interval(10, 10)[1] == pytest.approx(1.0)
