"""The command that sweeps: read the grid, solve with progress, write the table."""

import sys
from pathlib import Path

import typer

from api.cli_input import read_sweep
from api.sweeps import sweep_points
from api.telling import NO_PLAN, telling
from api.writing import write_text
from solver import SweepEvent, sweep

__all__ = ["sweep_to"]

OK = 0
CLEAR_LINE = "\r\x1b[2K"


def sweep_to(file: str, workers: int, output: Path | None) -> int:
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

    Returns
    -------
    int
        The exit code: 4 where no point has a plan.
    """
    given = read_sweep(file, {"--output": output})
    with telling(file, given.lines):
        points = sweep_points(given.base, given.grid, folder=given.folder)
        table = sweep(points, workers=workers, on_event=_show)
    text = table.to_csv(index=False, lineterminator="\n")
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(text, output, "--output")
    return OK if table["plan"].notna().any() else NO_PLAN


def _show(event: SweepEvent) -> None:
    """One line on standard error where that is a terminal, else one at the end."""
    is_terminal, is_last = sys.stderr.isatty(), event.done == event.total
    if not (is_terminal or is_last):
        return
    start = CLEAR_LINE if is_terminal else ""
    sys.stderr.write(f"{start}{event.done} of {event.total} points solved")
    sys.stderr.write("\n" if is_last else "")
    sys.stderr.flush()
