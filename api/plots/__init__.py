"""
Plots: plans, replays, fronts, comparisons and sweeps, each a function that returns a figure.

They take plain values and touch no state of pyplot. `figure_bytes` makes a file of a figure.
"""

from api.plots.answers import comparison_bars, front_points
from api.plots.canvas import PLOT_SUFFIXES, figure_bytes
from api.plots.comparison import Bar, comparison_figure
from api.plots.gantt import gantt_figure
from api.plots.pareto import FrontPoint, pareto_figure
from api.plots.pipeline import pipeline_figure
from api.plots.quantity import Quantity
from api.plots.sweep import sweep_figure
from api.plots.titles import comparison_title, plan_title, replay_title

__all__ = [
    "PLOT_SUFFIXES",
    "Bar",
    "FrontPoint",
    "Quantity",
    "comparison_bars",
    "comparison_figure",
    "comparison_title",
    "figure_bytes",
    "front_points",
    "gantt_figure",
    "pareto_figure",
    "pipeline_figure",
    "plan_title",
    "replay_title",
    "sweep_figure",
]
