"""The command that sweeps: read the grid, solve with progress, write the table and a picture."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from api.cli_input import read_sweep
from api.sweeps import column_of, sweep_points
from api.telling import NO_PLAN, stop, telling
from api.writing import check_suffix, write_bytes, write_text
from solver import Goal, SweepEvent, sweep

__all__ = ["SweepPlot", "sweep_to"]

OK = 0
CLEAR_LINE = "\r\x1b[2K"
FAILED = "failed"
VALUE, OBJECTIVE = "objective_value", "/objective"
ROWS, COLUMNS = "--rows", "--columns"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlot:
    """
    A heat map of a sweep.

    Parameters
    ----------
    file
        Where to write it.
    rows, columns
        Pointers of the two settings to lay it over; None: the two that vary or, of more, the two
        that are numbers.
    """

    file: Path
    rows: str | None = None
    columns: str | None = None


def sweep_to(file: str, workers: int, output: Path | None, plot: SweepPlot | None = None) -> int:
    """
    Solve every point of a sweep and write the table as CSV.

    Parameters
    ----------
    file
        The sweep; - is standard input.
    workers
        Processes that solve.
    output
        File to write; None is standard output.
    plot
        A picture beside it; None for none.

    Returns
    -------
    int
        The exit code: 4 where no point has a plan.
    """
    given = read_sweep(file, {"--output": output, "--plot": None if plot is None else plot.file})
    axes = None if plot is None else _axes(plot, given.grid)
    with telling(file, given.lines):
        points = sweep_points(given.base, given.grid, folder=given.folder)
        table = sweep(points, workers=workers, on_event=_Line())
    text = table.to_csv(index=False, lineterminator="\n")
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(text, output, "--output")
    if plot is not None and axes is not None:
        _draw(table, axes, given.base, plot.file)
    return OK if table["plan"].notna().any() else NO_PLAN


class _Line:
    """One line on standard error where that is a terminal, else one at the end."""

    def __init__(self) -> None:
        self._failed = 0

    def __call__(self, event: SweepEvent) -> None:
        """Tell of a point."""
        self._failed += event.row["status"] == FAILED
        is_terminal, is_last = sys.stderr.isatty(), event.done == event.total
        if not (is_terminal or is_last):
            return
        start = CLEAR_LINE if is_terminal else ""
        failed = f", {self._failed} failed: see their column reason" if self._failed else ""
        sys.stderr.write(f"{start}{event.done} of {event.total} points done{failed}")
        sys.stderr.write("\n" if is_last else "")
        sys.stderr.flush()


# -- the picture ----------------------------------------------------------------------------------


def _axes(plot: SweepPlot, grid: Mapping[str, Sequence[Any]]) -> tuple[str, str, str | None]:
    """Pointers of rows, of columns, and of what wins; ends the program where they are not clear."""
    from api.plots import PLOT_SUFFIXES

    check_suffix(plot.file, "--plot", PLOT_SUFFIXES)
    varied = [pointer for pointer, values in grid.items() if len(values) > 1]
    numbers = [p for p in varied if all(isinstance(value, int | float) for value in grid[p])]
    pair = varied if len(varied) == len((ROWS, COLUMNS)) else numbers
    if plot.rows is not None and plot.columns is not None:
        pair = [plot.rows, plot.columns]
    if len(set(pair)) != len((ROWS, COLUMNS)) or not set(pair) <= grid.keys():
        stop(
            f"--plot lays a map over two settings; give {ROWS} and {COLUMNS}, two of "
            f"{', '.join(grid)}."
        )
    if OBJECTIVE in varied:
        stop(f"--plot shows one objective, and the grid varies {OBJECTIVE}; make a sweep for each.")
    others = [pointer for pointer in varied if pointer not in pair]
    return pair[0], pair[1], others[0] if len(others) == 1 else None


def _draw(
    table: pd.DataFrame, axes: tuple[str, str, str | None], base: Mapping[str, Any], file: Path
) -> None:
    from api.plots import Quantity, figure_bytes, sweep_figure

    if table[VALUE].isna().all():
        typer.echo(f"There is no plan to draw; {file} is not written.", err=True)
        return
    rows, columns, winner = (axis and column_of(axis) for axis in axes)
    figure = sweep_figure(
        table,
        rows=str(rows),
        columns=str(columns),
        value=VALUE,
        quantity=Quantity.of(str(base.get(OBJECTIVE[1:], Goal.LATENCY))),
        winner=winner,
        title=f"{_name(base.get('model'))}: the best of each setting",
    )
    write_bytes(figure_bytes(figure, file.suffix), file, "--plot")


def _name(model: object) -> str:
    return str(model.get("name", "own model")) if isinstance(model, dict) else str(model or "sweep")
