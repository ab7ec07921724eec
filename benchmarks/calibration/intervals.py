"""
Prediction intervals of coefficients that no points kept out of a fit speak for.

Coefficients carried over to another GPU take the errors that carrying over makes where it can be
judged: of 16-bit layers with a GPU left out, of low-bit products with the ratio of another GPU.
What rests on an assumed ratio takes half to twice the time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.calibration.errors import (
    ASSUMED_INTERVAL,
    PhaseErrors,
    interval_of,
    with_intervals,
)
from benchmarks.calibration.fitted import Judged
from benchmarks.calibration.fitting import predicted_s
from benchmarks.calibration.transfer import NOT_HELD_OUT
from cost_model.arrays import FloatArray
from profiles.coefficients import Coefficients

__all__ = ["completed_intervals"]

_CLASS = "16-bit layers with each GPU left out"
_CARRIED = "low-bit matrix products with the ratio of another GPU"
_FULL = "w16a16"
MODERN = ("vllm", "vllm-0.33", "tensorrt-llm")
Interval = tuple[float, float]
Products = Mapping[tuple[str, str], Judged]


def completed_intervals(
    coefficients: Sequence[Coefficients],
    classes: Mapping[str, PhaseErrors],
    products: Products,
) -> list[Coefficients]:
    """
    The coefficients, each with an interval.

    Parameters
    ----------
    coefficients
        Those whose ``interval_basis`` is empty get one.
    classes
        Errors of class coefficients on GPUs left out.
    products
        Fits to matrix products by (GPU, format).
    """
    carried = list(_carried(products))
    class_, low_bit = {}, {}
    for decode in (True, False):
        pooled = np.concatenate([e.ratios[e.is_decode == decode] for e in classes.values()])
        class_[decode] = _hull(interval_of(pooled))
        pooled = np.concatenate([ratios[phase == decode] for ratios, phase in carried])
        low_bit[decode] = _hull(interval_of(pooled), class_[decode])
    return [_completed(each, class_, low_bit) for each in coefficients]


def _hull(*intervals: Interval | None) -> Interval:
    """The narrowest interval that holds all of them and 1."""
    known = [interval for interval in intervals if interval is not None]
    return min(1.0, *(low for low, _ in known)), max(1.0, *(high for _, high in known))


def _completed(
    each: Coefficients, class_: Mapping[bool, Interval], low_bit: Mapping[bool, Interval]
) -> Coefficients:
    if each.interval_basis != NOT_HELD_OUT:
        return each
    if "assumed" in each.basis or each.engine not in MODERN:
        return with_intervals(each, ASSUMED_INTERVAL, ASSUMED_INTERVAL, "assumed")
    known, basis = (class_, _CLASS) if each.format == _FULL else (low_bit, _CARRIED)
    return with_intervals(each, known[True], known[False], basis)


def _carried(products: Products) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Ratios and phases of the products of each GPU, predicted with another's low-bit ratio."""
    for (gpu, form), judged in products.items():
        for (other, like), source in products.items():
            if form == _FULL or like != form or other == gpu:
                continue
            full, low = products[gpu, _FULL].coefficients, source.coefficients
            base = products[other, _FULL].coefficients
            shares = {
                name: min(getattr(full, name) * getattr(low, name) / getattr(base, name), 1.0)
                for name in ("compute_share", "memory_share")
            }
            guess = replace(low, gpu=gpu, **shares)
            points = judged.points
            predicted = predicted_s(points, replace(judged.fit, coefficients=guess))
            yield points.seconds / predicted, points.is_decode
