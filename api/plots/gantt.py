"""The Gantt chart of a replay: which stage and which link was busy when, and with what."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from api.gantt_picture import AnyGanttRow, gantt_windows
from api.plots.canvas import (
    BLUE,
    ORANGE,
    bare,
    legend_above,
    lightened,
    new_plot,
    round_ticks,
    text_colour,
    text_width_in,
)
from api.schemas.simulation import StageUseReport
from profiles.errors import InputError

__all__ = ["gantt_figure"]

WINDOW_IN, ROW_IN, AROUND_IN = 5.4, 0.3, 1.15
"""Inches of a window, of a row, and of what stands above and below."""
HEIGHTS = {"stage": 0.8, "link": 0.4}
COLOURS = {"prefill": BLUE, "decode": ORANGE}
HEADINGS = {
    "prefill": "Prefill",
    "start": "Prefill, from the start of the batch",
    "decode": "Decode, the first rounds",
}
LIGHT = 0.55
NUMBER, ROOM, WIDE_IN = 7.0, 0.8, 0.1
Span = tuple[float, float]
Colour = tuple[float, float, float]


def gantt_figure(
    rows: Sequence[AnyGanttRow],
    *,
    stages: Sequence[StageUseReport] = (),
    title: str = "",
    with_links: bool = True,
) -> Figure:
    """
    Draw who was busy when: a row per stage and link, prefill beside the first decode rounds.

    Micro-batches are light and dark by turns, with their numbers where there is room.

    Parameters
    ----------
    rows
        `gantt` of a simulation's answer, or of `solver.simulate_plan(...).batch`.
    stages
        `stages` of a simulation's answer, to name their GPUs.
    title
        What is seen; see `api.plots.replay_title`.
    with_links
        Whether to draw links below the stages.

    Raises
    ------
    InputError
        When there are no rows.
    """
    of_stages = [row for row in rows if row.kind == "stage"]
    if not of_stages:
        raise InputError("There are no rows to draw; simulate with gantt_rounds of 1 or more.")
    shown = list(rows) if with_links else of_stages
    machines = _machines(shown)
    windows = gantt_windows(of_stages)
    gpus = {f"stage {stage.stage}": f": {_gpus(stage)}" for stage in stages}
    names = [machine + gpus.get(machine, "") for machine in machines]
    names_in = max(text_width_in(name) for name in names)
    width_in = names_in + WINDOW_IN * max(2, len(windows))
    plot = new_plot(width_in, AROUND_IN + ROW_IN * len(machines), title)
    grid = plot.subplots(1, len(windows), sharey=True, squeeze=False)
    for axes, (name, span) in zip(grid[0], windows, strict=True):
        window_in = (width_in - names_in) / len(windows)
        _draw_window(axes, shown, machines, span, window_in)
        _label_window(axes, HEADINGS[name], shown, span)
        axes.set_yticks(range(len(machines)), names)
        axes.tick_params(labelleft=axes is grid[0][0])
    return plot


def _machines(rows: Sequence[AnyGanttRow]) -> list[str]:
    """Stages by number, then links as they come into use."""
    stages = {row.machine for row in rows if row.kind == "stage"}
    links = dict.fromkeys(row.machine for row in rows if row.kind == "link")
    return [*sorted(stages, key=lambda name: int(name.removeprefix("stage "))), *links]


def _gpus(stage: StageUseReport) -> str:
    count = len(stage.gpu_numbers)
    return f"{count}× {stage.gpu}" if count > 1 else stage.gpu


def _draw_window(
    axes: Axes, rows: Sequence[AnyGanttRow], machines: Sequence[str], span: Span, window_in: float
) -> None:
    """All bars of a window: one collection for every machine, phase and shade."""
    place = {name: number for number, name in enumerate(machines)}
    number_in = {phase: text_width_in(_longest(rows, phase), NUMBER) for phase in COLOURS}
    bars: dict[tuple[str, str, str, bool], list[Span]] = {}
    for row in rows:
        left_s, right_s = max(row.start_s, span[0]), min(row.end_s, span[1])
        if left_s >= right_s:
            continue
        key = (row.machine, row.kind, str(row.phase), _is_light(row))
        bars.setdefault(key, []).append((left_s, right_s - left_s))
        room_in = (right_s - left_s) / (span[1] - span[0]) * window_in
        if row.kind == "stage" and number_in[row.phase] < ROOM * room_in:
            _write_number(axes, (left_s + right_s) / 2, place[row.machine], row)
    for (machine, kind, phase, is_light), spans in bars.items():
        widest_in = max(length for _, length in spans) / (span[1] - span[0]) * window_in
        style = _style(kind, _shade(phase, is_light=is_light), is_wide=widest_in > WIDE_IN)
        height = HEIGHTS[kind]
        axes.broken_barh(spans, (place[machine] - height / 2, height), **style)
    axes.set_ylim(len(machines) - 0.4, -0.6)
    axes.set_xlim(*span)


def _style(kind: str, shade: Colour, *, is_wide: bool) -> dict[str, Any]:
    """Edges keep transfers visible that are shorter than a pixel, and part wide bars."""
    edge, width = (shade, 0.8) if kind == "link" else ("white", 0.6 if is_wide else 0.0)
    return {"facecolor": shade, "edgecolor": edge, "linewidth": width, "snap": False}


def _is_light(row: AnyGanttRow) -> bool:
    """Whether a bar is drawn light; transfers, being thin, never are."""
    return row.kind == "stage" and row.micro_batch % 2 == 0


def _longest(rows: Sequence[AnyGanttRow], phase: str) -> str:
    return str(max((row.micro_batch for row in rows if row.phase == phase), default=0))


def _shade(phase: str, *, is_light: bool) -> Colour:
    return lightened(COLOURS[phase], LIGHT if is_light else 0.0)


def _write_number(axes: Axes, at_s: float, place: int, row: AnyGanttRow) -> None:
    colour = text_colour(_shade(row.phase, is_light=_is_light(row)))
    number = str(row.micro_batch)
    axes.text(at_s, place, number, ha="center", va="center", fontsize=NUMBER, color=colour)


def _label_window(axes: Axes, heading: str, rows: Sequence[AnyGanttRow], span: Span) -> None:
    axes.xaxis.set_major_locator(round_ticks(6))
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.set_xlabel("seconds since the batch began")
    bare(axes)
    seen = [row for row in rows if row.start_s < span[1] and row.end_s > span[0]]
    shades = {(str(row.phase), _is_light(row)) for row in seen}
    handles = [
        Patch(facecolor=_shade(phase, is_light=is_light), label=f"{phase}, {which} micro-batches")
        for phase in COLOURS
        for which, is_light in (("odd", False), ("even", True))
        if (phase, is_light) in shades
    ]
    legend_above(axes, heading, handles, columns=2)
