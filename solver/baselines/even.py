"""The even split, vLLM's default partition."""

from collections.abc import Iterator

from solver.baselines.judging import best_of
from solver.baselines.layouts import (
    even_counts,
    shared_formats,
    single_gpus,
    sized_plans,
    uniform_stages,
)
from solver.objective import Limits, Objective
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan

__all__ = ["even_plans", "even_split"]


def even_split(
    problem: PipelineProblem, limits: Limits, objective: Objective
) -> tuple[Plan, Evaluation] | None:
    """
    Even layer counts over single GPUs in the order given, at the best uniform format.

    This is the default partition of vLLM (extra layers go to the stages before the last), tried
    with every format that all GPUs run and every pair of micro-batch sizes; all GPUs are used, or
    as many as there are layers.

    Parameters
    ----------
    problem, limits, objective
        The problem; only plans that keep the limits count.

    Returns
    -------
    tuple or None
        The best such plan with its values; None where none keeps the limits.
    """
    found = best_of(problem, even_plans(problem, single_gpus(problem)), limits, objective)
    if found is None or found.violations:
        return None
    return found.plans[0], found.evaluation


def even_plans(problem: PipelineProblem, order: list[int]) -> Iterator[Plan]:
    """Even splits over these groups in every shared format, at the sizes worth a try."""
    order = order[: problem.num_layers]
    if not order:
        return
    counts = even_counts(problem.num_layers, len(order))
    for fmt in shared_formats(problem, order):
        for batch in problem.batches:
            yield from sized_plans(problem, uniform_stages(order, counts, fmt), batch)
