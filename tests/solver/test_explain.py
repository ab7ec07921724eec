"""What binds, what sets the pace, and why GPUs are free, on problems worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from solver import (
    Limits,
    Objective,
    StopRule,
    WhyFree,
    binding_limits,
    evaluate,
    free_gpus,
    pace_of,
    solve,
)
from solver.objective import Goal
from tests.solver.hand_made import pipeline

EXACT = StopRule(gap=0.0)


def binding(problem, limits, goal=Goal.LATENCY):
    report = solve(problem, objective=Objective(goal=goal), limits=limits, stop=EXACT)
    return binding_limits(problem, limits, report.plan, report.evaluation)


def why(problem, limits=None, gap=0.01):
    """Reason by device class, for the best plan at a gap of choice."""
    limits = limits or Limits()
    evaluation = solve(problem, limits=limits, stop=EXACT).evaluation
    return {
        problem.devices[free.device].name: free.why
        for free in free_gpus(problem, limits, evaluation, gap)
    }


def test_quality_binds_while_a_faster_format_is_out_of_reach():
    """Each layer in w8 costs 0.01 nats: of 0.025 two are taken, and a third does not fit."""
    problem = pipeline(speeds=(1.0,))
    assert binding(problem, Limits(loss_nats=0.025)) == {"loss_nats"}
    assert binding(problem, Limits(loss_nats=0.04)) == frozenset()  # all four are in w8
    assert binding(problem, Limits(loss_nats=0.02)) == {"loss_nats"}


def test_numbers_bind_where_they_are_reached():
    """Four micro-batches want both GPUs; one alone is allowed."""
    problem = pipeline(batch=4)
    assert binding(problem, Limits(gpus=1)) == {"gpus"}
    assert binding(problem, Limits(gpus=2, stages=2)) == {"gpus", "stages"}
    assert binding(pipeline(), Limits(min_stages=2)) == {"min_stages"}


def test_times_bind_within_a_thousandth():
    """The cheapest plan is as slow as the limit lets it be: 2 s on the fast GPU."""
    problem = pipeline(speeds=(1.0, 0.5), prices=(3.0, 1.0))
    assert binding(problem, Limits(latency_s=2.001), Goal.PRICE) == {"latency_s"}
    assert binding(problem, Limits(latency_s=2.1), Goal.PRICE) == frozenset()


def test_price_binds_while_a_free_gpu_is_beyond_it():
    """3 USD are rented; the other GPU would add 1."""
    problem = pipeline(speeds=(1.0, 0.01), prices=(3.0, 1.0))
    assert binding(problem, Limits(price_usd_per_hour=3.5)) == {"price_usd_per_hour"}
    assert binding(problem, Limits(price_usd_per_hour=4.0)) == frozenset()


def test_pace_of_two_stages():
    """Three layers on two GPUs: stages of 1 and 0.5 s, the slower one twice as long."""
    problem = pipeline(num_layers=3, batch=8, output_tokens=3)
    pace = pace_of(solve(problem, stop=EXACT).evaluation)
    assert pace["prefill"].lead == pytest.approx(0.5)
    assert pace["prefill"].share + pace["decode"].share == pytest.approx(1)
    assert pace["prefill"].share > 0.5  # 8.5 s of prefill, two rounds of about 0.8 s


def test_one_stage_has_no_lead():
    pace = pace_of(solve(pipeline(speeds=(1.0,)), stop=EXACT).evaluation)
    assert (pace["prefill"].share, pace["prefill"].lead) == (1.0, 0.0)


def test_free_gpus_are_explained_by_what_is_proven():
    """The bound speaks of all plans, those with the free GPU among them."""
    problem = pipeline(speeds=(1.0, 0.01), prices=(3.0, 1.0))
    assert why(problem) == {"gpu1": WhyFree.BOUND}
    assert why(problem, gap=0.0) == {"gpu1": WhyFree.OPTIMAL}
    assert why(problem, gap=None) == {"gpu1": WhyFree.UNKNOWN}
    assert why(problem, Limits(gpus=1)) == {"gpu1": WhyFree.GPU_LIMIT}
    assert why(problem, Limits(price_usd_per_hour=3.5)) == {"gpu1": WhyFree.PRICE_LIMIT}


def test_gpu_without_format_or_room_is_told_as_such():
    """No kernel on the second GPU; or 4 bytes where the smallest layer has 5."""
    problem = pipeline(speeds=(1.0, 2.0))
    formats = np.array([[True, True], [False, False]])
    assert why(replace(problem, group_formats=formats)) == {"gpu1": WhyFree.NO_FORMAT}
    small = (problem.devices[0], replace(problem.devices[1], memory_bytes=4.0))
    assert why(replace(problem, devices=small)) == {"gpu1": WhyFree.TOO_SMALL}


def test_nothing_is_free_where_all_are_used():
    problem = pipeline(batch=4)
    report = solve(problem, stop=EXACT)
    assert free_gpus(problem, Limits(), evaluate(problem, report.plan), report.gap) == ()
