"""
Robust least squares on log latency, with priors that keep every coefficient physical.

Far residuals count by their size, not its square (pseudo-Huber loss): a few timings of a throttled
GPU do not bend the fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from benchmarks.calibration.points import Points
from cost_model.arrays import FloatArray
from cost_model.communication import all_reduce_s
from cost_model.roofline import roofline_s
from profiles.coefficients import Coefficients
from profiles.formats import find_format
from profiles.gpus import find_gpu
from profiles.links import Link

__all__ = ["Fit", "Prior", "bent", "fit", "predicted_s"]

_MODEL_SD = 0.1  # relative error that a good model still has; keeps no phase from ruling the fit
_BEND = 0.5  # spreads from which on a residual counts by its size
_ROUNDING_SD = 12**-0.5  # of a number rounded to steps of 1
_LINK_FIELDS = ("all_reduce_latency_s", "all_reduce_bytes_per_s")


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of a coefficient beforehand: mean, spread of its logarithm, upper end."""

    mean: float
    log_sd: float
    upper: float = np.inf


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients, and the link whose all-reduce was fitted with them."""

    coefficients: Coefficients
    link: Link


def predicted_s(points: Points, found: Fit) -> FloatArray:
    """What the model says about every point."""
    c = found.coefficients
    seconds = roofline_s(points.work, find_gpu(c.gpu), find_format(c.format), c)
    for tp in np.unique(points.tp):
        chosen = points.tp == tp
        reduced = all_reduce_s(found.link, points.work.hidden_bytes[chosen], int(tp))
        seconds[chosen] += 2 * reduced
    return seconds


def _with_values(start: Fit, values: Mapping[str, float]) -> Fit:
    """``start`` with new values."""
    own = {name: value for name, value in values.items() if name not in _LINK_FIELDS}
    link = {name: value for name, value in values.items() if name in _LINK_FIELDS}
    return Fit(replace(start.coefficients, **own), replace(start.link, **link))  # type: ignore[arg-type]


def bent(residuals: FloatArray) -> FloatArray:
    """Residuals whose squares are the pseudo-Huber loss of the given ones."""
    size = np.sqrt(2 * (np.sqrt(1 + (residuals / _BEND) ** 2) - 1))
    bent: FloatArray = np.sign(residuals) * _BEND * size
    return bent


def fit(points: Points, start: Fit, priors: Mapping[str, Prior], *, joint_share: bool) -> Fit:
    """
    The coefficients under which the points are likeliest.

    Parameters
    ----------
    points
        What was measured.
    start
        Values of what is not fitted.
    priors
        Coefficients to fit, by the name of the field; those of all-reduces count only where
        some point has ``tp`` > 1.
    joint_share
        Whether KV cache and activations reach the same share of the bandwidth as weights.
    """
    several = bool((points.tp > 1).any())
    free = [name for name in priors if several or name not in _LINK_FIELDS]
    means = np.log([priors[name].mean for name in free])
    spreads = np.array([priors[name].log_sd for name in free])
    rounding = points.resolution_s * _ROUNDING_SD / points.seconds
    spread = np.sqrt(_MODEL_SD**2 + rounding**2)

    def found(logs: FloatArray) -> Fit:
        uppers = [priors[name].upper for name in free]
        values = dict(zip(free, np.minimum(np.exp(logs), uppers).tolist(), strict=True))
        if joint_share:
            values["cache_share"] = values["memory_share"]
        return _with_values(start, values)

    def residuals(logs: FloatArray) -> FloatArray:
        error = np.log(predicted_s(points, found(logs)) / points.seconds)
        return np.concatenate([bent(error / spread), (logs - means) / spreads])

    return found(least_squares(residuals, means).x)
