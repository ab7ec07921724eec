"""What all plots share: the sheet they are drawn on, its colours, and the files it goes to."""

from collections.abc import Sequence
from io import BytesIO
from textwrap import fill
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from profiles.errors import InputError

__all__ = [
    "BELOW",
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "NORMAL",
    "ORANGE",
    "PLOT_SUFFIXES",
    "PURPLE",
    "SKY",
    "SMALL",
    "VERMILION",
    "YELLOW",
    "Plot",
    "bare",
    "figure_bytes",
    "legend_above",
    "lightened",
    "new_plot",
    "plain",
    "round_ticks",
    "text_colour",
    "text_width_in",
]

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
"""Kinds of files that a plot can be written to."""

BLACK, GREY = "#000000", "#767676"
ORANGE, GREEN, YELLOW = "#E69F00", "#009E73", "#F0E442"
BLUE, SKY, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#D55E00", "#CC79A7"
"""The colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), apart for the colour-blind."""

NORMAL, SMALL = 9.0, 8.0
"""Sizes of letters, in points."""
INCHES_PER_LETTER = 0.0081
"""Mean width of a letter of one point."""
TITLE_LINE_IN, MARGIN_IN = 0.2, 0.08
DPI = 144
LUMINANCE = (0.2126, 0.7152, 0.0722)
DARK = 0.18
"""Below this relative luminance white is read better than black (WCAG 2.2, contrast ratio)."""
ROUND_STEPS = (1, 2, 2.5, 5, 10)
_NO_DATE = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}

BELOW: dict[str, Any] = {"loc": "outside lower left", "frameon": False, "fontsize": SMALL}
"""Where a legend of the whole figure stands."""


class Plot(Figure):
    """A figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, ".png")


def new_plot(width_in: float, height_in: float, title: str) -> Plot:
    """
    An empty sheet with a title.

    Parameters
    ----------
    width_in, height_in
        Size in inches; lines of the title add to the height.
    title
        What is seen, the first line in bold. Long lines are broken.
    """
    room = int(width_in / text_width_in("n", NORMAL + 2))
    first, *rest = [fill(line, room) for line in title.splitlines()] or [""]
    bold, thin = first.splitlines(), "\n".join(rest).splitlines()
    height_in += TITLE_LINE_IN * len(bold + thin)
    plot = Plot(figsize=(width_in, height_in), layout="constrained")
    if title:
        _write_title(plot, bold, thin, left=MARGIN_IN / width_in)
    return plot


def _write_title(plot: Figure, bold: list[str], thin: list[str], *, left: float) -> None:
    """Two texts of as many lines, one over the other; the layout makes room for the first."""
    style: dict[str, Any] = {"ha": "left", "fontsize": NORMAL + 1}
    first = "\n".join(bold + [""] * len(thin))
    second = "\n".join([""] * len(bold) + thin)
    above = plot.suptitle(plain(first), x=left, fontweight="bold", **style)
    below = Annotation(plain(second), (0, 1), xycoords=above, va="top", **style)
    below.set_in_layout(False)
    plot.add_artist(below)


def plain(text: str) -> str:
    """A text in which dollars are dollars, not mathematics."""
    return text.replace("$", r"\$")


def text_width_in(text: str, points: float = NORMAL) -> float:
    """About how many inches the longest line of a text takes."""
    return max(map(len, text.splitlines()), default=0) * points * INCHES_PER_LETTER


def bare(axes: Axes, *, grid: Literal["x", "both"] | None = "x") -> None:
    """Take the frame away but for the axis, set the size of letters, and lay a light grid below."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=NORMAL)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set_fontsize(NORMAL)
    axes.yaxis.label.set_fontsize(NORMAL)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(axis=grid, color="#dddddd", linewidth=0.6)


def legend_above(
    axes: Axes, heading: str, handles: Sequence[object], columns: int | None = None
) -> None:
    """A heading over the axes, with its legend below."""
    legend = axes.legend(
        handles=list(handles),
        title=plain(heading),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns or max(1, len(handles)),
        alignment="left",
        frameon=False,
        fontsize=SMALL,
        title_fontsize=NORMAL,
        borderpad=0.2,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.4,
    )
    legend.get_title().set_fontweight("bold")


def lightened(colour: str, share: float = 0.5) -> tuple[float, float, float]:
    """A colour mixed with white."""
    red, green, blue = (1 - (1 - part) * (1 - share) for part in to_rgb(colour))
    return red, green, blue


def text_colour(background: str | tuple[float, float, float]) -> str:
    """Black or white, whichever is read better on a colour."""
    parts = np.array(to_rgb(background))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return "white" if float(linear @ LUMINANCE) < DARK else BLACK


def round_ticks(count: int, *, whole: bool = False) -> MaxNLocator:
    """At most so many steps between round numbers, or whole ones."""
    return MaxNLocator(count, steps=ROUND_STEPS, integer=whole)


def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """
    A figure as the content of a file; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        As any function of this room returns it.
    suffix
        One of `PLOT_SUFFIXES`, capital letters or not.

    Raises
    ------
    InputError
        When the suffix is another.
    """
    kind = suffix.lower()
    if kind not in PLOT_SUFFIXES:
        raise InputError(f"A plot cannot be written as {suffix!r}; use {', '.join(PLOT_SUFFIXES)}.")
    content = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "hetplan"}):
        figure.savefig(content, format=kind[1:], dpi=DPI, metadata=_NO_DATE[kind])
    return content.getvalue()
