"""A Pareto front: what one goal costs in terms of another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from api.plots.canvas import (
    BELOW,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    NORMAL,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    bare,
    new_plot,
    plain,
    round_ticks,
)
from api.plots.quantity import Quantity
from profiles.errors import InputError

__all__ = ["FrontPoint", "pareto_figure"]

WIDTH_IN, HEIGHT_IN = 6.4, 4.2
LEGEND_ROW_IN, LEGEND_LETTERS = 0.19, 100
VIEWS = (
    ("D", VERMILION),
    ("s", GREEN),
    ("^", ORANGE),
    ("*", PURPLE),
    ("v", SKY),
    ("P", BLUE),
    ("X", BLACK),
)
PROVEN_GAP = 1e-6
"""At this gap or less a plan is called optimal."""
INCOMPLETE = "the search ended early: plans between and beyond these may be missing"
SHADES = "cividis"
"""Colours of a third goal: from dark to light, also for the colour-blind and in grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """
    A plan of the front.

    Parameters
    ----------
    values
        One per goal, in its unit.
    views
        What it is called: ``fastest``, ``balanced``; empty for most points.
    gap
        Proven relative gap in the first goal, the others kept; None where nothing is proven.
    """

    values: tuple[float, ...]
    views: tuple[str, ...] = ()
    gap: float | None = None


def pareto_figure(
    points: Sequence[FrontPoint],
    goals: Sequence[Quantity],
    *,
    title: str = "",
    is_complete: bool = True,
) -> Figure:
    """
    Draw a Pareto front over two goals, or over three with the third as colour.

    Over two goals a line borders what the points dominate. A bar goes from a point to what is
    proven of its first goal, where the gap is wide enough to be seen.

    Parameters
    ----------
    points
        The plans.
    goals
        Two or three; the first lies across, the second upward.
    title
        What is seen.
    is_complete
        Whether no plan is missing; else the line is dashed, and the legend says so.

    Raises
    ------
    InputError
        When there are no points, not two or three goals, or a point has another number of values.
    """
    _check(points, goals)
    named = {_told(point, goals): point for point in points if point.views}
    height_in = HEIGHT_IN + LEGEND_ROW_IN * (
        2 - is_complete + sum(text.count("\n") + 1 for text in named)
    )
    plot = new_plot(WIDTH_IN, height_in, title)
    axes = plot.subplots()
    if len(goals) == 2:
        _draw_steps(axes, points, goals[0], is_complete=is_complete)
    _draw_gaps(axes, points, goals[0])
    _draw_points(plot, axes, points, goals)
    handles = [*_draw_views(axes, named), *_gap_note(points, goals[0])]
    if not is_complete:
        handles.append(Line2D([], [], color=GREY, linestyle="--", label=INCOMPLETE))
    axes.set_xlabel(goals[0].label)
    axes.set_ylabel(goals[1].label)
    axes.margins(0.07)
    bare(axes, grid="both")
    axes.spines["left"].set_visible(True)
    if handles:
        plot.legend(handles=handles, **BELOW, markerscale=0.6)
    return plot


def _check(points: Sequence[FrontPoint], goals: Sequence[Quantity]) -> None:
    if len(goals) not in (2, 3):
        raise InputError(f"A front is drawn over 2 or 3 goals, not {len(goals)}.")
    if not points:
        raise InputError("There are no points to draw.")
    for point in points:
        if len(point.values) != len(goals):
            raise InputError(
                f"A point has {len(point.values)} values for {len(goals)} goals; give one for each."
            )


def _draw_steps(
    axes: Axes, points: Sequence[FrontPoint], across: Quantity, *, is_complete: bool
) -> None:
    """The border of what the points dominate."""
    ordered = sorted(point.values for point in points)
    where: Literal["pre", "post"] = "pre" if across.maximise else "post"
    values = [[point[axis] for point in ordered] for axis in (0, 1)]
    style = "-" if is_complete else "--"
    axes.step(*values, where=where, color=GREY, linestyle=style, linewidth=1, zorder=1)


def _draw_gaps(axes: Axes, points: Sequence[FrontPoint], across: Quantity) -> None:
    for point in points:
        if point.gap:
            value = point.values[0]
            bound = value * (1 + point.gap if across.maximise else 1 - point.gap)
            axes.plot([bound, value], [point.values[1]] * 2, color=BLACK, linewidth=1.2, zorder=2)


def _draw_points(
    plot: Figure, axes: Axes, points: Sequence[FrontPoint], goals: Sequence[Quantity]
) -> None:
    across, up, *third = zip(*(point.values for point in points), strict=True)
    _count_whole(axes.xaxis, across)
    _count_whole(axes.yaxis, up)
    if not third:
        axes.scatter(across, up, s=28, color=BLUE, edgecolor="white", linewidth=0.5, zorder=3)
        return
    scale = Normalize(min(third[0]), max(third[0]))
    shades = ScalarMappable(scale, SHADES)
    axes.scatter(across, up, s=42, c=third[0], cmap=SHADES, norm=scale, edgecolor=BLACK, zorder=3)
    bar = plot.colorbar(shades, ax=axes, pad=0.02, aspect=30)
    bar.set_label(goals[2].label, fontsize=NORMAL)
    bar.ax.tick_params(labelsize=NORMAL)
    _count_whole(bar.ax.yaxis, third[0])


def _count_whole(axis: Axis, values: Sequence[float]) -> None:
    """Whole numbers along an axis of which all values are, as of GPUs."""
    if all(float(value).is_integer() for value in values):
        axis.set_major_locator(round_ticks(8, whole=True))


def _draw_views(axes: Axes, named: Mapping[str, FrontPoint]) -> Iterator[Line2D]:
    """A large open sign around each named point; yields its line of the legend."""
    for number, (text, point) in enumerate(named.items()):
        marker, colour = VIEWS[number % len(VIEWS)]
        (sign,) = axes.plot(
            *([value] for value in point.values[:2]),
            marker=marker,
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.8,
            linestyle="",
            zorder=4,
            label=plain(text),
        )
        yield sign


def _told(point: FrontPoint, goals: Sequence[Quantity]) -> str:
    """What the legend says of a named point."""
    told = (goal.named(value) for goal, value in zip(goals, point.values, strict=True))
    return fill(f"{', '.join(point.views)}: {', '.join(told)}", LEGEND_LETTERS)


def _gap_note(points: Sequence[FrontPoint], across: Quantity) -> Iterator[Line2D]:
    """What is proven of the first goal, as a line of the legend."""
    gaps = [point.gap for point in points if point.gap is not None]
    if not gaps:
        return
    is_best = max(gaps) <= PROVEN_GAP
    how = "the best possible" if is_best else f"within {max(gaps):.2%} of the best possible"
    which = "every point" if len(gaps) == len(points) else f"{len(gaps)} of {len(points)} points"
    text = f"proven: {across.name} of {which} is {how}, the other goals kept".replace("%", " %")
    yield Line2D([], [], color=BLACK, linewidth=0 if is_best else 1.2, label=text)
