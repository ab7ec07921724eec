"""The heat map of a sweep: a value over two settings, and what wins where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from api.plots.canvas import (
    BELOW,
    BLACK,
    NORMAL,
    SMALL,
    bare,
    new_plot,
    plain,
    text_colour,
    text_width_in,
)
from api.plots.quantity import Quantity, short
from profiles.errors import InputError, unknown_name
from solver.problem import FloatArray

__all__ = ["sweep_figure"]

SHADES = "cividis"
"""From dark to light, also for the colour-blind and in grey."""
LEAST_CELL_IN, LINE_IN, PAD_IN, AROUND_IN = 0.75, 0.16, 0.22, 0.8
LABELS_IN, SCALE_IN, KEY_LINE_IN = 0.7, 1.1, 0.2
WIDE = 30.0
"""From this ratio of the largest to the smallest value on, colours are on a logarithmic scale."""
WIDEST_IN = 9.0
"""Cells that need more in all tell winners by letters, with a key below."""
NOTHING = "no plan"


def sweep_figure(
    table: pd.DataFrame,
    *,
    rows: str,
    columns: str,
    value: str,
    quantity: Quantity,
    winner: str | None = None,
    names: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """
    Draw a value as the colour of a cell over two settings of a sweep.

    A cell shows the best of all rows of the table that have its settings, and with ``winner`` which
    it is: thick lines then part the regions of different winners. Where their names would not fit
    into cells, letters stand for them, with a key below.

    Parameters
    ----------
    table
        A row per point, as `solver.sweep` gives it; points without a plan have no value.
    rows, columns
        Columns of the table with the two settings, in the order in which these appear.
    value
        Column of the values, in the unit of the quantity.
    quantity
        What the values measure; decides what is best.
    winner
        Column that names what wins, such as ``4x T4 + 2x A100``; None names nothing.
    names
        What the settings are called, with units, by column; else as the columns.
    title
        What is seen.

    Raises
    ------
    InputError
        When the table lacks a column, or no row has a value.
    """
    wanted = [rows, columns, value, *([] if winner is None else [winner])]
    _check(table, wanted)
    called = {rows: rows, columns: columns} | dict(names or {})
    grid = _read(table[wanted], maximise=quantity.maximise)
    letters = grid.letters()
    texts = grid.texts(letters)
    key = [f"{letter}  {name}" for name, letter in letters.items()]
    plot = _sheet(grid, texts, (called[rows], quantity.label), key, title)
    axes = plot.subplots()
    _draw_cells(plot, axes, grid.values, texts, quantity)
    _part(axes, grid.winners)
    axes.set_xticks(range(len(grid.columns)), list(map(plain, grid.columns)))
    axes.set_yticks(range(len(grid.rows)), list(map(plain, grid.rows)))
    axes.set_xlabel(plain(called[columns]))
    axes.set_ylabel(plain(called[rows]))
    bare(axes, grid=None)
    axes.spines[:].set_visible(False)
    if key:
        signs = [Line2D([], [], linestyle="", label=plain(text)) for text in key]
        plot.legend(handles=signs, **BELOW, handlelength=0)
    return plot


# -- what stands where --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """
    The cells.

    Parameters
    ----------
    rows, columns
        Names of the settings.
    values, winners
        Shape (rows, columns): NaN and ``""`` where there is none.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: FloatArray
    winners: NDArray[np.object_]

    def letters(self) -> dict[str, str]:
        """``A``, ``B``, ... for the winners in reading order; empty where their names fit."""
        if _cell_in(self.texts({})) * len(self.columns) <= WIDEST_IN:
            return {}
        names = dict.fromkeys(str(name) for name in self.winners.flat if name)
        letters = (*ascii_uppercase, *map("".join, product(ascii_uppercase, repeat=2)))
        return dict(zip(names, letters, strict=False))

    def texts(self, letters: Mapping[str, str]) -> list[list[str]]:
        """What is written: the value, below it the winner, or its letter."""
        return [
            [_text(value, letters.get(name, name)) for value, name in zip(*row, strict=True)]
            for row in zip(self.values, self.winners, strict=True)
        ]


def _text(value: float, winner: str) -> str:
    """The value and the winner, a line per kind of GPU."""
    if np.isnan(value):
        return NOTHING
    return "\n".join([short(value), winner.replace(" + ", " +\n")]).rstrip()


def _check(table: pd.DataFrame, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in table.columns:
            raise unknown_name("column", name, list(map(str, table.columns)))
    rows, columns, value, *_ = wanted
    if rows == columns:
        raise InputError(f"rows and columns are both {rows!r}; name two columns.")
    if table[value].isna().all():
        raise InputError(f"Column {value!r} has no value in any row; there is nothing to draw.")


def _read(table: pd.DataFrame, *, maximise: bool) -> _Grid:
    """The grid of a table of two settings, a value and perhaps a winner, in this order."""
    rows, columns, value, *winner = table.columns
    table = table.assign(**{side: table[side].map(str) for side in (rows, columns)})
    names = [list(dict.fromkeys(table[side])) for side in (rows, columns)]
    places = [{name: at for at, name in enumerate(of_side)} for of_side in names]
    values = np.full([len(of_side) for of_side in names], np.nan)
    winners = np.full(values.shape, "", dtype=object)
    known = table[table[value].notna()]
    best_first = known.sort_values(value, ascending=not maximise, kind="stable")
    for row, column, number, *name in best_first[::-1].itertuples(index=False):
        at = places[0][row], places[1][column]
        values[at] = number
        winners[at] = str(name[0]) if winner and not pd.isna(name[0]) else ""
    return _Grid(rows=names[0], columns=names[1], values=values, winners=winners)


# -- drawing ------------------------------------------------------------------------------------


def _cell_in(texts: Sequence[Sequence[str]]) -> float:
    widths = [text_width_in(text, SMALL) + PAD_IN for row in texts for text in row]
    return max(LEAST_CELL_IN, *widths)


def _sheet(
    grid: _Grid,
    texts: Sequence[Sequence[str]],
    upright: Sequence[str],
    key: Sequence[str],
    title: str,
) -> Figure:
    """A sheet on which all texts fit; ``upright`` are written from the foot to the head."""
    num_lines = max(text.count("\n") + 1 for row in texts for text in row)
    cells_in = (LINE_IN * num_lines + PAD_IN) * len(grid.rows)
    names_in = max(map(text_width_in, grid.rows)) + LABELS_IN
    width_in = names_in + _cell_in(texts) * len(grid.columns) + SCALE_IN
    key_in = max((text_width_in(text) for text in key), default=0.0)
    height_in = AROUND_IN + max(cells_in, *map(text_width_in, upright)) + KEY_LINE_IN * len(key)
    return new_plot(max(width_in, key_in), height_in, title)


def _draw_cells(
    plot: Figure,
    axes: Axes,
    values: FloatArray,
    texts: Sequence[Sequence[str]],
    quantity: Quantity,
) -> None:
    scale = _scale(values)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=SHADES, norm=scale, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        shade = (1.0, 1.0, 1.0) if np.isnan(value) else colormaps[SHADES](scale(value))[:3]
        colour, text = text_colour(shade), plain(texts[row][column])
        axes.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=colour)
    bar = plot.colorbar(image, ax=axes, pad=0.02, aspect=30)
    bar.set_label(quantity.label, fontsize=NORMAL)
    bar.ax.tick_params(labelsize=NORMAL)


def _scale(values: FloatArray) -> Normalize:
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    return LogNorm(least, most) if least > 0 and most > WIDE * least else Normalize(least, most)


def _part(axes: Axes, winners: NDArray[np.object_]) -> None:
    """A thick line between neighbours of different winners."""
    for row, column in np.argwhere(winners[:, 1:] != winners[:, :-1]):
        axes.plot([column + 0.5] * 2, [row - 0.5, row + 0.5], color=BLACK, linewidth=2.2)
    for row, column in np.argwhere(winners[1:] != winners[:-1]):
        axes.plot([column - 0.5, column + 0.5], [row + 0.5] * 2, color=BLACK, linewidth=2.2)
