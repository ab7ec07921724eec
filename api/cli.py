"""The command line. Exit codes: 0 a plan; 2 bad input; 3 infeasible; 4 a limit without a plan."""

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel
from rich.table import Table

from api.answer import hetplan_version
from api.catalogue import list_examples, list_gpus, list_models
from api.cli_input import Overrides, read_plan, read_request, stop, telling
from api.example_files import example_path
from api.json_schemas import SCHEMA_NAMES, json_schema
from api.listing import examples_table, gpus_table, models_table
from api.prepared import Prepared
from api.progress import ProgressLine, run_until_interrupt
from api.render import make_console, print_plainly, show
from api.schemas.answer import EvaluationAnswer, PlanAnswer
from api.service import Hooks, judge, plan
from solver import Goal

__all__ = ["app", "main"]

OK, INFEASIBLE, NO_PLAN = 0, 3, 4
_EXIT_CODES = {"optimal": OK, "feasible": OK, "infeasible": INFEASIBLE, "unknown": NO_PLAN}
Answer = TypeVar("Answer")
Entry = TypeVar("Entry", bound=BaseModel)

app = typer.Typer(
    name="hetplan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Plan how to serve a large language model on the GPUs you have: the best plan, with proof."
    "\n\nExit codes: 0 a plan; 2 bad input; 3 no plan exists, or the plan judged breaks a limit; "
    "4 a limit was reached without a plan.",
)


class Format(StrEnum):
    """How to print an answer."""

    TEXT = "text"
    JSON = "json"


Request = Annotated[str, typer.Argument(help="Request file, YAML or JSON; - reads standard input.")]
Output = Annotated[Path | None, typer.Option(help="File to write instead of standard output.")]
Form = Annotated[Format, typer.Option("--format", help="Text for reading, or complete JSON.")]
TimeLimit = Annotated[
    float | None, typer.Option(help="Seconds until the search stops; overrides the request.")
]
Gap = Annotated[
    float | None, typer.Option(help="Relative gap that is good enough; overrides the request.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the solver; overrides the request.")]
GoalOption = Annotated[
    Goal | None, typer.Option("--objective", help="What to optimise; overrides the request.")
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hetplan {hetplan_version()}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("plan")
def plan_command(
    request: Request,
    output: Output = None,
    form: Form = Format.TEXT,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = None,
    objective: GoalOption = None,
) -> None:
    """Find the best plan for a request and prove how good it is."""
    overrides = Overrides(time_limit_s=time_limit, gap=gap, seed=seed, goal=objective)
    prepared = read_request(request, overrides)
    answer = _search(request, prepared, lambda hooks: plan(prepared, hooks=hooks))
    _write(answer, output, form)
    raise typer.Exit(_EXIT_CODES[answer.status])


@app.command("evaluate")
def evaluate_command(
    request: Request,
    plan_file: Annotated[
        str,
        typer.Option("--plan", help="Plan to judge, JSON or YAML: an answer, or its plan object."),
    ],
    solve: Annotated[
        bool, typer.Option(help="Solve too, to say how far the plan is from the best.")
    ] = True,
    output: Output = None,
    form: Form = Format.TEXT,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = None,
    objective: GoalOption = None,
) -> None:
    """Judge a plan of yours: is it feasible, what does it give, how far is it from the best."""
    overrides = Overrides(time_limit_s=time_limit, gap=gap, seed=seed, goal=objective)
    prepared = read_request(request, overrides)
    spec = read_plan(plan_file)
    answer = _search(
        plan_file, prepared, lambda hooks: judge(prepared, spec, with_solve=solve, hooks=hooks)
    )
    _write(answer, output, form)
    raise typer.Exit(OK if answer.feasible else INFEASIBLE)


@app.command("models")
def models_command(form: Form = Format.TEXT) -> None:
    """List the models of the catalogue."""
    _list(list_models(), models_table, form)


@app.command("gpus")
def gpus_command(form: Form = Format.TEXT) -> None:
    """List the GPUs of the catalogue."""
    _list(list_gpus(), gpus_table, form)


@app.command("examples")
def examples_command(
    name: Annotated[str | None, typer.Argument(help="Example to print; none lists all.")] = None,
    form: Form = Format.TEXT,
) -> None:
    """List the example requests, or print one."""
    if name is None:
        _list(list_examples(), examples_table, form)
        return
    with telling("examples"):
        typer.echo(example_path(name).read_text(encoding="utf-8"), nl=False)


@app.command("schema")
def schema_command(
    name: Annotated[str, typer.Argument(help=f"Which one: {', '.join(SCHEMA_NAMES)}.")],
) -> None:
    """Print the JSON Schema of requests or answers."""
    with telling("schema"):
        typer.echo(json.dumps(json_schema(name), indent=2))


@app.command("serve")
def serve_command(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default HETPLAN_HOST or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; default HETPLAN_PORT or 8000.")
    ] = None,
) -> None:
    """Start the HTTP service; HETPLAN_* environment variables set the rest."""
    from api.main import serve  # the web framework is slow to import

    with telling("settings"):
        serve(host=host, port=port)


def _search(source: str, prepared: Prepared, work: Callable[[Hooks], Answer]) -> Answer:
    """Run a search with progress on standard error, ended early by Ctrl-C."""
    line = ProgressLine(prepared.objective.goal.unit)

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


def _write(answer: PlanAnswer | EvaluationAnswer, output: Path | None, form: Format) -> None:
    if output is None:
        if form is Format.JSON:
            typer.echo(answer.model_dump_json(indent=2))
        else:
            show(answer, make_console())
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            if form is Format.JSON or output.suffix == ".json":
                file.write(answer.model_dump_json(indent=2) + "\n")
            else:
                show(answer, make_console(file))
    except OSError as error:
        stop(f"{output} cannot be written: {error.strerror}. Choose another --output.")


def _list(
    entries: Sequence[Entry], table: Callable[[Sequence[Entry]], Table], form: Format
) -> None:
    if form is Format.JSON:
        typer.echo(json.dumps([entry.model_dump() for entry in entries], indent=2))
    else:
        print_plainly(make_console(), [table(entries)])


def main() -> None:
    """Entry point of the program."""
    app()
