"""How far predictions lie from measurements that took no part in the fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.calibration.fitting import Fit, predicted_s
from benchmarks.calibration.points import BoolArray, Points
from cost_model.arrays import FloatArray
from profiles.coefficients import Coefficients

__all__ = ["PhaseErrors", "halves", "held_out", "leave_models_out", "with_errors"]

Split = Iterator[tuple[BoolArray, BoolArray]]


@dataclass(frozen=True, slots=True)
class PhaseErrors:
    """Relative errors of points and the phase each belongs to."""

    errors: FloatArray
    is_decode: BoolArray

    def mean(self, *, decode: bool) -> float | None:
        """Mean relative error of a phase; None without points."""
        chosen = self.errors[self.is_decode == decode]
        return float(chosen.mean()) if len(chosen) else None

    def p90(self, *, decode: bool) -> float | None:
        """90th percentile of the relative error of a phase; None without points."""
        chosen = self.errors[self.is_decode == decode]
        return float(np.quantile(chosen, 0.9)) if len(chosen) else None


def halves(points: Points) -> Split:
    """Fit to every second point of each phase, in their order, and judge on the others."""
    position = np.where(points.is_decode, np.cumsum(points.is_decode), np.cumsum(~points.is_decode))
    odd = position % 2 == 1
    yield odd, ~odd


def leave_models_out(points: Points) -> Split:
    """Fit to all models but one and judge on that one, each in turn."""
    for model in np.unique(points.model):
        out = points.model == model
        yield ~out, out


def held_out(points: Points, splits: Split, fitted: Callable[[Points], Fit]) -> PhaseErrors:
    """Errors on the points that each split keeps out of its fit."""
    errors, phases = [], []
    for inside, outside in splits:
        judged = points.take(outside)
        prediction = predicted_s(judged, fitted(points.take(inside)))
        errors.append(np.abs(prediction / judged.seconds - 1))
        phases.append(judged.is_decode)
    return PhaseErrors(np.concatenate(errors), np.concatenate(phases))


def with_errors(coefficients: Coefficients, num_points: int, errors: PhaseErrors) -> Coefficients:
    """The coefficients with their errors written down."""
    return replace(
        coefficients,
        num_points=num_points,
        decode_mape=errors.mean(decode=True),
        prefill_mape=errors.mean(decode=False),
        decode_p90=errors.p90(decode=True),
        prefill_p90=errors.p90(decode=False),
    )
