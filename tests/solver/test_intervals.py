"""Intervals of a plan's values, from those of groups of times; by hand."""

import numpy as np
import pytest

from cost_model.intervals import TimeGroup, TimeInterval
from solver import Plan, Stage, evaluate, plan_intervals
from solver.intervals import scaled
from tests.solver.hand_made import pipeline


@pytest.fixture
def problem():
    """Two GPUs of equal speed, 4 layers of 1 s in prefill and 0.1 s in decode; 3 tokens out."""
    return pipeline(output_tokens=3)


@pytest.fixture
def plan():
    """Two layers on each, at 16 bits."""
    return Plan(
        stages=(
            Stage(group=0, first_layer=0, formats=(0, 0)),
            Stage(group=1, first_layer=2, formats=(0, 0)),
        ),
        batch_size=1,
        prefill_micro_batch=1,
        decode_micro_batch=1,
    )


def times_of(gpus, phase="prefill", low=0.9, high=1.2, formats=(True, True)):
    """The times of these of two stage types in a phase."""
    on = np.isin([0, 1], gpus)
    return TimeGroup(
        name="times",
        phase=phase,
        interval=TimeInterval(low, high, "by hand"),
        cells=on[:, None] & np.array(formats),
        ends=on,
    )


def test_one_error_of_all_layers_adds_up_in_full(problem, plan):
    """TTFT is 4 x 1 s: 3.6 to 4.8 s."""
    values = evaluate(problem, plan)
    found = plan_intervals(problem, plan, values, [times_of((0, 1))])
    assert found["ttft_s"] == pytest.approx((3.6, 4.8))
    assert found["tpot_s"] == pytest.approx((values.tpot_s, values.tpot_s))


def test_errors_of_two_gpus_are_independent(problem, plan):
    """2 s on each, up to 0.4 s more: 4 + sqrt(2) x 0.4; at least 4 - sqrt(2) x 0.2."""
    groups = [times_of((0,)), times_of((1,))]
    found = plan_intervals(problem, plan, evaluate(problem, plan), groups)
    assert found["ttft_s"] == pytest.approx((4 - 2**0.5 * 0.2, 4 + 2**0.5 * 0.4))


def test_formats_that_no_layer_has_do_not_count(problem, plan):
    groups = [times_of((0, 1)), times_of((0, 1), low=0.1, high=9.0, formats=(False, True))]
    groups[1] = TimeGroup(
        name="w8", phase="prefill", interval=groups[1].interval, cells=groups[1].cells,
        ends=np.zeros(2, dtype=bool),
    )  # fmt: skip
    found = plan_intervals(problem, plan, evaluate(problem, plan), groups)
    assert found["ttft_s"] == pytest.approx((3.6, 4.8))


def test_more_throughput_is_the_upper_end(problem, plan):
    values = evaluate(problem, plan)
    groups = [times_of((0, 1)), times_of((0, 1), phase="decode")]
    low, high = plan_intervals(problem, plan, values, groups)["throughput_tokens_per_s"]
    assert low < values.throughput_tokens_per_s < high


def test_scaling_leaves_other_times_alone(problem):
    found = scaled(problem, times_of((1,), phase="decode"), 3.0)
    assert (found.decode_s[1] == 3 * problem.decode_s[1]).all()
    assert (found.decode_s[0] == problem.decode_s[0]).all()
    assert (found.prefill_s == problem.prefill_s).all()
