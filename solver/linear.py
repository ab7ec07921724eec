"""A mixed-integer linear program as plain arrays, and what a backend answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Protocol

import numpy as np

from solver.problem import FloatArray, IntArray

__all__ = [
    "Backend",
    "BackendResult",
    "BackendStop",
    "Effort",
    "Expression",
    "LinearModel",
    "ModelBuilder",
    "combine",
    "is_feasible",
    "minus",
    "total",
]

# A weighted sum of columns: column index -> weight.
Expression = Mapping[int, float]


def combine(*parts: tuple[float, Expression]) -> dict[int, float]:
    """Weighted sum of expressions."""
    result: dict[int, float] = {}
    for weight, expression in parts:
        if not result:
            result = {column: weight * value for column, value in expression.items()}
            continue
        for column, value in expression.items():
            result[column] = result.get(column, 0.0) + weight * value
    return result


def total(*expressions: Expression) -> dict[int, float]:
    """Sum of expressions."""
    return combine(*((1.0, expression) for expression in expressions))


def minus(expression: Expression) -> dict[int, float]:
    """The expression times -1."""
    return {column: -value for column, value in expression.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearModel:
    """
    Minimise ``cost @ x`` subject to ``row_lower <= A x <= row_upper`` and column limits.

    Parameters
    ----------
    cost, lower, upper, integer
        One entry per column; ``integer`` is 1 where the column must be whole.
    row_lower, row_upper, row_start, column, value
        Rows of A in compressed form: row i has entries ``row_start[i]:row_start[i + 1]``.
    """

    cost: FloatArray
    lower: FloatArray
    upper: FloatArray
    integer: IntArray
    row_lower: FloatArray
    row_upper: FloatArray
    row_start: IntArray
    column: IntArray
    value: FloatArray


def is_feasible(model: LinearModel, point: FloatArray, tolerance: float = 1e-6) -> bool:
    """
    Whether a point keeps every limit.

    Parameters
    ----------
    model
        The model; where columns must be whole, only whole values pass.
    point
        Shape (columns,).
    tolerance
        What each limit may be exceeded by, times the largest term of its row or 1.
    """
    terms = model.value * point[model.column]
    rows = np.repeat(np.arange(len(model.row_lower)), np.diff(model.row_start))
    activity = np.bincount(rows, terms, len(model.row_lower))
    scale = np.ones_like(activity)
    np.maximum.at(scale, rows, np.abs(terms))
    whole = point[model.integer > 0]
    return bool(
        (point >= model.lower - tolerance).all()
        and (point <= model.upper + tolerance).all()
        and (np.abs(whole - np.round(whole)) <= tolerance).all()
        and (activity >= model.row_lower - tolerance * scale).all()
        and (activity <= model.row_upper + tolerance * scale).all()
    )


class BackendStop(Enum):
    """Why a backend stopped; whether it has a solution is a separate fact."""

    PROVEN = auto()  # optimal, or within the gap asked for
    INFEASIBLE = auto()
    TIME_LIMIT = auto()
    WORK_LIMIT = auto()  # nodes or iterations
    CANCELLED = auto()
    MEMORY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How far a backend should go: relative gap, seconds, seed, nodes of its tree (None: any)."""

    gap: float
    time_s: float
    seed: int
    max_nodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackendResult:
    """Why it stopped, the best point if any, and a proven lower bound on the objective."""

    stop: BackendStop
    point: FloatArray | None
    bound: float


class Backend(Protocol):
    """
    A solver of linear models.

    Both functions raise `BackendError` where the solver ends without an answer or a proof, an
    unbounded model among them. What the functions given to them raise comes through.
    """

    def relax(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """Solve without the integrality conditions; the bound is -inf where it was cut short."""
        ...

    def solve(
        self,
        model: LinearModel,
        effort: Effort,
        *,
        start: FloatArray | None = None,
        on_point: Callable[[FloatArray], None] | None = None,
        on_bound: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackendResult:
        """
        Solve in whole.

        Parameters
        ----------
        model
            The model.
        effort
            How far to go.
        start
            Shape (columns,): a point to begin with; left aside if it is not feasible.
        on_point, on_bound
            Called with better points and bounds as far as the solver tells them while it works.
        cancelled
            Asked now and then; once it returns True the solver ends with what it has.
        """
        ...


@dataclass(slots=True)
class ModelBuilder:
    """Collects columns and rows of a `LinearModel`."""

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integer: list[int] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    row_start: list[int] = field(default_factory=lambda: [0])
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)

    def add(self, upper: float = inf, *, lower: float = 0.0, integer: bool = False) -> int:
        """Add a column and return its index."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.integer.append(int(integer))
        return len(self.lower) - 1

    def row(self, entries: Expression, *, lower: float = -inf, upper: float = inf) -> None:
        """Add ``lower <= sum(value * column) <= upper``."""
        self.column.extend(entries.keys())
        self.value.extend(entries.values())
        self.row_start.append(len(self.column))
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def build(self, cost: Expression) -> LinearModel:
        """Freeze the model with an objective."""
        costs = np.zeros(len(self.lower))
        costs[list(cost.keys())] = list(cost.values())
        return LinearModel(
            cost=costs,
            lower=np.array(self.lower),
            upper=np.array(self.upper),
            integer=np.array(self.integer, dtype=np.int64),
            row_lower=np.array(self.row_lower),
            row_upper=np.array(self.row_upper),
            row_start=np.array(self.row_start, dtype=np.int64),
            column=np.array(self.column, dtype=np.int64),
            value=np.array(self.value),
        )
