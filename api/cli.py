"""
The command line. Exit codes: 0 a plan; 2 bad input; 3 infeasible; 4 no plan by a limit or failure.

Commands import what they need when they run: `--help` and the catalogues answer at once.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.schemas.names import (
    SCHEMA_NAMES,
    BackendChoice,
    ExportEngine,
    GoalChoice,
    OrderChoice,
    StartChoice,
)
from api.version import hetplan_version

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(
    name="hetplan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Plan how to serve a large language model on the GPUs you have: the best plan, with proof."
    "\n\nExit codes: 0 a plan; 2 bad input; 3 no plan exists, or the plan judged breaks a limit; "
    "4 a limit was reached without a plan, or the solver failed.",
)


class Format(StrEnum):
    """How to print an answer."""

    TEXT = "text"
    JSON = "json"


Request = Annotated[str, typer.Argument(help="Request file, YAML or JSON; - reads standard input.")]
Output = Annotated[Path | None, typer.Option(help="File to write instead of standard output.")]
ListForm = Annotated[Format, typer.Option("--format", help="Text for reading, or complete JSON.")]
Form = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Text for reading, or complete JSON; default: JSON for an --output that ends in "
        ".json, else text.",
    ),
]
TimeLimit = Annotated[
    float | None, typer.Option(help="Seconds until the search stops; overrides the request.")
]
Gap = Annotated[
    float | None, typer.Option(help="Relative gap that is good enough; overrides the request.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the solver; overrides the request.")]
GoalOption = Annotated[
    GoalChoice | None,
    typer.Option("--objective", help="What to optimise; overrides the request."),
]

PlotFile = Annotated[
    Path | None, typer.Option("--plot", help="File for a picture, .png, .svg or .pdf.")
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="File of `hetplan calibrate`; its factors multiply the times."
    ),
]
Backend = Annotated[BackendChoice | None, typer.Option(help="What proves; overrides the request.")]


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
    form: Form = None,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = None,
    objective: GoalOption = None,
    backend: Backend = None,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Say too what changes would gain or lose.")
    ] = False,
    regret: Annotated[
        bool,
        typer.Option("--regret", help="Say too if it stays best in tables drawn from their error."),
    ] = False,
    calibration: CalibrationFile = None,
    plot: PlotFile = None,
) -> None:
    """Find the best plan for a request and prove how good it is."""
    from api.commands import Overrides, plan_to
    from api.writing import wants_json

    overrides = Overrides(
        time_limit_s=time_limit,
        gap=gap,
        seed=seed,
        goal=objective,
        backend=backend,
        what_if=what_if,
        regret=regret,
        calibration=calibration,
    )
    as_json = wants_json(form, output)
    raise typer.Exit(plan_to(request, overrides, output, as_json=as_json, plot=plot))


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
    form: Form = None,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = None,
    objective: GoalOption = None,
    backend: Backend = None,
    calibration: CalibrationFile = None,
    plot: PlotFile = None,
) -> None:
    """Judge a plan of yours: is it feasible, what does it give, how far is it from the best."""
    from api.commands import Overrides, evaluate_to
    from api.writing import wants_json

    overrides = Overrides(
        time_limit_s=time_limit,
        gap=gap,
        seed=seed,
        goal=objective,
        backend=backend,
        calibration=calibration,
    )
    code = evaluate_to(
        request,
        plan_file,
        overrides,
        output,
        with_solve=solve,
        as_json=wants_json(form, output),
        plot=plot,
    )
    raise typer.Exit(code)


@app.command("compare")
def compare_command(
    request: Request,
    output: Output = None,
    form: Form = None,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = None,
    objective: GoalOption = None,
    backend: Backend = None,
    calibration: CalibrationFile = None,
    plot: PlotFile = None,
) -> None:
    """Set what people use today beside the best plan: how far it is from it, and why it loses."""
    from api.commands import Overrides, compare_to
    from api.writing import wants_json

    overrides = Overrides(
        time_limit_s=time_limit,
        gap=gap,
        seed=seed,
        goal=objective,
        backend=backend,
        calibration=calibration,
    )
    as_json = wants_json(form, output)
    raise typer.Exit(compare_to(request, overrides, output, as_json=as_json, plot=plot))


@app.command("simulate")
def simulate_command(
    plan_file: Annotated[
        str, typer.Argument(metavar="PLAN", help="Answer with a plan, or a plan; - reads it.")
    ],
    request: Annotated[
        str | None, typer.Option(help="Request of the plan; default: the one in the answer.")
    ] = None,
    start: Annotated[
        StartChoice, typer.Option(help="When decode starts: after the whole batch, or overlapped.")
    ] = StartChoice.BARRIER,
    order: Annotated[
        OrderChoice, typer.Option(help="What a stage takes next of what waits.")
    ] = OrderChoice.FIRST_COME,
    gantt: Annotated[
        Path | None, typer.Option(help="File for rows of a Gantt chart, .csv or .json.")
    ] = None,
    gantt_rounds: Annotated[
        int, typer.Option(min=1, max=10_000, help="First and last decode rounds in --gantt.")
    ] = 10,
    plot: PlotFile = None,
    output: Output = None,
    form: Form = None,
) -> None:
    """Replay a plan micro-batch by micro-batch: times, bubbles and memory beside the formula's."""
    from api.simulate_command import simulate_to
    from api.writing import wants_json

    raise typer.Exit(
        simulate_to(
            plan_file,
            request,
            how=(start.value, order.value),
            gantt=(gantt, gantt_rounds),
            plot=plot,
            output=output,
            as_json=wants_json(form, output),
        )
    )


@app.command("calibrate")
def calibrate_command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="PLAN MEASURED...",
            help="Answer with a plan, then what was measured of it (CSV, JSON, or a result of "
            "`vllm bench serve --save-result`); more such pairs may follow.",
        ),
    ],
    request: Annotated[
        str | None, typer.Option(help="Request of the plans; default: the one in each answer.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who measured; default: your user name.")] = None,
    output: Output = None,
    form: Form = None,
) -> None:
    """Correct predicted times by what you measured of launched plans: write a calibration."""
    from api.calibrate_command import calibrate_to
    from api.writing import wants_json

    as_json = wants_json(form, output)
    calibrate_to(files, request, by, output=output, as_json=as_json)


@app.command("export")
def export_command(
    plan_file: Annotated[
        str, typer.Argument(metavar="PLAN", help="Answer with a plan, or a plan; - reads it.")
    ],
    engine: Annotated[
        ExportEngine, typer.Option(help="The engine that is to run the plan.")
    ] = ExportEngine.VLLM,
    request: Annotated[
        str | None, typer.Option(help="Request of the plan; default: the one in the answer.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the scripts; default: print them.")
    ] = None,
    form: ListForm = Format.TEXT,
) -> None:
    """Write what launches a plan on an engine, or say why the engine cannot run it."""
    from api.export_command import export_plan_to

    export_plan_to(plan_file, request, engine, output, as_json=form is Format.JSON)


@app.command("pareto")
def pareto_command(
    request: Request,
    objectives: Annotated[
        str | None,
        typer.Option(
            help="Two or three of latency, throughput, ttft, tpot, cost, quality_loss, gpus, with "
            "commas between."
        ),
    ] = None,
    points: Annotated[
        int | None, typer.Option(help="About how many plans at most; default 20.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for JSON, CSV, text, pictures and the request; or a .json, .txt file."
        ),
    ] = None,
    plot: PlotFile = None,
    form: Form = None,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = None,
    backend: Backend = None,
) -> None:
    """Find the plans that no other plan beats in two or three objectives."""
    from api.commands import Overrides
    from api.pareto_command import pareto_to
    from api.writing import wants_json

    overrides = Overrides(time_limit_s=time_limit, gap=gap, seed=seed, backend=backend)
    raise typer.Exit(
        pareto_to(
            request,
            objectives,
            points,
            overrides,
            output=output,
            plot=plot,
            as_json=wants_json(form, output),
        )
    )


@app.command("export-model")
def export_model_command(
    request: Request,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write, .lp or .mps; default: LP on standard output."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Batch size; default: that of the best plan.")
    ] = None,
    prefill_micro_batch: Annotated[
        int | None, typer.Option(help="Micro-batch size in prefill; default: the best plan's.")
    ] = None,
    decode_micro_batch: Annotated[
        int | None, typer.Option(help="Micro-batch size in decode; default: the best plan's.")
    ] = None,
    objective: GoalOption = None,
) -> None:
    """Write the exact integer program of one pair of micro-batch sizes, for any solver to read."""
    from api.commands import Overrides
    from api.export_model import Sizes, export_to

    sizes = Sizes(batch=batch_size, prefill=prefill_micro_batch, decode=decode_micro_batch)
    export_to(request, Overrides(goal=objective), sizes, output)


@app.command("sweep")
def sweep_command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Request and grid, YAML or JSON; - reads it.")
    ],
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that solve, one thread each.")
    ] = 1,
    output: Output = None,
    plot: PlotFile = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="POINTER",
            help="Setting up the side of the picture; default: the first number that varies.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="POINTER", help="Setting along its foot; default: the second."),
    ] = None,
) -> None:
    """Solve a grid of variations of a request: a table, one row a point, as CSV; a heat map."""
    from api.sweep_command import SweepPlot, sweep_to

    picture = None if plot is None else SweepPlot(file=plot, rows=rows, columns=columns)
    raise typer.Exit(sweep_to(file, workers, output, picture))


@app.command("sensitivity")
def sensitivity_command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Folder of a checkpoint (config.json and safetensors), one safetensors file, a "
            "config.json, or a model of the catalogue."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of the model, by which its anchor is found; default: the folder's."
        ),
    ] = None,
    bits: Annotated[str, typer.Option(help="Widths of weights, with commas between.")] = "3,4,8",
    group_size: Annotated[
        int, typer.Option(min=0, help="Weights that share a scale; 0: one per output channel.")
    ] = 128,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="Levels evenly around 0, without a zero.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Rows looked at, per module of a layer.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Draws the rows, and random tokens.")] = 0,
    nats_at_4_bits: Annotated[
        float | None,
        typer.Option(
            min=0, help="Loss of the whole model at uniform 4 bits; default: what is published."
        ),
    ] = None,
    last_layer: Annotated[
        float | None,
        typer.Option(
            help="Factor by which the last layer counts more than its weights; default: 2, or 1 "
            "below half a billion parameters."
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Run the model with one layer rounded at a time (PyTorch)."
        ),
    ] = False,
    tokens: Annotated[
        Path | None,
        typer.Option(help="Numbers of tokens to calibrate on, a sequence a line; default: random."),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Scores of another tool: CSV, or JSON of ModelOpt or AutoRound."),
    ] = None,
    in_nats: Annotated[
        bool, typer.Option("--in-nats", help="The scores are nats and keep their level.")
    ] = False,
    noise_percentile: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Percentile of the scores to take off as noise."),
    ] = None,
    output: Output = None,
    form: Form = None,
) -> None:
    """Find how much quality each layer loses at each width, for `quality: {omega_file: ...}`."""
    from api.sensitivity_command import SensitivityOptions, sensitivity_to
    from api.writing import wants_json

    options = SensitivityOptions(
        model=model,
        bits=bits,
        group_size=group_size,
        symmetric=symmetric,
        rows=rows,
        seed=seed,
        nats_at_4_bits=nats_at_4_bits,
        last_layer=last_layer,
        calibrate=calibrate,
        tokens=tokens,
        scores=scores,
        in_nats=in_nats,
        noise_percentile=noise_percentile,
    )
    sensitivity_to(checkpoint, options, output, as_json=wants_json(form, output))


@app.command("models")
def models_command(form: ListForm = Format.TEXT) -> None:
    """List the models of the catalogue."""
    from api.catalogue import list_models
    from api.listing import models_table, print_list

    print_list(list_models(), models_table, as_json=form is Format.JSON)


@app.command("gpus")
def gpus_command(form: ListForm = Format.TEXT) -> None:
    """List the GPUs of the catalogue."""
    from api.catalogue import list_gpus
    from api.listing import gpus_table, print_list

    print_list(list_gpus(), gpus_table, as_json=form is Format.JSON)


@app.command("examples")
def examples_command(
    name: Annotated[str | None, typer.Argument(help="Example to print; none lists all.")] = None,
    form: ListForm = Format.TEXT,
) -> None:
    """List the example requests, or print one."""
    from api.catalogue import list_examples
    from api.example_files import example_path
    from api.listing import examples_table, print_list
    from api.telling import telling

    if name is None:
        print_list(list_examples(), examples_table, as_json=form is Format.JSON)
        return
    with telling("examples"):
        typer.echo(example_path(name).read_text(encoding="utf-8"), nl=False)


@app.command("schema")
def schema_command(
    name: Annotated[str, typer.Argument(help=f"Which one: {', '.join(SCHEMA_NAMES)}.")],
) -> None:
    """Print the JSON Schema of requests or answers."""
    import json

    from api.json_schemas import json_schema
    from api.telling import telling

    with telling("schema"):
        typer.echo(json.dumps(json_schema(name), indent=2))


profile_app = typer.Typer(
    no_args_is_help=True,
    help="Measure this machine: layers into a cost table, links, and what kernels run here.",
)
app.add_typer(profile_app, name="profile")

DeviceName = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1 ...; auto: the first CUDA GPU, else cpu.")
]


@profile_app.command("layers")
def profile_layers_command(
    model: Annotated[
        str, typer.Argument(help="Model of the catalogue, or the path of a config.json.")
    ],
    output: Annotated[
        Path,
        typer.Option(help="Table to write, .csv; its .journal.jsonl is kept beside it."),
    ],
    name: Annotated[
        str | None, typer.Option(help="What requests call the model of a config.json.")
    ] = None,
    device: DeviceName = "auto",
    gpu: Annotated[
        str | None, typer.Option(help="What requests call the device; default: the catalogue's.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Whose kernels to measure: torch or vllm.")] = "torch",
    kernels: Annotated[
        str | None, typer.Option(help="Some kernels only, with commas between; default: all.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Micro-batch sizes to cover.")] = "1-32",
    prompt: Annotated[str, typer.Option(help="Prompt lengths to cover.")] = "32-2048",
    context: Annotated[str, typer.Option(help="Tokens in the KV cache to cover.")] = "32-4096",
    tp: Annotated[str, typer.Option(help="Tensor-parallel sizes: 1, 2, 4, 8.")] = "1",
    link: Annotated[
        str | None, typer.Option(help="Link whose all-reduces are added where tp is over 1.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.1, max=50, help="Percent that interpolation may be off.")
    ] = 2.0,
    visits: Annotated[
        int, typer.Option(min=3, max=100, help="Times that each point is visited.")
    ] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a CPU, a core each.")] = 1,
    time_limit: Annotated[
        float | None, typer.Option(min=0, help="Seconds until it stops; run again to go on.")
    ] = None,
) -> None:
    """Measure the layers of a model on this machine; plans then use the table."""
    from api.profile_command import ProfileOptions, profile_layers_to

    options = ProfileOptions(
        name=name,
        device=device,
        gpu=gpu,
        engine=engine,
        kernels=kernels,
        batch=batch,
        prompt=prompt,
        context=context,
        tp=tp,
        link=link,
        tolerance_percent=tolerance,
        visits=visits,
        threads=threads,
        time_limit_s=time_limit,
    )
    raise typer.Exit(profile_layers_to(model, output, options))


@profile_app.command("kernels")
def profile_kernels_command(
    device: DeviceName = "auto",
    engine: Annotated[str, typer.Option(help="Whose kernels: torch or vllm.")] = "torch",
) -> None:
    """List the kernels that run on this machine, and why others do not."""
    from api.profile_command import kernels_to

    kernels_to(device, engine)


@profile_app.command("links")
def profile_links_command(
    connect: Annotated[
        str | None,
        typer.Option(help="ADDRESS:PORT of a host that listens; default: loopback and GPUs here."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Receive on this ADDRESS:PORT for another host instead.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File for all times, .json.")] = None,
) -> None:
    """Measure latency and bandwidth of links, in the form in which a request states them."""
    from api import profile_links

    if listen is not None:
        profile_links.listen(listen)
    else:
        profile_links.profile_links_to(connect, output)


@app.command("serve")
def serve_command(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default HETPLAN_HOST or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen on; default HETPLAN_PORT or 8000."),
    ] = None,
) -> None:
    """Start the HTTP service; HETPLAN_* environment variables set the rest."""
    from api.main import serve
    from api.telling import telling

    with telling("settings"):
        serve(host=host, port=port)


def main() -> None:
    """Entry point of the program."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
