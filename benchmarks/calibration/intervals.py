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
from benchmarks.calibration.points import BoolArray
from benchmarks.calibration.transfer import NOT_HELD_OUT
from cost_model.arrays import FloatArray
from profiles.coefficients import Coefficients

__all__ = ["carried_intervals", "completed_intervals"]

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
    class_ = {
        decode: _hull(
            interval_of(np.concatenate([e.ratios[e.is_decode == decode] for e in classes.values()]))
        )
        for decode in (True, False)
    }
    low_bit = carried_intervals(products)
    return [_completed(each, class_, low_bit) for each in coefficients]


def carried_intervals(products: Products) -> dict[str, dict[bool, Interval]]:
    """
    Intervals of low-bit products predicted with the ratio of another GPU, by format and phase.

    A format that was timed on one GPU alone takes those of all formats together.
    """
    carried = list(_carried(products))
    forms = dict.fromkeys(form for _, form in products if form != _FULL)
    found = {}
    for form in forms:
        own = [(r, side) for name, r, side in carried if name == form]
        every = own or [(r, side) for _, r, side in carried]
        found[form] = {
            decode: _hull(interval_of(np.concatenate([r[side == decode] for r, side in every])))
            for decode in (True, False)
        }
    return found


def _hull(*intervals: Interval | None) -> Interval:
    """The narrowest interval that holds all of them and 1."""
    known = [interval for interval in intervals if interval is not None]
    return min(1.0, *(low for low, _ in known)), max(1.0, *(high for _, high in known))


def _completed(
    each: Coefficients,
    class_: Mapping[bool, Interval],
    low_bit: Mapping[str, Mapping[bool, Interval]],
) -> Coefficients:
    if each.interval_basis != NOT_HELD_OUT:
        return each
    if "assumed" in each.basis or each.engine not in MODERN:
        return with_intervals(each, ASSUMED_INTERVAL, ASSUMED_INTERVAL, "assumed")
    if each.format == _FULL:
        return with_intervals(each, class_[True], class_[False], _CLASS)
    known = low_bit[each.format]
    return with_intervals(each, known[True], known[False], _CARRIED)


def _carried(products: Products) -> Iterator[tuple[str, FloatArray, BoolArray]]:
    """Format, ratios and phases of the products of a GPU, predicted with another's ratio."""
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
            yield form, points.seconds / predicted, points.is_decode
