"""A problem refuses numbers that make no sense."""

from dataclasses import replace

import numpy as np
import pytest

from profiles.errors import InputError
from solver import BatchOption, Goal, Limits, Objective, StageGroup, StopRule, default_micro_batches
from tests.solver.hand_made import pipeline


def test_default_micro_batches_are_the_ceilings_of_batch_over_m():
    assert default_micro_batches(32) == (1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 32)
    assert default_micro_batches(1) == (1,)


def test_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        pipeline().prefill_s[0] = 1


def test_equal_problems_are_equal():
    assert pipeline() == pipeline()
    assert pipeline() != pipeline(num_layers=5)


def changed(**fields):
    return lambda problem: replace(problem, **fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(prefill_s=np.ones((2, 2, 1, 3))), r"prefill_s has shape \(2, 2, 1, 3\), expected"),
        (changed(loss_nats=np.full((4, 2), np.nan)), "loss_nats has nan at"),
        (changed(kv_bytes=np.full((2, 1), -1.0)), "kv_bytes has -1.0 at"),
        (changed(layer_kinds=np.full(4, 3)), "names a kind that does not exist"),
        (changed(batches=()), "batches is empty"),
        (changed(prompt_tokens=0), "prompt_tokens must be at least 1"),
        (changed(output_tokens=0), "output_tokens must be at least 1"),
        (changed(num_requests=0), "num_requests must be 1 or more"),
        (changed(groups=(StageGroup(device=5), StageGroup(device=0))), "device 5 does not exist"),
        (changed(groups=(StageGroup(device=0),) * 2), "lists a group twice"),
        (
            changed(groups=(StageGroup(device=0, tensor_parallel=2), StageGroup(device=1))),
            "tensor_parallel 2 must be 1 to 1",
        ),
        (
            changed(batches=(BatchOption(size=0, prefill=(0,), decode=(0,)),)),
            "size 0 must be at least 1",
        ),
        (changed(batches=(BatchOption(size=1, prefill=(), decode=(0,)),)), "prefill is empty"),
        (changed(batches=(BatchOption(size=1, prefill=(4,), decode=(0,)),)), "index 4 does not"),
        (changed(micro_batches=np.array([2])), "micro-batch 2 exceeds the batch of 1"),
        (changed(micro_batches=np.array([0])), "must be at least 1 each"),
    ],
)
def test_bad_coefficients_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        change(pipeline())


@pytest.mark.parametrize("field", ["count", "min_used", "node", "memory_bytes"])
def test_bad_devices_are_refused(field):
    problem = pipeline()
    bad = replace(problem.devices[0], **{field: -1})
    with pytest.raises(InputError, match="devices/0"):
        replace(problem, devices=(bad, problem.devices[1]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(ttft_s=-1.0),
        lambda: Limits(loss_nats=float("nan")),
        lambda: Limits(stages=1, min_stages=2),
        lambda: StopRule(gap=1.5),
        lambda: StopRule(time_limit_s=0),
        lambda: StopRule(seed=-1),
        lambda: Objective(goal=Goal.LATENCY, theta_s_per_nat=3.0),
        lambda: Objective(goal=Goal.LATENCY_AND_QUALITY, theta_s_per_nat=float("inf")),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_arrays_of_the_caller_stay_theirs():
    """The problem keeps copies: what is changed outside does not change it."""
    times = np.ones((2, 2, 1, 1))
    problem = replace(pipeline(), prefill_s=times)
    times[:] = 7
    assert problem.prefill_s.max() == 1
