"""The command that replays a plan: read, simulate, write."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from api.cli_input import GivenSimulation, read_simulation
from api.render_simulation import PICTURE_ROUNDS, show_simulation
from api.schemas.simulation import GanttRowReport, SimulationAnswer
from api.simulation_answer import SimulationChoice
from api.simulations import simulated
from api.telling import telling
from api.writing import check_suffix, write_answer, write_bytes, write_text
from cost_model.gantt import GANTT_COLUMNS
from cost_model.simulated_pipeline import Order, Start
from cost_model.simulator import MAX_GANTT_ROWS, ROWS_PER_STEP

__all__ = ["simulate_to"]

OK, INFEASIBLE = 0, 3
GANTT_SUFFIXES = (".csv", ".json")


def simulate_to(
    plan_file: str,
    request_file: str | None,
    *,
    how: tuple[str, str],
    gantt: tuple[Path | None, int],
    plot: Path | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """
    Replay the plan in a file and write what it shows.

    Parameters
    ----------
    plan_file
        An answer with a plan, or a plan; - is standard input.
    request_file
        The request; None where the answer holds it.
    how
        Start and order, by name.
    gantt
        File for the rows of a Gantt chart, or None, and how many first and last decode rounds.
    plot
        File for the Gantt chart as a picture, or None.
    output, as_json
        See `api.writing.write_answer`.

    Returns
    -------
    int
        The exit code: 3 where the plan breaks memory or a limit, as `evaluate` does.
    """
    path, rounds = gantt
    _check_files(path, plot)
    outputs = {"--output": output, "--gantt": path, "--plot": plot}
    given = read_simulation(plan_file, request_file, outputs)
    kept = max(rounds if path else 0, PICTURE_ROUNDS if path or plot else _picture_rounds(given))
    start, order = how
    choice = SimulationChoice(start=Start(start), order=Order(order), gantt_rounds=kept)
    with telling(plan_file):
        answer = simulated(given.prepared, given.request, given.plan, choice, folder=given.folder)
    if path is not None:
        write_text(_gantt_text(answer.gantt, path.suffix.lower()), path, "--gantt")
    if plot is not None:
        _write_plot(answer, plot)
    plain = answer.model_copy(update={"gantt": []})
    write_answer(plain, lambda console: show_simulation(answer, console), output, as_json=as_json)
    return OK if answer.feasible else INFEASIBLE


def _check_files(gantt: Path | None, plot: Path | None) -> None:
    if gantt is not None:
        check_suffix(gantt, "--gantt", GANTT_SUFFIXES)
    if plot is not None:
        from api.plots import PLOT_SUFFIXES

        check_suffix(plot, "--plot", PLOT_SUFFIXES)


def _write_plot(answer: SimulationAnswer, path: Path) -> None:
    from api.plots import figure_bytes, gantt_figure, replay_title

    figure = gantt_figure(answer.gantt, stages=answer.stages, title=replay_title(answer))
    write_bytes(figure_bytes(figure, path.suffix), path, "--plot")


def _picture_rounds(given: GivenSimulation) -> int:
    """Rounds to keep for the picture alone; none where that would be too many rows."""
    most = max(batch.size for batch in given.prepared.problem.batches)
    micro_batches = (given.plan.batch_size or most) * (1 + 2 * PICTURE_ROUNDS)
    rows = micro_batches * len(given.plan.stages) * ROWS_PER_STEP
    return PICTURE_ROUNDS if rows <= MAX_GANTT_ROWS else 0


def _gantt_text(rows: Sequence[GanttRowReport], suffix: str) -> str:
    if suffix == ".json":
        return json.dumps([row.model_dump() for row in rows], indent=1) + "\n"
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, GANTT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return file.getvalue()
