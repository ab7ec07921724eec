"""How CPU seconds grow with what grows in a family: exponents by least squares, and a plot."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.results import FamilyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SHOWN_GAPS", "Curve", "curve_of", "plot"]

SHOWN_GAPS = (0.01, 0.001)
COLOURS = ("#1b6ca8", "#c1440e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """
    CPU seconds to a gap by size, rising; points at which the gap was not reached are left out.

    Parameters
    ----------
    gap
        The gap.
    sizes, seconds
        The points.
    """

    gap: float
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def fit(self) -> tuple[float, float]:
        """
        Exponent and factor of seconds = factor * size ^ exponent, by least squares of logarithms.

        Raises
        ------
        ValueError
            With fewer than two points.
        """
        if len(self.sizes) < 2:
            raise ValueError(f"A fit takes two points, not {len(self.sizes)}.")
        exponent, intercept = np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)
        return float(exponent), float(np.exp(intercept))

    def last_exponent(self) -> float:
        """Exponent between the two largest sizes."""
        (small, large), (fast, slow) = self.sizes[-2:], self.seconds[-2:]
        return log(slow / fast) / log(large / small)


def curve_of(result: FamilyResult, gap: float) -> Curve:
    """The curve of a family that grows."""
    points = [(each.size, each.seconds_to(gap)) for each in result.measured]
    known = sorted((x, y) for x, y in points if x is not None and y is not None and isfinite(y))
    return Curve(gap=gap, sizes=tuple(x for x, _ in known), seconds=tuple(y for _, y in known))


def plot(families: Iterable[tuple[str, FamilyResult]], path: Path) -> None:
    """
    Draw every family's curves on logarithmic axes, with the lines fitted, as SVG.

    Parameters
    ----------
    families
        What grows, with its result.
    path
        The file to write.
    """
    # Loaded here: drawing is the only use, and measuring should not carry its memory.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = list(families)
    # Fixed ids and no date: the file changes only where a figure does.
    with mpl.rc_context({"svg.hashsalt": "hetplan", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.2 * len(shown), 3.4), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, (grows, result) in zip(panels, shown, strict=True):
            _draw(axes, [curve_of(result, gap) for gap in SHOWN_GAPS])
            axes.set(xscale="log", yscale="log", xlabel=grows, title=f"by {grows}")
            sizes = sorted({each.size for each in result.measured if each.size is not None})
            axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel("CPU seconds")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(axes: "Axes", curves: Iterable[Curve]) -> None:
    for curve, colour in zip(curves, COLOURS, strict=True):
        if len(curve.sizes) < 2:
            continue
        exponent, factor = curve.fit()
        label = f"gap {100 * curve.gap:g} %: exponent {exponent:.2f}"
        axes.plot(curve.sizes, curve.seconds, "o", color=colour, label=label)
        line = [factor * size**exponent for size in curve.sizes]
        axes.plot(curve.sizes, line, "--", color=colour, linewidth=1)
    axes.legend(fontsize="small")
