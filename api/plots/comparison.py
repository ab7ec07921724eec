"""Bars that compare plans: their values, and which are not feasible and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from api.plots.canvas import (
    BLACK,
    BLUE,
    GREY,
    SMALL,
    VERMILION,
    bare,
    new_plot,
    plain,
    text_width_in,
)
from api.plots.quantity import Quantity, short
from profiles.errors import InputError

__all__ = ["Bar", "comparison_figure"]

BARS_IN, ROW_IN, AROUND_IN, BAR = 6.0, 0.4, 0.95, 0.62
NAME_LETTERS, WHY_LETTERS, WHY_LINES = 34, 84, 2
NUMBERS_SHARE = 1.3
"""The axis goes on beyond the longest bar, for its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """
    A plan to compare.

    Parameters
    ----------
    name
        What it is called.
    value
        In the unit of the quantity; None where it has none.
    span
        Where the value is a mean: the least and the greatest that it is a mean of.
    is_feasible
        Whether it can run and keeps every limit.
    why
        Where it is not feasible: why.
    is_best
        Whether it is the one that the others are compared with.
    """

    name: str
    value: float | None
    span: tuple[float, float] | None = None
    is_feasible: bool = True
    why: str = ""
    is_best: bool = False


def comparison_figure(
    bars: Sequence[Bar],
    quantity: Quantity,
    *,
    title: str = "",
    reference: tuple[str, float] | None = None,
) -> Figure:
    """
    Draw a bar per plan, with its value and that over the value of the plan marked `is_best`.

    Plans that are not feasible have no bar and say why.

    Parameters
    ----------
    bars
        From top to bottom.
    quantity
        What the bars measure.
    title
        What is seen.
    reference
        A dashed line: its name and its value, for example what no plan can be below.

    Raises
    ------
    InputError
        When there are no bars.
    """
    if not bars:
        raise InputError("There are no bars to draw.")
    names = [plain(fill(bar.name, NAME_LETTERS)) for bar in bars]
    names_in = max(text_width_in(name) for name in names)
    plot = new_plot(names_in + BARS_IN, AROUND_IN + ROW_IN * len(bars), title)
    axes = plot.subplots()
    most = max([_end(bar) for bar in bars] + ([reference[1]] if reference else [])) or 1.0
    axes.set_xlim(0, most * NUMBERS_SHARE)
    axes.set_yticks(range(len(bars)), names)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    best = next((bar.value for bar in bars if bar.is_best), None)
    for row, bar in enumerate(bars):
        _draw(axes, row, bar)
        _tell(axes, row, bar, _words(bar, best, quantity))
    if reference is not None:
        _draw_reference(axes, *reference)
    axes.set_xlabel(quantity.label)
    bare(axes)
    return plot


def _draw(axes: Axes, row: int, bar: Bar) -> None:
    if bar.value is None or not bar.is_feasible:
        return
    axes.barh(row, bar.value, BAR, color=BLUE if bar.is_best else GREY)
    if bar.span is not None:
        axes.plot(bar.span, [row, row], color=BLACK, linewidth=1.2, marker="|", markersize=7)


def _end(bar: Bar) -> float:
    """Where what is drawn of a bar ends."""
    if bar.value is None or not bar.is_feasible:
        return 0.0
    return bar.value if bar.span is None else max(bar.value, *bar.span)


def _tell(axes: Axes, row: int, bar: Bar, words: str) -> None:
    axes.annotate(
        plain(words),
        (_end(bar), row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=BLACK if bar.is_feasible else VERMILION,
        fontweight="bold" if bar.is_best else "normal",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )


def _words(bar: Bar, best: float | None, quantity: Quantity) -> str:
    value = "" if bar.value is None else quantity.told(bar.value)
    if not bar.is_feasible:
        told = f"not feasible{f' ({value})' if value else ''}{f': {bar.why}' if bar.why else ''}"
        return fill(told, WHY_LETTERS, max_lines=WHY_LINES, placeholder=" ...")
    if bar.value is None:
        return "not known"
    if bar.span is not None:
        value = f"{value} ({short(bar.span[0])} to {short(bar.span[1])})"
    return value if bar.is_best or not best else f"{value} ({bar.value / best:.2f}×)"


def _draw_reference(axes: Axes, name: str, value: float) -> None:
    axes.axvline(value, color=BLACK, linestyle="--", linewidth=1)
    above = blended_transform_factory(axes.transData, axes.transAxes)
    axes.text(value, 1.01, plain(name), transform=above, ha="left", va="bottom", fontsize=SMALL)
