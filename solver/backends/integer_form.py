"""
A linear model in whole numbers, rounded outward, for solvers that know nothing else.

A continuous column x becomes step * y with y whole and step a power of two, so fine that its range
has 2^31 steps. A row and the objective are multiplied by a power of two and their coefficients
rounded; whatever rounding may have done to a row within the limits of its columns widens the row:

    every point of the model, moved to the nearest step, is a point of the whole-number form
    its rounded objective exceeds the true one by at most ``cost_error``

So the least value z of the whole-number form proves that no point of the model costs less than
(z - cost_error) / cost_scale, and if the form has no point, neither has the model. The other way
round a point of the form may break a row of the model by what the row was widened: at most about
2^-30 of the largest term of the row for each continuous column in it, and 1e-9.

Columns without a limit get one that keeps an optimal point: the limit that the rows imply, or,
where a lesser value is never dearer, the least that satisfies every row that wants it large.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from profiles.errors import BackendError
from solver.linear import LinearModel
from solver.problem import BoolArray, FloatArray, IntArray

__all__ = ["IntegerForm", "integer_form"]

# Steps in the range of a continuous column, and the largest sum of a row, as powers of two. Whole
# numbers end at 2^63; a coefficient of a continuous column is rounded to 2^-(58 - 31) of the row.
_COLUMN_BITS, _ROW_BITS = 31, 58
# Rows are kept to within this by the other solvers too.
_FEASIBILITY = 1e-9
_BOUND_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerForm:
    """
    Minimise ``cost @ y`` over whole y, ``row_lower <= rows @ y <= row_upper``.

    Parameters
    ----------
    step
        Shape (columns,): the value of a column is its step times y.
    lower, upper, cost
        Shape (columns,), whole.
    row_lower, row_upper, row_start, column, value
        Rows as in `LinearModel`, whole.
    cost_scale, cost_error
        The true cost of a point is at least ``(cost @ y - cost_error) / cost_scale``.
    """

    step: FloatArray
    lower: IntArray
    upper: IntArray
    cost: IntArray
    row_lower: IntArray
    row_upper: IntArray
    row_start: IntArray
    column: IntArray
    value: IntArray
    cost_scale: float
    cost_error: float

    def point(self, whole: IntArray) -> FloatArray:
        """From a point of this form to one of the model."""
        return whole * self.step

    def nearest(self, point: FloatArray) -> IntArray:
        """From a point of the model to the nearest of this form, within its limits."""
        return np.clip(np.round(point / self.step), self.lower, self.upper).astype(np.int64)

    def bound(self, value: float) -> float:
        """What a bound on this form proves for the model."""
        return (value - self.cost_error) / self.cost_scale if abs(value) < inf else value


def integer_form(model: LinearModel) -> IntegerForm:
    """
    The model in whole numbers.

    Raises
    ------
    BackendError
        Where a column has no limit and none can be found: the model may be unbounded.
    """
    lower, upper = _limits(model)
    continuous = model.integer == 0
    reach = np.maximum(np.maximum(np.abs(lower), np.abs(upper)), 1e-9)
    step = np.where(continuous, _power(reach) / 2.0**_COLUMN_BITS, 1.0)
    least = np.where(continuous, np.floor(lower / step), np.ceil(lower - _FEASIBILITY))
    most = np.where(continuous, np.ceil(upper / step), np.floor(upper + _FEASIBILITY))
    grid = _Grid(step=step, least=least, most=most, continuous=continuous)
    rows = np.repeat(np.arange(len(model.row_lower)), np.diff(model.row_start))
    sides = _Rows(grid, rows, model.column, model.value, len(model.row_lower))
    everything = np.arange(len(model.cost))
    goal = _Rows(grid, np.zeros_like(everything), everything, model.cost, 1)
    return IntegerForm(
        step=step,
        lower=least.astype(np.int64),
        upper=most.astype(np.int64),
        cost=goal.whole,
        row_lower=sides.lower(model.row_lower),
        row_upper=sides.upper(model.row_upper),
        row_start=model.row_start,
        column=model.column,
        value=sides.whole,
        cost_scale=float(goal.scale[0]),
        cost_error=float(goal.excess[0]),
    )


def _power(values: FloatArray) -> FloatArray:
    """The least power of two that is at least each value."""
    result: FloatArray = 2.0 ** np.ceil(np.log2(values))
    return result


def _sums(rows: IntArray, terms: FloatArray | BoolArray, num_rows: int) -> FloatArray:
    """Sum of the terms of each row."""
    return np.bincount(rows, terms, num_rows).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Steps and limits of the columns."""

    step: FloatArray
    least: FloatArray
    most: FloatArray
    continuous: BoolArray


class _Rows:
    """Rows scaled and rounded, with what rounding may do to their sums."""

    def __init__(
        self, grid: _Grid, rows: IntArray, column: IntArray, value: FloatArray, num_rows: int
    ) -> None:
        per_step = value * grid.step[column]
        least, most = grid.least[column], grid.most[column]
        farthest = np.maximum(np.abs(least), np.abs(most)) + 1
        reach = _sums(rows, np.abs(per_step) * farthest, num_rows)
        is_whole = ~grid.continuous[column] & (value == np.round(value))
        exact = _sums(rows, ~is_whole, num_rows) == 0
        room = 2.0**_ROW_BITS / _power(np.maximum(reach, 1e-200))
        self.scale: FloatArray = np.where(exact & (room >= 1), 1.0, room)
        wanted = per_step * self.scale[rows]
        rounded = np.round(wanted)
        self.whole: IntArray = rounded.astype(np.int64)
        off = rounded - wanted
        moved = np.where(grid.continuous[column], np.abs(wanted) / 2, 0.0)
        up = np.maximum(off * least, off * most) + moved
        down = np.maximum(-off * least, -off * most) + moved
        self.excess = _sums(rows, up, num_rows)
        self.shortfall = _sums(rows, down, num_rows)
        self.reach = _sums(rows, np.abs(rounded) * farthest, num_rows)

    def upper(self, limit: FloatArray) -> IntArray:
        """Upper limits, widened."""
        return self._kept(np.floor(self._scaled(limit, 1.0) + self.excess), limit == inf, 1)

    def lower(self, limit: FloatArray) -> IntArray:
        """Lower limits, widened."""
        return self._kept(np.ceil(self._scaled(limit, -1.0) - self.shortfall), limit == -inf, -1)

    def _scaled(self, limit: FloatArray, side: float) -> FloatArray:
        finite = np.where(np.isfinite(limit), limit, 0.0)
        slack = _FEASIBILITY * np.maximum(np.abs(finite), 1.0)
        scaled: FloatArray = (finite + side * slack) * self.scale
        return scaled

    def _kept(self, limit: FloatArray, is_free: BoolArray, side: int) -> IntArray:
        """No row reaches beyond its terms, so neither need its limits."""
        beyond = self.reach + 1
        return np.where(is_free, side * beyond, np.clip(limit, -beyond, beyond)).astype(np.int64)


# -- limits of columns ----------------------------------------------------------------------


def _limits(model: LinearModel) -> tuple[FloatArray, FloatArray]:
    """Finite limits of all columns; see the head of this file for what they keep."""
    lower, upper = model.lower.copy(), model.upper.copy()
    open_end = model.integer == 0
    open_end |= ~np.isfinite(lower) | ~np.isfinite(upper)
    for _ in range(_BOUND_ROUNDS):
        before = lower.copy(), upper.copy()
        sides = _Sides(model, lower, upper)
        implied_lower, implied_upper, enough = sides.implied()
        enough = np.where(model.integer > 0, np.ceil(enough - _FEASIBILITY), enough)
        enough = np.where(model.cost >= 0, np.maximum(enough, lower), inf)
        best_upper = np.minimum(_wider(implied_upper, 1), _wider(enough, 1))
        # Limits stay within those given: a range that is empty shows as a row that cannot be kept.
        upper = np.where(open_end, np.maximum(np.minimum(upper, best_upper), lower), upper)
        best_lower = np.maximum(lower, _wider(implied_lower, -1))
        lower = np.where(open_end, np.minimum(best_lower, upper), lower)
        if np.array_equal(before[0], lower) and np.array_equal(before[1], upper):
            break
    free = np.flatnonzero(~np.isfinite(lower) | ~np.isfinite(upper))
    if len(free):
        raise BackendError(
            f"Column {free[0]} of the model has no limit that can be found, so the model may be "
            "unbounded; whole-number solvers need limits. Give it one, or choose another backend."
        )
    return lower, upper


def _wider(limit: FloatArray, side: int) -> FloatArray:
    finite = np.where(np.isfinite(limit), limit, 0.0)
    return limit + side * _FEASIBILITY * np.maximum(np.abs(finite), 1.0)


class _Sides:
    """What the rows say about each column, given the limits of the others."""

    def __init__(self, model: LinearModel, lower: FloatArray, upper: FloatArray) -> None:
        self._model = model
        self._rows = np.repeat(np.arange(len(model.row_lower)), np.diff(model.row_start))
        value, column = model.value, model.column
        rising = value > 0
        used = value != 0
        with np.errstate(invalid="ignore"):
            low = np.where(used, value * np.where(rising, lower[column], upper[column]), 0.0)
            high = np.where(used, value * np.where(rising, upper[column], lower[column]), 0.0)
        self._least = self._others(low, -inf)
        self._most = self._others(high, inf)

    def _others(self, terms: FloatArray, unknown: float) -> FloatArray:
        """Sum of the other terms of each entry's row."""
        count = len(self._model.row_lower)
        endless = ~np.isfinite(terms)
        finite = np.where(endless, 0.0, terms)
        endless_others = _sums(self._rows, endless, count)[self._rows] - endless
        others = _sums(self._rows, finite, count)[self._rows] - finite
        return np.where(endless_others > 0, unknown, others)

    def implied(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Limits that feasibility implies, and the value from which on no row wants more."""
        model, rows = self._model, self._rows
        used = model.value != 0
        value = np.where(used, model.value, 1.0)
        from_upper = (model.row_upper[rows] - self._least) / value
        from_lower = (model.row_lower[rows] - self._most) / value
        rising = value > 0
        lower = np.full(len(model.cost), -inf)
        upper = np.full(len(model.cost), inf)
        enough = np.full(len(model.cost), -inf)
        ceiling = np.where(rising, from_upper, from_lower)
        floor = np.where(rising, from_lower, from_upper)
        np.minimum.at(upper, model.column[used], ceiling[used])
        np.maximum.at(lower, model.column[used], floor[used])
        with np.errstate(invalid="ignore"):
            wanting_upper = (model.row_upper[rows] - self._most) / value
            wanting_lower = (model.row_lower[rows] - self._least) / value
        limit = np.where(rising, model.row_lower[rows], model.row_upper[rows])
        wants = np.where(rising, wanting_lower, wanting_upper)
        wants = np.where(np.isfinite(limit), wants, -inf)
        np.maximum.at(enough, model.column[used], wants[used])
        return lower, upper, enough
