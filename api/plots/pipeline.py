"""The picture of a plan: stages in order, their layers and formats, memory and load."""

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from api.pipeline_art import FormatLabels, has_narrow_activations
from api.plots.canvas import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILION,
    YELLOW,
    bare,
    legend_above,
    new_plot,
    round_ticks,
    text_colour,
    text_width_in,
)
from api.schemas.answer import MemoryReport, StageReportSpec
from api.schemas.plan import FormatRun, PlanSpec

__all__ = ["pipeline_figure"]

LAYERS_IN, MEMORY_IN, BUSY_IN = 5.2, 3.9, 1.9
"""Inches of the three parts, labels apart."""
ROW_IN, AROUND_IN = 0.62, 1.25
BAR = 0.5
LAST_TICK = 0.06
"""Share of all layers in which no other number stands beside theirs."""
FORMATS: dict[tuple[float | None, bool], str] = {
    (16, False): GREEN,
    (8, False): PURPLE,
    (8, True): SKY,
    (4, False): YELLOW,
    (3, False): VERMILION,
}
"""Colour of a format by its bits, and whether it computes on activations of fewer than 16."""
OTHERS = (BLUE, ORANGE)
"""Where there is none, or it is taken."""
HAND_OVERS = "\narrows: hand-over of a micro-batch, prefill | decode (ms);\ndashed: to another node"
MEMORY_PARTS = (
    ("weights", "weights_gib", BLUE),
    ("KV cache", "kv_cache_gib", ORANGE),
    ("embedding, head", "embedding_and_head_gib", PURPLE),
    ("work space", "work_gib", GREY),
)
PHASES = (("prefill", "prefill_busy", BLUE, -0.14), ("decode", "decode_busy", ORANGE, 0.14))


def pipeline_figure(
    plan: PlanSpec, stages: Sequence[StageReportSpec], *, title: str = ""
) -> Figure:
    """
    Draw a plan: a row per stage, from the first to the last.

    Left: which layers in which format, and what a micro-batch takes to the next stage. Middle: what
    fills the memory of each GPU, GiB. Right: the share of each phase in which the stage computes.

    Parameters
    ----------
    plan, stages
        `plan` and `stages` of an answer.
    title
        What is seen; see `api.plots.plan_title`.
    """
    names = [_name(stage) for stage in stages]
    names_in = max(text_width_in(name) for name in names)
    plot = new_plot(
        names_in + LAYERS_IN + MEMORY_IN + BUSY_IN, AROUND_IN + ROW_IN * len(stages), title
    )
    ratios = [LAYERS_IN, MEMORY_IN, BUSY_IN]
    layers, memory, busy = plot.subplots(1, 3, sharey=True, width_ratios=ratios)
    layers.set_yticks(range(len(stages)), names)
    layers.set_ylim(len(stages) - 0.5, -0.5)
    _draw_layers(layers, plan, stages)
    _draw_memory(memory, stages)
    _draw_busy(busy, stages)
    for axes in (memory, busy):
        axes.tick_params(labelleft=False)
    return plot


def _name(stage: StageReportSpec) -> str:
    count = f"{stage.tensor_parallel}× " if stage.tensor_parallel > 1 else ""
    return f"stage {stage.stage}: {count}{stage.gpu}\n{stage.node} #{_numbers(stage.gpu_numbers)}"


def _numbers(numbers: Sequence[int]) -> str:
    """``0–3,6`` for 0, 1, 2, 3, 6."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


# -- layers and hand-overs ----------------------------------------------------------------------


def _draw_layers(axes: Axes, plan: PlanSpec, stages: Sequence[StageReportSpec]) -> None:
    num_layers = plan.stages[-1].last_layer + 1
    colours, labels = _format_colours(plan), FormatLabels(plan)
    for row, stage in enumerate(plan.stages):
        for run in stage.formats:
            _draw_run(axes, row, run, colours[run.format], labels.label(run.format), num_layers)
    for row, (report, after) in enumerate(pairwise(stages)):
        _draw_hand_over(axes, row, report, num_layers, is_away=report.node != after.node)
    axes.set_xlim(0, num_layers)
    axes.set_xticks(_layer_ticks(num_layers))
    axes.set_xlabel(f"layers passed (number){HAND_OVERS if len(stages) > 1 else ''}")
    bare(axes)
    handles = [Patch(facecolor=colour, label=labels.label(f)) for f, colour in colours.items()]
    legend_above(axes, "Layers, by format", handles, columns=4)


def _layer_ticks(num_layers: int) -> list[float]:
    """Round numbers, and at the end that of all layers."""
    ticks = round_ticks(8, whole=True).tick_values(0, num_layers)
    return [*(tick for tick in ticks if tick < (1 - LAST_TICK) * num_layers), num_layers]


def _format_colours(plan: PlanSpec) -> dict[str, str]:
    """A colour per format, most bits first, the same in every plan as far as that goes."""
    bits = {run.format: run.bits for stage in plan.stages for run in stage.formats}
    left, colours = [*FORMATS.values(), *OTHERS], {}
    for name in sorted(bits, key=lambda name: (-(bits[name] or 0), name)):
        usual = FORMATS.get((bits[name], has_narrow_activations(name)))
        colours[name] = usual if usual in left else (left or [GREY])[-1]
        left = [colour for colour in left if colour != colours[name]]
    return colours


def _draw_run(
    axes: Axes, row: int, run: FormatRun, colour: str, label: str, num_layers: int
) -> None:
    length = run.last_layer - run.first_layer + 1
    axes.barh(row, length, BAR, run.first_layer, color=colour, edgecolor="white", linewidth=0.5)
    texts = (f"{length} × {label}", label, str(length))
    room_in = length / num_layers * LAYERS_IN * 0.95
    fitting = [text for text in texts if text_width_in(text, SMALL) < room_in]
    if fitting:
        centre = run.first_layer + length / 2
        colour = text_colour(colour)
        axes.text(centre, row, fitting[0], ha="center", va="center", fontsize=SMALL, color=colour)


def _draw_hand_over(
    axes: Axes, row: int, stage: StageReportSpec, num_layers: int, *, is_away: bool
) -> None:
    at = stage.last_layer + 1
    ends = (at, row + 1 - BAR / 2), (at, row + BAR / 2)
    style = {"arrowstyle": "-|>", "linestyle": "--" if is_away else "-", "color": BLACK}
    axes.annotate("", *ends, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})
    is_left = at > num_layers / 2
    axes.annotate(
        f"{_ms(stage.prefill_link_ms)} | {_ms(stage.decode_link_ms)} ms",
        (at, row + 0.5),
        xytext=(-7 if is_left else 7, 0),
        textcoords="offset points",
        ha="right" if is_left else "left",
        va="center",
        fontsize=SMALL,
        color="#444444",
    )


def _ms(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


# -- memory and load ----------------------------------------------------------------------------


def _draw_memory(axes: Axes, stages: Sequence[StageReportSpec]) -> None:
    most = max(max(stage.memory.used_gib, stage.memory.available_gib) for stage in stages)
    for row, stage in enumerate(stages):
        left = 0.0
        for _, field, colour in MEMORY_PARTS:
            width = getattr(stage.memory, field)
            axes.barh(row, width, BAR, left, color=colour)
            left += width
        axes.barh(row, stage.memory.available_gib, BAR, facecolor="none", edgecolor=BLACK)
        _label_memory(axes, row, stage.memory)
    axes.set_xlim(0, most * 1.5)
    axes.set_xticks([tick for tick in round_ticks(4).tick_values(0, most) if 0 <= tick <= most])
    axes.set_xlabel("memory of each GPU (GiB)")
    bare(axes)
    handles = [Patch(facecolor=c, label=name) for name, _, c in MEMORY_PARTS]
    frame = Patch(facecolor="none", edgecolor=BLACK, label="may be filled")
    legend_above(axes, "Memory", [*handles, frame], columns=3)


def _label_memory(axes: Axes, row: int, memory: MemoryReport) -> None:
    is_over = memory.used_gib > memory.available_gib
    axes.annotate(
        f"{memory.used_gib:.1f} of {memory.available_gib:.1f}",
        (max(memory.used_gib, memory.available_gib), row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=VERMILION if is_over else BLACK,
        fontweight="bold" if is_over else "normal",
    )


def _draw_busy(axes: Axes, stages: Sequence[StageReportSpec]) -> None:
    for row, stage in enumerate(stages):
        for _, field, colour, offset in PHASES:
            percent = 100 * getattr(stage, field)
            axes.barh(row + offset, percent, 0.26, color=colour)
            axes.text(104, row + offset, f"{percent:.0f}", va="center", fontsize=SMALL)
    axes.axvline(100, color=GREY, linewidth=0.8)
    axes.set_xlim(0, 125)
    axes.set_xticks([0, 50, 100])
    axes.set_xlabel("time computing (%)")
    bare(axes)
    legend_above(
        axes, "Busy", [Patch(facecolor=c, label=name) for name, _, c, _ in PHASES], columns=1
    )
