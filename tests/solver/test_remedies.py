"""Why there is no plan, and what would help."""

from dataclasses import replace

import numpy as np
import pytest

from solver import Limits, Status, StopRule, solve
from tests.solver.hand_made import only_w16, pipeline

EXACT = StopRule(gap=0.0, time_limit_s=60)


def infeasible(problem, **limits):
    report = solve(problem, limits=Limits(**limits), stop=EXACT)
    assert report.status is Status.INFEASIBLE
    return {remedy.limit: remedy for remedy in report.remedies}


def test_memory_that_is_missing_is_counted():
    """Four layers of 5 bytes at the fewest bits on GPUs of 7 bytes: one each fits, two do not."""
    remedies = infeasible(pipeline(memory=7.0))
    assert remedies["memory"].needed - remedies["memory"].asked == pytest.approx(20 - 14, rel=1e-3)
    assert "gpu0" in remedies["memory"].text


def test_the_best_ttft_is_named():
    """4 layers at 0.5 s on one GPU."""
    remedies = infeasible(pipeline(), ttft_s=1.0)
    assert remedies["ttft_s"].needed == pytest.approx(2.0, rel=1e-3)
    assert "2000.0 ms" in remedies["ttft_s"].text


def test_a_quality_limit_can_be_what_memory_lacks():
    """10 bytes each do not fit, 5 do, at a loss of 0.04."""
    remedies = infeasible(pipeline(memory=10.0), loss_nats=0.0)
    assert list(remedies)[-1] == "memory"  # which takes longest to tell
    assert remedies["loss_nats"].needed == pytest.approx(0.04, rel=1e-3)
    assert remedies["memory"].needed - remedies["memory"].asked == pytest.approx(40 - 20)


def test_limits_that_contradict_each_other_are_each_told_their_best():
    """Fast needs the dear GPU, cheap forbids it; either alone can be had."""
    problem = only_w16(pipeline(speeds=(1.0, 4.0), prices=(1.0, 9.0)))
    remedies = infeasible(problem, ttft_s=1.5, price_usd_per_hour=2.0)
    assert remedies["ttft_s"].needed == pytest.approx(4.0, rel=1e-3)
    assert remedies["price_usd_per_hour"].needed == pytest.approx(9.0, rel=1e-3)


def test_three_limits_of_which_none_helps_alone():
    problem = only_w16(pipeline(speeds=(1.0, 4.0), prices=(1.0, 9.0)))
    remedies = infeasible(problem, ttft_s=0.1, tpot_s=0.0, price_usd_per_hour=0.5)
    assert remedies["ttft_s"].needed == pytest.approx(1.0, rel=1e-3)
    assert "without the other limits" in remedies["ttft_s"].text


def test_forced_gpus_are_named():
    problem = pipeline(speeds=(1.0, 1.0), num_layers=1)
    forced = replace(problem, devices=tuple(replace(d, min_used=1) for d in problem.devices))
    assert "min_used" in infeasible(forced)


def test_too_many_stages_are_named():
    assert "min_stages" in infeasible(pipeline(num_layers=1), min_stages=2)


def test_a_layer_without_any_format_is_named():
    problem = pipeline()
    allowed = np.ones((4, 2), dtype=bool)
    allowed[2] = False
    remedies = infeasible(replace(problem, layer_formats=allowed))
    assert "Layer 2" in remedies["formats"].text


def test_what_is_shown_can_be_kept():
    """Shown figures are rounded up: asking for them gives a plan."""
    problem = pipeline(speeds=(3.0,), output_tokens=5)
    remedies = infeasible(problem, tpot_s=0.01)
    # four layers at 1 / 6 s, a tenth of that in decode: 66.666... ms
    assert "TPOT 66.67 ms is possible" in remedies["tpot_s"].text
    assert solve(problem, limits=Limits(tpot_s=66.67e-3), stop=EXACT).plan is not None


def test_stages_that_are_possible_are_named():
    assert infeasible(pipeline(num_layers=2), min_stages=4)["min_stages"].needed == 2


def test_no_time_for_a_diagnosis_accuses_nobody(monkeypatch):
    monkeypatch.setattr("solver.remedies._LEAST_S", 0.0)
    monkeypatch.setattr("solver.remedies._MOST_S", 0.0)
    assert infeasible(pipeline(), ttft_s=1.0) == {}
