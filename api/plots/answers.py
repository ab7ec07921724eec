"""What comparisons and Pareto sets give to be drawn."""

from api.plots.comparison import Bar
from api.plots.pareto import FrontPoint
from api.render_comparison import OPTIMAL
from api.render_pareto import first_objective
from api.schemas.comparison import ComparisonAnswer
from api.schemas.pareto import ParetoAnswer

__all__ = ["comparison_bars", "front_points"]


def comparison_bars(answer: ComparisonAnswer) -> list[Bar]:
    """A bar for the best plan, where there is one, and one for each baseline."""
    best = [Bar(name=OPTIMAL, value=answer.objective, is_best=True)]
    return [
        *(best if answer.objective is not None else []),
        *(
            Bar(name=row.title, value=row.objective, is_feasible=row.feasible, why=row.why)
            for row in answer.baselines
        ),
    ]


def front_points(answer: ParetoAnswer) -> list[FrontPoint]:
    """The points of a set; with gaps, where the first goal is the one that is searched exactly."""
    across = answer.objectives[0].objective
    is_exact = across == first_objective(answer)
    return [
        FrontPoint(
            values=tuple(float(each.value or 0.0) for each in point.objectives.values()),
            views=tuple(point.views),
            gap=point.objectives[across].gap if is_exact else None,
        )
        for point in answer.points
    ]
