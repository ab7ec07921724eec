"""A linear model as a readable `pulp.LpProblem`, and as an LP or MPS file."""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

import pulp

from profiles.errors import InputError
from solver.linear import LinearModel

__all__ = ["MODEL_FILE_SUFFIXES", "pulp_problem", "write_model"]


def pulp_problem(
    model: LinearModel,
    *,
    column_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    name: str = "hetplan",
) -> pulp.LpProblem:
    """
    The model for PuLP.

    Parameters
    ----------
    model
        The model. A row with two different limits becomes two, ``..._least`` and ``..._most``.
    column_names, row_names
        Unique names of letters, digits, ``_`` and ``.``; default ``x0, x1, ...`` and ``r0, ...``.
    name
        Title of the problem.
    """
    columns = column_names or [f"x{j}" for j in range(len(model.cost))]
    rows = row_names or [f"r{i}" for i in range(len(model.row_lower))]
    problem = pulp.LpProblem(name, pulp.LpMinimize)  # type: ignore[no-untyped-call]
    variables = [
        problem.add_variable(
            columns[j],
            _finite(model.lower[j]),
            _finite(model.upper[j]),
            pulp.LpInteger if model.integer[j] else pulp.LpContinuous,
        )
        for j in range(len(model.cost))
    ]
    costs = [(variables[j], float(model.cost[j])) for j in model.cost.nonzero()[0]]
    problem.setObjective(pulp.LpAffineExpression(costs))  # type: ignore[no-untyped-call]
    for i in range(len(rows)):
        _add_row(problem, model, variables, i, rows[i])
    return problem


def _add_row(
    problem: pulp.LpProblem,
    model: LinearModel,
    variables: Sequence[pulp.LpVariable],
    index: int,
    name: str,
) -> None:
    inside = slice(model.row_start[index], model.row_start[index + 1])
    terms = zip(model.column[inside], model.value[inside], strict=True)
    entries = [(variables[j], float(value)) for j, value in terms]
    least, most = _finite(model.row_lower[index]), _finite(model.row_upper[index])
    if least is not None and least == most:
        limits = [(name, pulp.LpConstraintEQ, least)]
    else:
        both = least is not None and most is not None
        limits = [
            (f"{name}_{word}" if both else name, sense, limit)
            for word, sense, limit in (
                ("least", pulp.LpConstraintGE, least),
                ("most", pulp.LpConstraintLE, most),
            )
            if limit is not None
        ]
    for unique, sense, limit in limits:
        expression = pulp.LpAffineExpression(entries)
        row = pulp.LpConstraint(expression, sense, unique, limit)  # type: ignore[no-untyped-call]
        problem.addConstraint(row)


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


_WRITERS: dict[str, tuple[str, Callable[[pulp.LpProblem, str], object]]] = {
    ".lp": ("\\ ", lambda problem, path: problem.writeLP(path)),  # type: ignore[no-untyped-call]
    ".mps": ("* ", lambda problem, path: problem.writeMPS(path)),
}
MODEL_FILE_SUFFIXES = tuple(_WRITERS)
"""Suffixes of the files that `write_model` can write."""


def write_model(problem: pulp.LpProblem, path: Path, remarks: Sequence[str] = ()) -> None:
    """
    Write an LP or MPS file.

    Parameters
    ----------
    problem
        As `pulp_problem` returns it.
    path
        Ends in ``.lp`` or ``.mps``.
    remarks
        Lines of comment at the head of the file.

    Raises
    ------
    InputError
        For another suffix.
    OSError
        Where the file cannot be written.
    """
    if path.suffix.lower() not in _WRITERS:
        raise InputError(
            f"{path.name!r} does not end in {' or '.join(MODEL_FILE_SUFFIXES)}; choose one of them."
        )
    mark, write = _WRITERS[path.suffix.lower()]
    write(problem, str(path))
    body = path.read_text(encoding="utf-8")
    head = "".join(f"{mark}{remark}\n" for remark in remarks)
    path.write_text(head + body, encoding="utf-8")
