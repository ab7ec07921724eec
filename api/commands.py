"""The commands that search: read, run with progress, write."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from api.cli_input import Overrides, read_plan, read_request
from api.comparisons import compared
from api.progress import ProgressLine, run_until_interrupt
from api.render import show
from api.render_comparison import show_comparison
from api.schemas.answer import EvaluationAnswer, PlanAnswer
from api.schemas.comparison import ComparisonAnswer
from api.service import Hooks, judge, plan
from api.telling import NO_PLAN, telling
from api.writing import check_suffix, write_answer, write_bytes

__all__ = ["Overrides", "compare_to", "evaluate_to", "plan_to"]

OK, INFEASIBLE = 0, 3
PLOT_OPTION = "--plot"
_EXIT_CODES = {"optimal": OK, "feasible": OK, "infeasible": INFEASIBLE, "unknown": NO_PLAN}
Answer = TypeVar("Answer")


def plan_to(
    request: str,
    overrides: Overrides,
    output: Path | None,
    *,
    as_json: bool,
    plot: Path | None = None,
) -> int:
    """
    Plan for a request and write the answer.

    Parameters
    ----------
    request
        File of the request; - is standard input.
    overrides
        Options in place of what the request says.
    output
        File to write; None is standard output.
    as_json
        Whether to write JSON, not text.
    plot
        File for a picture of the plan, or None.

    Returns
    -------
    int
        The exit code.
    """
    outputs = {"--output": output, PLOT_OPTION: plot}
    _check_plot(plot)
    prepared = read_request(request, overrides, outputs)
    answer = _search(request, lambda hooks: plan(prepared, hooks=hooks))
    _write(answer, output, as_json=as_json)
    _write_plot(answer, plot)
    return _EXIT_CODES[answer.status]


def evaluate_to(
    request: str,
    plan_file: str,
    overrides: Overrides,
    output: Path | None,
    *,
    with_solve: bool,
    as_json: bool,
    plot: Path | None = None,
) -> int:
    """Judge the plan in a file and write the answer; see `plan_to`."""
    outputs = {"--output": output, PLOT_OPTION: plot}
    _check_plot(plot)
    prepared = read_request(request, overrides, outputs)
    spec = read_plan(plan_file, outputs)
    answer = _search(
        plan_file, lambda hooks: judge(prepared, spec, with_solve=with_solve, hooks=hooks)
    )
    _write(answer, output, as_json=as_json)
    _write_plot(answer, plot)
    return OK if answer.feasible else INFEASIBLE


def compare_to(
    request: str,
    overrides: Overrides,
    output: Path | None,
    *,
    as_json: bool,
    plot: Path | None = None,
) -> int:
    """Set baselines beside the best plan for a request and write the answer; see `plan_to`."""
    _check_plot(plot)
    prepared = read_request(request, overrides, {"--output": output, PLOT_OPTION: plot})
    answer = _search(request, lambda hooks: compared(prepared, hooks=hooks))
    write_answer(answer, lambda console: show_comparison(answer, console), output, as_json=as_json)
    _write_bars(answer, plot)
    return _EXIT_CODES[answer.status]


def _search(source: str, work: Callable[[Hooks], Answer]) -> Answer:
    """Run a search with progress on standard error, ended early by Ctrl-C."""
    line = ProgressLine()

    def tell() -> None:
        line.close()
        typer.echo("Stopping with the best plan so far; Ctrl-C again to quit at once.", err=True)

    with telling(source):
        try:
            return run_until_interrupt(
                lambda cancelled: work(Hooks(on_progress=line, cancelled=cancelled)), tell
            )
        finally:
            line.close()
    raise typer.Exit(NO_PLAN)


def _write(answer: PlanAnswer | EvaluationAnswer, output: Path | None, *, as_json: bool) -> None:
    write_answer(answer, lambda console: show(answer, console), output, as_json=as_json)


def _check_plot(path: Path | None) -> None:
    if path is not None:
        from api.plots import PLOT_SUFFIXES

        check_suffix(path, PLOT_OPTION, PLOT_SUFFIXES)


def _write_plot(answer: PlanAnswer | EvaluationAnswer, path: Path | None) -> None:
    if path is None:
        return
    if answer.plan is None:
        _tell_no_plot(path)
        return
    from api.plots import figure_bytes, pipeline_figure, plan_title

    figure = pipeline_figure(answer.plan, answer.stages, title=plan_title(answer))
    write_bytes(figure_bytes(figure, path.suffix), path, PLOT_OPTION)


def _write_bars(answer: ComparisonAnswer, path: Path | None) -> None:
    if path is None:
        return
    if answer.best.plan is None:
        _tell_no_plot(path)
        return
    from api.plots import (
        Quantity,
        comparison_bars,
        comparison_figure,
        comparison_title,
        figure_bytes,
    )

    quantity = Quantity.of(answer.best.goal)
    figure = comparison_figure(comparison_bars(answer), quantity, title=comparison_title(answer))
    write_bytes(figure_bytes(figure, path.suffix), path, PLOT_OPTION)


def _tell_no_plot(path: Path) -> None:
    typer.echo(f"There is no plan to draw; {path} is not written.", err=True)
