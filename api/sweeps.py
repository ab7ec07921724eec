"""Variations of a request to points of a sweep; `solver.sweep` solves them."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from api.problems import pointer_to
from api.request import check_data, parse_request, prepare
from api.schemas.sweep import NamedValue
from profiles.errors import InputError
from solver import SweepEvent, SweepPoint, SweepProblem, sweep
from solver.sweep import Label

__all__ = ["MOST_POINTS", "column_of", "sweep_points", "sweep_requests"]

MOST_POINTS = 10_000
_NAMED = {"label", "value"}
Grid = Mapping[str, Sequence[object]]


@dataclass(frozen=True, slots=True)
class _Choice:
    """A value at a place of the request, and its name in the table."""

    pointer: str
    value: object
    label: Label


def sweep_requests(
    base: Mapping[str, Any],
    grid: Grid,
    *,
    folder: Path | None = None,
    workers: int = 1,
    on_event: Callable[[SweepEvent], None] | None = None,
) -> pd.DataFrame:
    """
    Solve all combinations of variations of a request.

    Parameters
    ----------
    base
        The request: the same body that files and HTTP take.
    grid
        By JSON pointer into the request, such as ``/workload/batch_size``: the values to try. A
        value that is a list or an object is given as ``{label, value}``.
    folder
        Where paths in the request start; None refuses them.
    workers, on_event
        See `solver.sweep`.

    Returns
    -------
    DataFrame
        A row per combination, the last pointer varying fastest: a column per pointer
        (``workload.batch_size``), then `solver.sweep.SWEEP_COLUMNS`. A request that is wrong is a
        row that says so.

    Raises
    ------
    InputError
        When the grid cannot be laid over the request, or has too many points.
    """
    points = sweep_points(base, grid, folder=folder)
    return sweep(points, workers=workers, on_event=on_event)


def sweep_points(
    base: Mapping[str, Any], grid: Grid, *, folder: Path | None = None
) -> list[SweepPoint]:
    """The points of a grid; see `sweep_requests`."""
    count = prod(len(values) for values in grid.values())
    if count > MOST_POINTS:
        raise InputError(
            f"The grid has {count} points; at most {MOST_POINTS} are allowed: try fewer values.",
            pointer="/grid",
        )
    for pointer in grid:
        if not pointer.startswith("/") or pointer == "/":
            raise InputError(
                f"{pointer!r} is no JSON pointer into the request; write it as "
                "/workload/batch_size.",
                pointer="/grid",
            )
    choices = [[*_choices(pointer, values)] for pointer, values in grid.items()]
    return [_point(base, chosen, folder) for chosen in product(*choices)]


def column_of(pointer: str) -> str:
    """The column of a setting in the table: ``workload.batch_size``."""
    return pointer[1:].replace("/", ".")


def _point(base: Mapping[str, Any], chosen: Sequence[_Choice], folder: Path | None) -> SweepPoint:
    body: Any = copy.deepcopy(base)
    for choice in chosen:
        _put(body, choice)
    labels = {column_of(choice.pointer): choice.label for choice in chosen}
    return SweepPoint(labels=labels, problem=partial(_problem, body, folder))


def _problem(body: object, folder: Path | None) -> SweepProblem:
    """The problem of one request; called where it is solved."""
    prepared = prepare(parse_request(body), folder=folder)
    return SweepProblem(
        problem=prepared.problem,
        objective=prepared.objective,
        limits=prepared.limits,
        stop=prepared.stop,
        backend=prepared.backend,
        unpriced=prepared.background.unpriced,
    )


# -- the grid -------------------------------------------------------------------------------------


def _choices(pointer: str, values: Sequence[object]) -> Iterator[_Choice]:
    for position, value in enumerate(values):
        where = pointer_to("grid", pointer, position)
        if isinstance(value, dict) and value.keys() == _NAMED:
            named = check_data(value, TypeAdapter(NamedValue), NamedValue)
            yield _Choice(pointer, named.value, named.label)
        elif isinstance(value, dict | list):
            raise InputError(
                "A list or an object needs a name in the table; write {label: ..., value: ...}.",
                pointer=where,
            )
        else:
            yield _Choice(pointer, value, _label(value))


def _label(value: object) -> Label:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _put(body: Any, choice: _Choice) -> None:  # noqa: ANN401 - a request as it was read
    """Set a value of a request; objects on the way to it are made."""
    *parents, last = map(_unescaped, choice.pointer[1:].split("/"))
    at = body
    for part in parents:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[_index(at, part, choice)]
    if isinstance(at, dict):
        at[last] = copy.deepcopy(choice.value)
    else:
        at[_index(at, last, choice)] = copy.deepcopy(choice.value)


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _index(at: object, part: str, choice: _Choice) -> int:
    """Position in a list of the request."""
    count = len(at) if isinstance(at, list) else 0
    if not (part.isascii() and part.isdigit() and int(part) < count):
        raise InputError(
            f"{choice.pointer} does not lead into the request: there is no {part!r}; see "
            "`hetplan schema request` for its fields.",
            pointer="/grid",
        )
    return int(part)
