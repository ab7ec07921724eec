"""A plan made to fit other limits: stages nearly kept, order and formats chosen anew."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from solver.explore import Explorer
from solver.incumbent import Best, Incumbent
from solver.instance import Instance
from solver.linear import Backend
from solver.nodes import Node
from solver.objective import Limits, StopRule
from solver.problem import PipelineProblem
from solver.result import Plan
from solver.target import Target

__all__ = ["refit"]

# Pipelines of more stages keep the layers of every stage, lest there be too many to try.
_MOST_STAGES_MOVED = 4


def refit(
    problem: PipelineProblem,
    plan: Plan,
    *,
    price_usd_per_hour: float,
    limits: Limits,
    target: Target,
    stop: StopRule,
    backend: Backend,
    seconds_left: Callable[[], float],
    cancelled: Callable[[], bool] | None,
) -> tuple[Incumbent | None, int]:
    """
    The best plan with the stages of a given one, or with one layer moved to a neighbour.

    Parameters
    ----------
    problem, limits, target, stop, backend, seconds_left, cancelled
        As for a search; nothing is proven.
    plan, price_usd_per_hour
        The given plan and its price.

    Returns
    -------
    tuple
        The plan, None where none keeps the limits; and the number of integer programs solved.
    """
    best = Best(problem=problem, limits=limits, target=target, gap=stop.gap, on_better=lambda: None)
    explorer = Explorer(
        best=best, backend=backend, seed=stop.seed, seconds_left=seconds_left, cancelled=cancelled
    )
    sizes = problem.micro_batches.tolist()
    instance = Instance(
        problem=problem,
        batch=next(batch for batch in problem.batches if batch.size == plan.batch_size),
        prefill=sizes.index(plan.prefill_micro_batch),
        decode=sizes.index(plan.decode_micro_batch),
        price_low=price_usd_per_hour,
        price_high=price_usd_per_hour,
    )
    for stages in _nearby([(stage.group, len(stage.formats)) for stage in plan.stages]):
        if not explorer.must_stop():
            explorer.place(Node(instance=instance, bound=0.0, reach=0.0), stages)
    return best.incumbent, explorer.num_milps


def _nearby(stages: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The stages themselves, then one layer moved over each border, either way."""
    yield stages
    if len(stages) > _MOST_STAGES_MOVED:
        return
    for left, right in pairwise(range(len(stages))):
        for taken, given in ((left, right), (right, left)):
            moved = [list(stage) for stage in stages]
            moved[taken][1] -= 1
            moved[given][1] += 1
            if moved[taken][1]:
                yield [(group, layers) for group, layers in moved]
