"""How far predictions lie from measurements that took no part in the fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.calibration.fitting import Fit, predicted_s
from benchmarks.calibration.points import BoolArray, Points
from cost_model.arrays import FloatArray, IntArray
from profiles.coefficients import Coefficients

__all__ = [
    "ASSUMED_INTERVAL",
    "FEW_POINTS",
    "HELD_OUT",
    "PhaseErrors",
    "Split",
    "fifths_of_shapes",
    "halves",
    "held_out",
    "interval_of",
    "leave_models_out",
    "with_errors",
    "with_intervals",
]

MIN_POINTS_FOR_INTERVAL = 19  # with fewer, 5 % beyond either end is less than one point
TAIL = 0.05
HELD_OUT = "held-out points"
FEW_POINTS = "half to twice, and all of too few points"
# Of numbers that rest on a ratio nobody measured on such a GPU: half to twice the time.
ASSUMED_INTERVAL = (0.5, 2.0)

Split = Iterator[tuple[BoolArray, BoolArray]]


@dataclass(frozen=True, slots=True)
class PhaseErrors:
    """
    How points compare with their predictions, kept out of the fit.

    Parameters
    ----------
    ratios
        Measured over predicted.
    is_decode
        The phase each belongs to.
    fold
        Number of the split that kept the point out.
    """

    ratios: FloatArray
    is_decode: BoolArray
    fold: IntArray

    @property
    def errors(self) -> FloatArray:
        """Relative errors of the predictions."""
        return np.abs(1 / self.ratios - 1)

    def mean(self, *, decode: bool) -> float | None:
        """Mean relative error of a phase; None without points."""
        chosen = self.errors[self.is_decode == decode]
        return float(chosen.mean()) if len(chosen) else None

    def median(self, *, decode: bool) -> float | None:
        """Median relative error of a phase; None without points."""
        chosen = self.errors[self.is_decode == decode]
        return float(np.median(chosen)) if len(chosen) else None

    def interval(self, *, decode: bool) -> tuple[float, float] | None:
        """Factors between which 90 % of the ratios of a phase lie; None with too few points."""
        return interval_of(self.ratios[self.is_decode == decode])

    def wide(self, *, decode: bool) -> tuple[float, float]:
        """What is assumed where there are too few points, and wide enough for all there are."""
        ratios = [*self.ratios[self.is_decode == decode].tolist(), *ASSUMED_INTERVAL]
        return min(ratios), max(ratios)

    def coverage(self, *, decode: bool) -> float | None:
        """
        Share of the points of a phase inside the interval of nine tenths that leave them out.

        None with too few points.
        """
        ratios = self.ratios[self.is_decode == decode]
        tenth = np.arange(len(ratios)) % 10
        inside = []
        for each in range(min(10, len(ratios))):
            interval = interval_of(ratios[tenth != each])
            if interval is None:
                return None
            own = ratios[tenth == each]
            inside.append((own >= interval[0]) & (own <= interval[1]))
        return float(np.concatenate(inside).mean()) if inside else None

    def p90(self, *, decode: bool) -> float | None:
        """90th percentile of the relative error of a phase; None without points."""
        chosen = self.errors[self.is_decode == decode]
        return float(np.quantile(chosen, 0.9)) if len(chosen) else None


def interval_of(ratios: FloatArray) -> tuple[float, float] | None:
    """
    Factors between which the next ratio lies with a probability of 90 %; None with too few points.

    The order statistics (n + 1) 5 % and (n + 1) 95 %, which hold for any distribution of points
    that may be exchanged (split conformal prediction, arXiv 1604.04173, section 2.2).
    """
    num = len(ratios)
    if num < MIN_POINTS_FOR_INTERVAL:
        return None
    ordered = np.sort(ratios)
    low = max(int(np.floor((num + 1) * TAIL)) - 1, 0)
    high = min(int(np.ceil((num + 1) * (1 - TAIL))) - 1, num - 1)
    return float(ordered[low]), float(ordered[high])


def halves(points: Points) -> Split:
    """Fit to every second point of each phase, in their order, judge on the others, and swap."""
    position = np.where(points.is_decode, np.cumsum(points.is_decode), np.cumsum(~points.is_decode))
    odd = position % 2 == 1
    yield odd, ~odd
    yield ~odd, odd


def fifths_of_shapes(points: Points) -> Split:
    """Fit to four fifths of the shapes of matrices and judge on the others, each in turn."""
    shapes = np.stack([points.work.product_inner[0], points.work.product_columns[0]])
    _, number = np.unique(shapes, axis=1, return_inverse=True)
    fold = np.random.default_rng(0).permutation(number.max() + 1)[number] % 5
    for each in range(5):
        yield fold != each, fold == each


def leave_models_out(points: Points) -> Split:
    """Fit to all models but one and judge on that one, each in turn."""
    for model in np.unique(points.model):
        out = points.model == model
        yield ~out, out


def held_out(points: Points, splits: Split, fitted: Callable[[Points], Fit]) -> PhaseErrors:
    """Errors on the points that each split keeps out of its fit."""
    ratios, phases, folds = [], [], []
    for fold, (inside, outside) in enumerate(splits):
        judged = points.take(outside)
        prediction = predicted_s(judged, fitted(points.take(inside)))
        ratios.append(judged.seconds / prediction)
        phases.append(judged.is_decode)
        folds.append(np.full(len(judged), fold))
    return PhaseErrors(*map(np.concatenate, (ratios, phases, folds)))


def with_errors(coefficients: Coefficients, num_points: int, errors: PhaseErrors) -> Coefficients:
    """The coefficients with their errors and intervals written down."""
    found = replace(
        coefficients,
        num_points=num_points,
        decode_mape=errors.mean(decode=True),
        prefill_mape=errors.mean(decode=False),
        decode_p90=errors.p90(decode=True),
        prefill_p90=errors.p90(decode=False),
    )
    ends = errors.interval(decode=True), errors.interval(decode=False)
    basis = HELD_OUT if None not in ends else FEW_POINTS
    decode, prefill = (
        known or errors.wide(decode=phase) for known, phase in zip(ends, (True, False), strict=True)
    )
    return with_intervals(found, decode, prefill, basis)


def with_intervals(
    coefficients: Coefficients,
    decode: tuple[float, float],
    prefill: tuple[float, float],
    basis: str,
) -> Coefficients:
    """The coefficients with these intervals and what they rest on."""
    return replace(
        coefficients,
        decode_low=decode[0],
        decode_high=decode[1],
        prefill_low=prefill[0],
        prefill_high=prefill[1],
        interval_basis=basis,
    )
