"""Factors of times from what was measured: hidden ones are found again."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model.uncertainty import ErrorTerm
from profiles.errors import InputError
from solver import Observation, Plan, Stage, evaluate, fit_factors, mean_ttft_s, simulate_plan
from solver.regret import perturbed
from tests.solver.hand_made import pipeline

PLAN = Plan(
    batch_size=4,
    prefill_micro_batch=1,
    decode_micro_batch=2,
    stages=(
        Stage(group=0, first_layer=0, formats=(0, 0)),
        Stage(group=1, first_layer=2, formats=(0, 0, 0)),
    ),
)
ON_SECOND = replace(PLAN, stages=(Stage(group=1, first_layer=0, formats=(0,) * 5),))
PRIORS = np.array([0.5, 0.5, 0.2, 0.2])


@pytest.fixture
def two_gpus():
    return pipeline(
        speeds=(1.0, 1.5), num_layers=5, batch=4, micro_batches=(1, 2, 4), output_tokens=20,
        memory=1000.0,
    )  # fmt: skip


def terms_of(problem):
    """All prefill, all decode, then both phases of the second GPU by itself."""
    everywhere = np.ones(len(problem.groups), dtype=bool)
    second = np.arange(len(problem.groups)) == 1
    return tuple(
        ErrorTerm(
            name="factor",
            phase=phase,
            sigma=1.0,
            is_known=True,
            cells=np.tile(groups[:, None], (1, 2)),
            ends=groups,
        )
        for groups in (everywhere, second)
        for phase in ("prefill", "decode")
    )


def measured_of(problem, plan, hidden):
    """A replay of the plan on a machine whose times have the hidden factors."""
    replay = simulate_plan(perturbed(problem, terms_of(problem), np.log(hidden)), plan).batch
    return {
        "ttft_s": float(replay.ttft_s.mean()),
        "tpot_s": replay.steady_tpot_s,
        "latency_s": replay.latency_s,
    }


def observation(problem, plan, hidden):
    return Observation(
        problem=problem,
        plan=plan,
        terms=terms_of(problem),
        measured=measured_of(problem, plan, hidden),
    )


def test_mean_ttft_is_that_of_a_replay(two_gpus):
    """Stages of 2 s each in prefill: first tokens after 4, 6, 8 and 10 s, 7 s on average."""
    expected = float(simulate_plan(two_gpus, PLAN).batch.ttft_s.mean())
    assert expected == pytest.approx(7.0)
    assert mean_ttft_s(evaluate(two_gpus, PLAN), PLAN) == pytest.approx(expected)
    whole = replace(PLAN, prefill_micro_batch=4)
    assert mean_ttft_s(evaluate(two_gpus, whole), whole) == evaluate(two_gpus, whole).ttft_s


def test_one_plan_gives_a_scale_of_each_phase(two_gpus):
    """Everything 1.4 times as long in prefill and 0.8 times in decode."""
    hidden = np.array([1.4, 0.8, 1.0, 1.0])
    found = fit_factors([observation(two_gpus, PLAN, hidden)], PRIORS)
    assert found.factor([0])[0] == pytest.approx(1.4, rel=0.05)
    assert found.factor([1])[0] == pytest.approx(0.8, rel=0.05)
    assert found.error_before > 0.15
    assert found.error_after < 0.01
    assert found.num_values == 3


def test_several_plans_tell_gpus_apart(two_gpus):
    """The second GPU is off by 1.3 and 1.2 beyond the engine's 1.1 and 0.9."""
    hidden = np.array([1.1, 0.9, 1.3, 1.2])
    plans = (PLAN, ON_SECOND, replace(PLAN, decode_micro_batch=4, prefill_micro_batch=2))
    found = fit_factors([observation(two_gpus, plan, hidden) for plan in plans], PRIORS)
    for indices, whole in (([0, 2], 1.43), ([1, 3], 1.08)):
        factor, low, high = found.factor(indices)
        assert factor == pytest.approx(whole, rel=0.03)
        assert low < whole < high
        assert high / low < 1.2
    for index in (0, 1):
        factor, low, high = found.factor([index])
        assert low < hidden[index] < high
        assert factor == pytest.approx(hidden[index], rel=0.15)


def test_what_is_not_measured_keeps_its_prior(two_gpus):
    """A plan on the second GPU alone says nothing of decode where only TTFT was measured."""
    one = observation(two_gpus, ON_SECOND, np.array([2.0, 1.0, 1.0, 1.0]))
    found = fit_factors([replace(one, measured={"ttft_s": one.measured["ttft_s"]})], PRIORS)
    assert found.log_factors[[1, 3]] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert found.sigma([1]) == pytest.approx(0.5)
    assert found.factor([0, 2])[0] == pytest.approx(2.0, rel=0.02)
    # ln 2 is shared out by the priors' variances, 0.25 to 0.04.
    assert found.factor([0])[0] == pytest.approx(2 ** (0.25 / 0.29), rel=0.02)


def test_measurements_that_disagree_widen_the_intervals(two_gpus):
    one = observation(two_gpus, ON_SECOND, np.ones(4))
    slow = {name: 1.5 * value for name, value in one.measured.items()}
    agreed = fit_factors([one, one], PRIORS)
    apart = fit_factors([one, replace(one, measured=slow)], PRIORS)
    assert apart.sigma([0, 2]) > 2 * agreed.sigma([0, 2])
    assert apart.error_after > 0.1


def test_answers_of_one_token_have_no_tpot():
    problem = pipeline(speeds=(1.0, 1.5), num_layers=5, batch=4, micro_batches=(1, 2, 4))
    one = Observation(
        problem=problem, plan=ON_SECOND, terms=terms_of(problem), measured={"tpot_s": 1.0}
    )
    with pytest.raises(InputError, match="answers of one token have no TPOT"):
        fit_factors([one], PRIORS)
