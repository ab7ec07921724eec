"""HiGHS, CBC and CP-SAT prove the same optimum of whole problems."""

import pytest

from solver import BackendName, Goal, Status, StopRule, evaluate, score, solve, violations
from tests.solver.test_brute_force import _case

EXACT = StopRule(gap=0.0, time_limit_s=120)


def _agree(seed: int, *, tensor_parallel: bool):
    """The same status; objectives of plans, scored by the check, equal to 1e-6."""
    problem, objective, limits = _case(seed, tensor_parallel=tensor_parallel, ragged=seed % 4 == 1)
    tolerance = 2e-6 if objective.goal is Goal.QUALITY_LOSS else 1e-12
    reports = [
        solve(problem, objective=objective, limits=limits, stop=EXACT, backend=name)
        for name in BackendName
    ]
    assert len({report.status for report in reports}) == 1 or objective.goal is Goal.QUALITY_LOSS
    for report in reports:
        assert (report.plan is None) is (report.status is Status.INFEASIBLE)
        if report.plan is not None:
            values = evaluate(problem, report.plan)
            assert not violations(problem, values, limits)
            best = reports[0].objective
            assert score(values, objective) == pytest.approx(best, rel=1e-6, abs=tolerance)
            assert report.gap <= 1e-6 or objective.goal is Goal.QUALITY_LOSS


@pytest.mark.parametrize("seed", [501, 502, 506, 508, 509, 511, 512, 513])
def test_three_provers_agree(seed):
    _agree(seed, tensor_parallel=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(600, 720))
def test_three_provers_agree_at_scale(seed):
    _agree(seed, tensor_parallel=seed % 3 == 0)
