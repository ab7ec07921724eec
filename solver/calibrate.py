r"""
Factors of times from what was measured of launched plans.

With theta the logarithms of all factors, y_i(theta) the value of a plan by its formulas (mean TTFT,
TPOT or latency) with its times so multiplied, and x_i what was measured::

    minimise  sum_i ((ln y_i(theta) - ln x_i) / noise)^2  +  sum_k (theta_k / prior_k)^2

A factor is exp(e + d): e is common to all kernels of the engine in a phase, d belongs to one kernel
on one GPU. Both are drawn towards 0, d by the error that its kernel is known to have, so that one
plan moves e, and several plans tell GPUs apart. Least squares by Levenberg and Marquardt (Marquardt
1963, doi:10.1137/0111030); uncertainty by the Gaussian around the minimum (Laplace).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from cost_model.uncertainty import ErrorTerm
from profiles.errors import InputError
from solver.check import evaluate
from solver.problem import FloatArray, PipelineProblem
from solver.regret import perturbed
from solver.result import Evaluation, Plan

__all__ = ["FittedFactors", "Observation", "fit_factors", "mean_ttft_s", "observable"]

_NOISE = 0.03  # of a measurement, and of the formulas beside it; as a share
_STEP = 1e-5
_MOST_STEPS = 60
_FINISHED = 1e-10
_FIRST_DAMPING, _DAMPED, _FREED = 1e-3, 4.0, 0.25
_QUANTILE_90 = 1.6448536
_WIDEST = 10.0  # half an interval of a logarithm that nothing identifies


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """
    What was measured of a plan at one load.

    Parameters
    ----------
    problem, plan
        The load as a problem, without calibration, and the plan in it.
    terms
        Which times each factor multiplies; ``sigma`` of a term is not used.
    measured
        ``ttft_s`` (mean over the requests), ``tpot_s``, ``latency_s``: those that are known.
    """

    problem: PipelineProblem
    plan: Plan
    terms: tuple[ErrorTerm, ...]
    measured: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedFactors:
    """
    The minimum.

    Parameters
    ----------
    log_factors, covariance
        Shapes (N,) and (N, N).
    error_before, error_after
        Mean absolute relative error of the predictions.
    num_values
        How many values were measured.
    """

    log_factors: FloatArray
    covariance: FloatArray
    error_before: float
    error_after: float
    num_values: int

    def factor(self, indices: Sequence[int]) -> tuple[float, float, float]:
        """The product of some factors, and its 90 % interval."""
        chosen = list(indices)
        mean = float(self.log_factors[chosen].sum())
        spread = min(_QUANTILE_90 * self.sigma(chosen), _WIDEST)
        return exp(mean), exp(mean - spread), exp(mean + spread)

    def sigma(self, indices: Sequence[int]) -> float:
        """Standard deviation of the logarithm of that product."""
        chosen = np.ix_(list(indices), list(indices))
        return sqrt(max(float(self.covariance[chosen].sum()), 0.0))


def mean_ttft_s(evaluation: Evaluation, plan: Plan) -> float:
    """
    Mean time to first token over the requests of a batch, by the formulas.

    Micro-batch i ends its prefill i paces after the first; the mean pace is what the last one needs
    beyond the first, over their number.
    """
    once = sum(stage.prefill_s + stage.prefill_link_s for stage in evaluation.stages)
    size, batch = plan.prefill_micro_batch, plan.batch_size
    count = -(-batch // size)
    if count == 1:
        return evaluation.ttft_s
    place = sum(i * min(size, batch - i * size) for i in range(count)) / batch
    return once + (evaluation.ttft_s - once) / (count - 1) * place


def observable(problem: PipelineProblem, plan: Plan) -> dict[str, float]:
    """The values of a plan that can be measured, by their names in `Observation`."""
    values = evaluate(problem, plan)
    return {
        "ttft_s": mean_ttft_s(values, plan),
        "tpot_s": values.tpot_s,
        "latency_s": values.batch_latency_s,
    }


def fit_factors(observations: Sequence[Observation], priors: FloatArray) -> FittedFactors:
    """
    The factors that explain measurements best.

    Parameters
    ----------
    observations
        At least one, all with the same N terms.
    priors
        Shape (N,): standard deviation of the logarithm of each factor before measuring.

    Raises
    ------
    InputError
        When nothing that was measured can be predicted: TPOT of answers of one token.
    """
    fit = _Fit(observations, priors)
    start = np.zeros(len(priors))
    before = fit.log_errors(start)
    theta, jacobian, residuals = fit.minimise(start)
    after = fit.log_errors(theta)
    excess = max(float((residuals**2).sum()) / len(after), 1.0)
    return FittedFactors(
        log_factors=theta,
        covariance=np.asarray(np.linalg.inv(jacobian.T @ jacobian) * excess, dtype=np.float64),
        error_before=float(np.abs(np.expm1(before)).mean()),
        error_after=float(np.abs(np.expm1(after)).mean()),
        num_values=len(after),
    )


class _Fit:
    """Residuals of the least squares, and their minimum."""

    def __init__(self, observations: Sequence[Observation], priors: FloatArray) -> None:
        self._observations = observations
        self._priors = priors
        self._names = [
            [name for name, value in observable(each.problem, each.plan).items() if value > 0]
            for each in observations
        ]
        if not any(
            name in each.measured
            for each, names in zip(observations, self._names, strict=True)
            for name in names
        ):
            raise InputError(
                "Nothing that was measured can be predicted: answers of one token have no TPOT. "
                "Measure longer answers, or give ttft_ms."
            )

    def log_errors(self, theta: FloatArray) -> FloatArray:
        """ln(predicted / measured) of every value."""
        errors = []
        for each, names in zip(self._observations, self._names, strict=True):
            values = observable(perturbed(each.problem, each.terms, theta), each.plan)
            errors += [
                np.log(values[name] / each.measured[name])
                for name in names
                if name in each.measured
            ]
        return np.array(errors)

    def residuals(self, theta: FloatArray) -> FloatArray:
        """Errors by their noise, then factors by their priors."""
        return np.concatenate([self.log_errors(theta) / _NOISE, theta / self._priors])

    def jacobian(self, theta: FloatArray, at: FloatArray) -> FloatArray:
        """By forward differences."""
        columns = [
            (self.residuals(theta + _STEP * unit) - at) / _STEP for unit in np.eye(len(theta))
        ]
        return np.array(columns).T

    def minimise(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The minimum, the slopes there, and the residuals of the measured values."""
        residuals, damping = self.residuals(theta), _FIRST_DAMPING
        jacobian = self.jacobian(theta, residuals)
        for _ in range(_MOST_STEPS):
            normal = jacobian.T @ jacobian
            damped = normal + damping * np.diag(np.diag(normal))
            step = np.linalg.solve(damped, -jacobian.T @ residuals)
            tried = self.residuals(theta + step)
            gain = float((residuals**2).sum() - (tried**2).sum())
            if gain <= 0:
                damping *= _DAMPED
            else:
                theta, residuals, damping = theta + step, tried, damping * _FREED
                jacobian = self.jacobian(theta, residuals)
            if float(np.abs(step).max()) < _FINISHED or 0 <= gain < _FINISHED:
                break
        return theta, jacobian, residuals[: len(residuals) - len(theta)]
