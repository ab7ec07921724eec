"""Plots: what they show, the files they make, and how a wrong call is told."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from typer.testing import CliRunner

from api.cli import app
from api.gantt_picture import gantt_windows
from api.plots import (
    PLOT_SUFFIXES,
    Bar,
    FrontPoint,
    Quantity,
    comparison_figure,
    figure_bytes,
    gantt_figure,
    pareto_figure,
    pipeline_figure,
    plan_title,
    replay_title,
    sweep_figure,
)
from api.request import parse_request, prepare
from api.schemas.plan import GivenPlan
from api.schemas.simulation import SimulationAnswer
from api.service import plan_request
from api.simulation_answer import SimulationChoice
from api.simulations import simulated
from profiles.errors import InputError

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
LATENCY = Quantity.of("latency")
COST = Quantity(name="cost", unit="$ per million tokens")
RATE = Quantity.of("throughput")


def texts(figure):
    """Every text of a figure, as it is drawn."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_visible()]
    return [text.get_text().replace(r"\$", "$") for text in found if text.get_text()]


def has(figure, *parts):
    """Whether each part stands in some text of the figure, line breaks aside."""
    shown = [" ".join(text.split()) for text in texts(figure)]
    return all(any(part in text for text in shown) for part in parts)


def clipped(figure):
    """Whether anything that is drawn reaches beyond the sheet."""
    figure.draw_without_rendering()
    notes = [note.get_window_extent() for note in figure.findobj(Annotation)]
    drawn = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    box, page = Bbox.union([drawn, *notes]), figure.bbox.padded(1)
    return not (page.containsx(box.x0) and page.containsx(box.x1) and page.containsy(box.y1))


@pytest.fixture
def answer(small_request):
    """A plan of two stages or more on different nodes."""
    small_request["limits"]["min_stages"] = 2
    return plan_request(small_request)


@pytest.fixture
def replay(small_request, answer):
    """Its replay with rows, in micro-batches of one request."""
    request = parse_request(small_request)
    plan = GivenPlan.model_validate(json.loads(answer.plan.model_dump_json()))
    plan = plan.model_copy(update={"prefill_micro_batch": 1, "decode_micro_batch": 1})
    return simulated(prepare(request), request, plan, SimulationChoice(gantt_rounds=3))


@pytest.fixture
def run(tmp_path, two_layers):
    """Runs a command on the request of two layers."""
    path = tmp_path / "two.json"
    path.write_text(json.dumps(two_layers), encoding="utf-8")
    return lambda *words: CliRunner().invoke(app, [words[0], str(path), *words[1:]])


# -- the picture of a plan ----------------------------------------------------------------------


def test_pipeline_shows_stages_memory_and_load(answer):
    """GPUs, nodes, layers, bits, GiB used and available, units, hand-overs."""
    figure = pipeline_figure(answer.plan, answer.stages, title=plan_title(answer))
    for stage in answer.stages:
        memory = stage.memory
        assert has(figure, f"stage {stage.stage}: ", stage.gpu, f"{stage.node} #")
        assert has(figure, f"{memory.used_gib:.1f} of {memory.available_gib:.1f}")
        assert has(figure, f"{100 * stage.prefill_busy:.0f}")
    assert has(figure, "opt-1.3b on 2x T4", "latency ", "memory of each GPU (GiB)")
    assert has(figure, "time computing (%)", "prefill | decode (ms)", "weights", "KV cache")
    assert not clipped(figure)


def test_pipeline_of_one_stage_has_no_hand_over(two_layers):
    """Nothing is handed over, and no arrow is explained."""
    answer = plan_request(two_layers)
    figure = pipeline_figure(answer.plan, answer.stages)
    assert not has(figure, "hand-over")
    assert has(figure, "2 × 16-bit")


def test_pipeline_of_many_stages_with_long_names_is_not_clipped(answer):
    """Sixteen stages, names as long as a request may have them."""
    stage, spec = answer.stages[0], answer.plan.stages[0]
    name = "rack-17.some-data-center.example.org " * 2
    runs = [spec.formats[0].model_copy(update={"first_layer": 0, "last_layer": 0})]
    numbers = [0, 1, 2, 3, 6]
    stages, specs = [], []
    for number in range(16):
        layer = {"first_layer": number, "last_layer": number}
        place = {"node": name.strip(), "gpu_numbers": numbers}
        stages.append(stage.model_copy(update={**layer, **place, "stage": number + 1}))
        run = runs[0].model_copy(update=layer)
        specs.append(spec.model_copy(update={**layer, "formats": [run]}))
    plan = answer.plan.model_copy(update={"stages": specs})
    figure = pipeline_figure(plan, stages, title=f"opt-1.3b on {'4x A100-80G-PCIe + ' * 9}T4")
    assert not clipped(figure)
    assert has(figure, "stage 16: ", "#0–3,6")


# -- the replay ---------------------------------------------------------------------------------


def test_gantt_shows_stages_links_and_phases(replay):
    """A row for each, seconds, and which shade is what."""
    figure = gantt_figure(replay.gantt, stages=replay.stages, title=replay_title(replay))
    machines = {row.machine for row in replay.gantt}
    second = replay.stages[1]
    count = f"{len(second.gpu_numbers)}× " if len(second.gpu_numbers) > 1 else ""
    assert has(figure, f"stage 2: {count}{second.gpu}", *machines, "seconds since the batch began")
    assert has(
        figure,
        "Prefill",
        "Decode, the first",
        "prefill, odd micro-batches",
        "decode, even micro-batches",
        "Replay of opt",
    )
    assert not clipped(figure)
    without = gantt_figure(replay.gantt, with_links=False)
    assert has(without, "stage 1")
    assert not has(without, "network")


def test_gantt_of_prefill_alone(replay):
    """One window."""
    figure = gantt_figure([row for row in replay.gantt if row.phase == "prefill"])
    assert has(figure, "Prefill")
    assert not has(figure, "Decode, the first rounds")


def test_gantt_knows_where_rows_are_missing(replay):
    """First and last round kept only: the window ends with the first."""
    kept = [row for row in replay.gantt if row.kind == "stage" and row.round in (0, 1, 3)]
    _, (name, (_, end_s)) = gantt_windows(kept)
    assert name == "decode"
    assert end_s <= max(row.end_s for row in kept if row.round == 1)


def test_gantt_without_rows_is_told():
    """It says what to do."""
    with pytest.raises(InputError, match="gantt_rounds of 1 or more"):
        gantt_figure([])


# -- front, bars, heat map ----------------------------------------------------------------------


def test_front_of_two_goals(answer):
    """Axes with units, views with their values, the gap."""
    latency, cost = answer.metrics.latency_s, 3.0
    points = [
        FrontPoint(values=(latency, cost), views=("fastest",), gap=answer.gap),
        FrontPoint(values=(2 * latency, cost / 2), views=("cheapest", "balanced"), gap=0.05),
    ]
    figure = pareto_figure(points, [LATENCY, COST], title="opt-1.3b for $1 to $3")
    assert has(figure, "latency (s), less is better", "cost ($ per million tokens)")
    assert has(
        figure,
        "cheapest, balanced: latency",
        "latency of every point is within 5.00 %",
        "for $1 to $3",
    )
    assert not clipped(figure)


def test_front_of_three_goals_and_of_one_point():
    """The third as a colour bar; proven points are called optimal, others not mentioned."""
    quality = Quantity.of("quality_loss")
    views = ("fastest", "cheapest", "best quality", "balanced", "fewest GPUs")
    point = FrontPoint(values=(5, 1, 0.1), gap=0.0, views=views)
    figure = pareto_figure([point], [RATE, COST, quality])
    assert not clipped(figure)
    assert has(figure, "throughput (tokens/s), more is better", "quality loss (nats)")
    assert has(figure, "proven: throughput of every point is the best possible")
    assert not has(pareto_figure([FrontPoint(values=(5, 1))], [RATE, COST]), "proven")


@pytest.mark.parametrize(
    ("points", "goals", "text"),
    [
        ([], [LATENCY, COST], "no points"),
        ([FrontPoint(values=(1,))], [LATENCY, COST], "1 values for 2 goals"),
        ([FrontPoint(values=(1,))], [LATENCY], "2 or 3 goals, not 1"),
    ],
)
def test_fronts_that_cannot_be_drawn_are_told(points, goals, text):
    """With the numbers found."""
    with pytest.raises(InputError, match=text):
        pareto_figure(points, goals)


def test_bars_show_values_ratios_and_why_not(answer):
    """The best plan, one 1.50 times as slow, one that is not feasible, a dashed bound."""
    best = answer.metrics.latency_s
    bars = [
        Bar(name="hetplan", value=best, is_best=True),
        Bar(name="even split of all layers over all GPUs that there are", value=1.5 * best),
        Bar(name="Uniform", value=None, is_feasible=False, why="memory is short by 3 GiB on T4"),
        Bar(name="PipeEdge", value=1.1 * best, is_feasible=False),
        Bar(name="own", value=None),
    ]
    reference = (f"no plan is below {answer.bound:.3f} s", answer.bound)
    figure = comparison_figure(bars, LATENCY, reference=reference)
    assert has(figure, "latency (s), less is better", "(1.50×)", f"{best:.4g} s", "not known")
    assert has(figure, "no plan is below", "not feasible: memory is short by 3 GiB on T4")
    assert has(figure, f"not feasible ({1.1 * best:.4g} s)")
    assert not clipped(figure)


def test_bars_of_means_show_their_range():
    """2 of 1 to 12,345."""
    figure = comparison_figure([Bar(name="even", value=2.0, span=(1.0, 12345.0))], LATENCY)
    assert has(figure, "2 s (1 to 12,345)")
    assert not clipped(figure)


def test_no_bars_are_told():
    """It says so."""
    with pytest.raises(InputError, match="no bars"):
        comparison_figure([], LATENCY)


def sweep(rows, *, winner=None, quantity=COST):
    table = pd.DataFrame(rows, columns=["prompt", "batch", "mix", "value"])
    names = {"prompt": "prompt (tokens)", "batch": "batch (requests)"}
    settings = {"rows": "prompt", "columns": "batch", "value": "value"}
    return sweep_figure(table, **settings, quantity=quantity, winner=winner, names=names)


def test_heat_map_names_values_and_winners():
    """The least of each cell, and whose it is; where there is no plan, it says so."""
    rows = [
        (128, 1, "T4", 1.5),
        (128, 1, "L4", 1.75),
        (128, 8, "T4", 50.0),
        (128, 8, "4x T4 + L4", 40.0),
        (512, 1, "T4", None),
        (512, 1, "L4", 2.25),
        (512, 8, "T4", None),
    ]
    figure = sweep(rows, winner="mix")
    assert has(figure, "prompt (tokens)", "batch (requests)", "cost ($ per million tokens)")
    assert has(figure, "1.5 T4", "40 4x T4 + L4", "2.25 L4", "no plan", "512")
    assert not has(figure, "1.75")
    assert not clipped(figure)


def test_heat_map_shows_the_greatest_where_more_is_better():
    """40 and 50 tokens/s: 50. Of equal ones the first. Columns stay in order of the table."""
    rows = [(1, 8, "T4", 40.0), (1, 8, "L4", 50.0), (1, 8, "A10", 50.0), (1, 2, "T4", 1.0)]
    figure = sweep(rows, winner="mix", quantity=RATE)
    assert has(figure, "50 L4")
    assert not has(figure, "A10")
    (axes,) = (axes for axes in figure.axes if axes.get_xlabel())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "2"]


def test_heat_map_of_many_cells_has_a_key():
    """Letters in the cells, names below."""
    long = "4x T4 + 4x A10 + 2x A100-80G-PCIe"
    rows = [
        (prompt, batch, long if batch < 9 else "2x L4", prompt)
        for prompt in (1.0, 2.0)
        for batch in range(12)
    ]
    figure = sweep(rows, winner="mix")
    assert has(figure, "1 A", "2 B", f"A {long}", "B 2x L4")
    assert not clipped(figure)
    longer = " + ".join(["16x A100-80G-SXM in a node with a name of its own"] * 3)
    assert not clipped(sweep([(1, batch, longer, 1.0) for batch in (1, 2, 3)], winner="mix"))


def test_heat_map_without_winners_shows_values_alone():
    """Settings that are missing are named too."""
    assert has(sweep([(None, 1, "T4", 3.0), (5, 1, "T4", 4.0)]), "3", "4")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rows": "prompts"}, "Unknown column 'prompts'. Known: prompt, batch, value"),
        ({"winner": "mix"}, "Unknown column 'mix'"),
        ({"columns": "prompt"}, "rows and columns are both 'prompt'"),
        ({}, "Column 'value' has no value in any row"),
    ],
)
def test_heat_maps_that_cannot_be_drawn_are_told(change, text):
    """Missing columns, one column for both axes, no value at all."""
    table = pd.DataFrame({"prompt": [1, 2], "batch": [1, 2], "value": [None, None]})
    settings = {"rows": "prompt", "columns": "batch", "value": "value", "quantity": COST}
    with pytest.raises(InputError, match=text):
        sweep_figure(table, **(settings | change))


def test_quantities_are_named_with_their_units():
    """As goals of a request are."""
    assert Quantity.of("ttft").label == "TTFT (s), less is better"
    assert Quantity.of("gpus").label == "GPUs, less is better"
    assert Quantity.of("gpus").named(1) == "1 GPU"
    assert RATE.named(12345.6) == "throughput 12,346 tokens/s"


# -- files and commands -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PLOT_SUFFIXES)
def test_files_are_of_their_kind_and_repeat(suffix):
    """The same plot twice gives the same bytes."""
    bars = [Bar(name="a", value=1.0)]
    first, again = (figure_bytes(comparison_figure(bars, LATENCY), suffix) for _ in range(2))
    assert first.startswith(STARTS[suffix])
    assert first == again


def test_other_kinds_of_files_are_told():
    """With those that there are."""
    with pytest.raises(InputError, match=r"'.gif'; use .png, .svg, .pdf"):
        figure_bytes(comparison_figure([Bar(name="a", value=1.0)], COST), ".gif")


def test_notebooks_show_plots():
    """As PNG, without pyplot."""
    figure = comparison_figure([Bar(name="a", value=1.0)], COST)
    assert figure._repr_png_().startswith(STARTS[".png"])


def test_commands_write_plots(run, tmp_path):
    """The picture of the plan, then the Gantt chart of its replay."""
    picture, chart, plan = (tmp_path / name for name in ("plan.svg", "replay.PNG", "plan.json"))
    result = run("plan", "--plot", str(picture), "--output", str(plan))
    assert result.exit_code == 0, result.stderr
    assert picture.read_bytes().startswith(STARTS[".svg"])
    replayed = CliRunner().invoke(app, ["simulate", str(plan), "--plot", str(chart)])
    assert replayed.exit_code == 0, replayed.stderr
    assert chart.read_bytes().startswith(STARTS[".png"])
    judged = tmp_path / "judged.pdf"
    words = ("--plan", str(plan), "--no-solve", "--plot", str(judged))
    assert run("evaluate", *words).exit_code == 0
    assert judged.read_bytes().startswith(STARTS[".pdf"])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("plan.gif", "--plot is plan.gif; its name must end in .png, .svg or .pdf."),
        ("plan", "--plot is plan; its name must end in"),
        ("/nowhere/plan.png", "/nowhere/plan.png cannot be written"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_plots_that_cannot_be_written_are_told(command, file, text, run, tmp_path):
    """Exit code 2."""
    words = ("plan", "--plot", file)
    if command == "simulate":
        answered = tmp_path / "answer.json"
        assert run("plan", "--output", str(answered)).exit_code == 0
        result = CliRunner().invoke(app, ["simulate", str(answered), "--plot", file])
    else:
        result = run(*words)
    assert result.exit_code == 2
    assert text in result.stderr


@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_plots_are_written_over_no_other_output(command, run, tmp_path):
    """Two files of one name: exit code 2, and nothing is written."""
    answered, file = tmp_path / "answer.json", tmp_path / "both.svg"
    assert run("plan", "--output", str(answered)).exit_code == 0
    words = ("--plot", str(file), "--output", str(file))
    if command == "plan":
        result = run("plan", *words)
    else:
        result = CliRunner().invoke(app, ["simulate", str(answered), *words])
    assert result.exit_code == 2
    assert f"--plot is {file}, which is another output" in result.stderr
    assert not file.exists()


def test_no_plan_gives_no_plot(two_layers, tmp_path):
    """It says so; the exit code stays that of the answer."""
    two_layers["devices"][0]["memory_gib"] = 0.1
    request, plot = tmp_path / "request.json", tmp_path / "plan.png"
    request.write_text(json.dumps(two_layers), encoding="utf-8")
    result = CliRunner().invoke(app, ["plan", str(request), "--plot", str(plot)])
    assert result.exit_code == 3
    assert "There is no plan to draw" in result.stderr
    assert not plot.exists()


def test_matplotlib_is_imported_for_plots_only():
    """`hetplan plan` and `hetplan simulate` start without it."""
    code = (
        "import sys, api.cli, api.commands, api.simulate_command\n"
        "print(sorted(name for name in sys.modules if name.startswith('matplotlib')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_titles_tell_what_is_seen(answer, replay):
    """Model, cluster, proof and values."""
    assert "opt-1.3b on 2x T4" in plan_title(answer)
    assert "TTFT" in plan_title(answer)
    overlapped = SimulationAnswer.model_copy(replay, update={"start": "overlapped"})
    assert "before the whole batch is prefilled" in replay_title(overlapped)


def test_the_docs_can_be_drawn():
    """Front, bars and heat map of the page are whole."""
    page = (Path(__file__).parents[2] / "docs" / "plots.md").read_text(encoding="utf-8")
    made = {}
    exec(page.split("```python\n")[1].split("```")[0], made)
    assert not any(clipped(made[name]) for name in ("front", "bars", "heat_map"))
