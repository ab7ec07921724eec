"""
Rounding weights to the nearest of 2^bits levels, and how far off that is.

Weights of a row share a scale in groups. Asymmetric, with levels 0 to n = 2^b - 1:

    s = (max(w, 0) - min(w, 0)) / n,   z = round(-min(w, 0) / s),
    Q(w) = s (clip(round(w/s) + z, 0, n) - z)

Symmetric: s = 2 max|w| / n and z = (n + 1) / 2. Scales are not rounded themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model.arrays import FloatArray
from profiles.errors import InputError

__all__ = ["Rounding", "round_weights", "squared_errors"]

Weights = NDArray[np.float32]
_WIDTHS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """
    How weights are stored.

    Parameters
    ----------
    group_size
        Weights of a row that share a scale; None for a whole row.
    symmetric
        Whether the levels lie evenly around 0, without a zero of their own.
    """

    group_size: int | None = 128
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Refuse groups that cannot be."""
        if self.group_size is not None and self.group_size < 2:
            raise InputError(f"group_size is {self.group_size}; it must be at least 2, or none.")

    @property
    def text(self) -> str:
        """In words."""
        groups = "per channel" if self.group_size is None else f"groups of {self.group_size}"
        return f"{groups}, {'symmetric' if self.symmetric else 'asymmetric'}"


def round_weights(weights: Weights, bits: int, rounding: Rounding) -> Weights:
    """
    Weights after rounding to the nearest.

    Parameters
    ----------
    weights
        Shape (outputs, inputs).
    bits
        2, 3, 4, 5, 6, 8; 16 leaves the weights as they are.

    Returns
    -------
    NDArray
        The same shape. Inputs that fill no whole group are a smaller group.
    """
    if bits == 16:
        return weights
    parts = [
        _Grid.of(groups, rounding).rounded(bits).reshape(len(weights), -1)
        for groups in _groups(weights, rounding)
    ]
    return np.concatenate(parts, axis=1)


def squared_errors(weights: Weights, bits: Sequence[int], rounding: Rounding) -> FloatArray:
    """
    Squared rounding error at each of B widths, and the squared norm.

    Parameters
    ----------
    weights, rounding
        As in `round_weights`.
    bits
        B widths.

    Returns
    -------
    FloatArray
        Sums of ``(w - Q(w))^2`` at each width, then the sum of ``w^2``; shape (B + 1,).
    """
    sums = np.zeros(len(bits) + 1)
    for groups in _groups(weights, rounding):
        grid = _Grid.of(groups, rounding)
        sums[:-1] += [0.0 if b == 16 else _squares(grid.rounded(b) - groups) for b in bits]
        sums[-1] += _squares(groups)
    return sums


def _squares(values: Weights) -> float:
    return float(np.square(values).sum(dtype=np.float64))


def _groups(weights: Weights, rounding: Rounding) -> Iterator[Weights]:
    """The groups, shape (outputs, groups, size); a second time for what is left of each row."""
    outputs, inputs = weights.shape
    size = min(rounding.group_size or inputs, inputs)
    whole = inputs - inputs % size
    yield weights[:, :whole].reshape(outputs, -1, size)
    if whole < inputs:
        yield weights[:, whole:].reshape(outputs, 1, -1)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Groups and the ends of their levels, shapes (outputs, groups, size) and (..., 1)."""

    weights: Weights
    low: Weights
    high: Weights
    symmetric: bool

    @staticmethod
    def of(weights: Weights, rounding: Rounding) -> "_Grid":
        low = np.minimum(weights.min(axis=-1, keepdims=True), 0)
        high = np.maximum(weights.max(axis=-1, keepdims=True), 0)
        if rounding.symmetric:
            high = np.maximum(-low, high)
            low = -high
        return _Grid(weights, low, high, rounding.symmetric)

    def rounded(self, bits: int) -> Weights:
        if bits not in _WIDTHS:
            raise InputError(
                f"bits is {bits}; rounding is known for {', '.join(map(str, _WIDTHS))} bits."
            )
        levels = np.float32(2**bits - 1)
        scale = (self.high - self.low) / levels
        scale[scale == 0] = 1  # a group of zeros
        zero = (levels + 1) / 2 if self.symmetric else np.round(-self.low / scale)
        steps = self.weights / scale
        np.round(steps, out=steps)
        steps += zero
        np.clip(steps, 0, levels, out=steps)
        steps -= zero
        steps *= scale
        return steps
