"""The command that finds a Pareto set: read, search with progress, write."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, get_args

import typer

from api.cli_input import GivenPareto, Overrides, read_pareto
from api.console import make_console
from api.paretos import pareto_answer
from api.pipeline_art import pipeline_words
from api.progress import run_until_interrupt
from api.render_pareto import show_pareto
from api.schemas.pareto import ParetoAnswer, ParetoObjective, ParetoPointReport
from api.telling import NO_PLAN, stop, telling
from api.writing import check_suffix, write_answer, write_bytes, write_text
from solver import ParetoProgress

__all__ = ["csv_text", "pareto_to"]

OK, INFEASIBLE = 0, 3
EVERY_S = 2.0
_EXIT_CODES = {"optimal": OK, "feasible": OK, "infeasible": INFEASIBLE, "unknown": NO_PLAN}
FILES, PICTURES = (".json", ".txt"), (".png", ".svg")
NO_FOLDERS = (".csv", ".md", ".pdf", ".png", ".svg", ".yaml", ".yml")
"""A name that ends so is meant for a file, of which there is none but in a folder."""


def pareto_to(
    request: str,
    objectives: str | None,
    points: int | None,
    overrides: Overrides,
    *,
    output: Path | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """
    Find the Pareto set of a request and write it.

    Parameters
    ----------
    request
        File of the request, or of a set's own ``request.json``; - is standard input.
    objectives, points
        Names with commas between; number of points. None: as the file says.
    overrides
        Options in place of what the request says.
    output
        A file (.json, .txt), or else a folder for all forms of the set; None is standard output.
    plot
        File for a picture, or None.
    as_json
        Whether to write JSON, not text.

    Returns
    -------
    int
        The exit code.
    """
    is_folder = output is not None and output.suffix.lower() not in FILES
    if output is not None and output.suffix.lower() in NO_FOLDERS:
        stop(
            f"--output {output} is no folder; name one for all forms of the set (CSV and pictures "
            f"too), or a file that ends in {' or '.join(FILES)}."
        )
    if plot is not None:
        from api.plots import PLOT_SUFFIXES

        check_suffix(plot, "--plot", PLOT_SUFFIXES)
    names = None if objectives is None else _names(objectives)
    written = output / "request.json" if output is not None and is_folder else output
    asked = read_pareto(request, overrides, names, points, {"--output": written, "--plot": plot})
    answer = _search(request, asked)
    if output is not None and is_folder:
        _write_folder(answer, output)
    on_screen = None if is_folder else output
    write_answer(answer, lambda console: show_pareto(answer, console), on_screen, as_json=as_json)
    if plot is not None and not answer.points:
        typer.echo(f"There is no plan to draw; {plot} is not written.", err=True)
    elif plot is not None:
        write_bytes(_picture(answer, plot.suffix), plot, "--plot")
    return _EXIT_CODES[answer.status]


def _search(source: str, asked: GivenPareto) -> ParetoAnswer:
    """Search with progress on standard error, ended early by Ctrl-C."""
    with telling(source):
        return run_until_interrupt(
            lambda cancelled: pareto_answer(
                asked.prepared,
                asked.objectives,
                asked.points,
                on_progress=_Line(),
                cancelled=cancelled,
            ),
            lambda: typer.echo("Stopping with the points so far; Ctrl-C again to quit.", err=True),
        )
    raise typer.Exit(NO_PLAN)


def _names(objectives: str) -> list[str]:
    names = [name.strip() for name in objectives.split(",")]
    known = get_args(ParetoObjective)
    unknown = [name for name in names if name not in known]
    if unknown:
        stop(f"--objectives names {unknown[0]!r}; choose two or three of {', '.join(known)}.")
    return names


class _Line:
    """Tells on standard error how far a search is, every few seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._last_s = 0.0

    def __call__(self, progress: ParetoProgress) -> None:
        """Show a state, unless it comes too early."""
        if progress.elapsed_s - self._last_s < EVERY_S:
            return
        self._last_s = progress.elapsed_s
        points = "1 point" if progress.num_points == 1 else f"{progress.num_points} points"
        self._stream.write(f"{progress.elapsed_s:5.0f} s  {points} found\n")
        self._stream.flush()


# -- files --------------------------------------------------------------------------------------


def _write_folder(answer: ParetoAnswer, folder: Path) -> None:
    """JSON, text, CSV, pictures, and the request to run again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"{folder} cannot be made: {error.strerror}. Choose another --output.")
    text = io.StringIO()
    show_pareto(answer, make_console(text))
    files = {
        "pareto.json": answer.model_dump_json(indent=2) + "\n",
        "pareto.csv": csv_text(answer),
        "pareto.txt": text.getvalue(),
    }
    if answer.rerun is not None:
        body = answer.rerun.model_dump_json(indent=2, exclude_unset=True)
        files["request.json"] = body + "\n"
        files |= {f"plan-{point.number}.json": _plan_text(answer, point) for point in answer.points}
    for name, content in files.items():
        write_text(content, folder / name, "--output")
    if answer.points:
        for suffix in PICTURES:
            write_bytes(_picture(answer, suffix), folder / f"pareto{suffix}", "--output")


def _plan_text(answer: ParetoAnswer, point: ParetoPointReport) -> str:
    """A point's plan with the request that it is for, as other commands read them."""
    request = None if answer.rerun is None else answer.rerun.request
    given = {
        "plan": point.plan.model_dump(mode="json"),
        "request_body": request and request.model_dump(mode="json", exclude_unset=True),
    }
    return json.dumps(given, indent=2) + "\n"


def _picture(answer: ParetoAnswer, suffix: str) -> bytes:
    from api.plots import Quantity, figure_bytes, front_points, pareto_figure

    goals = [Quantity.of(axis.objective) for axis in answer.objectives]
    title = f"{answer.request.model} on {answer.request.cluster}"
    points = front_points(answer)
    figure = pareto_figure(points, goals, title=title, is_complete=answer.complete)
    return figure_bytes(figure, suffix)


def csv_text(answer: ParetoAnswer) -> str:
    """One row for each point: objectives with their gaps, metrics, and the plan in brief."""
    rows = list(_rows(answer))
    file = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file.getvalue()


def _rows(answer: ParetoAnswer) -> Iterator[dict[str, object]]:
    for point in answer.points:
        gaps = {f"{name}_gap": each.gap for name, each in point.objectives.items()}
        yield {
            "point": point.number,
            "views": "; ".join(point.views),
            **point.metrics.model_dump(),
            **gaps,
            "batch_size": point.plan.batch_size,
            "prefill_micro_batch": point.plan.prefill_micro_batch,
            "decode_micro_batch": point.plan.decode_micro_batch,
            "plan": pipeline_words(point.plan),
        }
