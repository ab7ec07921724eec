"""Plans that people use today, judged as any other."""

from collections.abc import Iterator

import numpy as np

from solver.check import evaluate, score, violations
from solver.objective import Limits, Objective
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan, Stage

__all__ = ["even_split"]


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
    best: tuple[Plan, Evaluation] | None = None
    sign = -1 if objective.goal.maximise else 1
    for plan in _even_plans(problem):
        values = evaluate(problem, plan)
        if violations(problem, values, limits):
            continue
        if best is None or sign * score(values, objective) < sign * score(best[1], objective):
            best = plan, values
    return best


def _even_plans(problem: PipelineProblem) -> Iterator[Plan]:
    single = [g for g, group in enumerate(problem.groups) if group.tensor_parallel == 1]
    order = [g for g in single for _ in range(problem.devices[problem.groups[g].device].count)]
    order = order[: problem.num_layers]
    if not order:
        return
    share, extra = divmod(problem.num_layers, len(order))
    counts = np.full(len(order), share)
    counts[len(order) - 1 - extra : len(order) - 1] += 1
    starts = np.cumsum(counts) - counts
    for fmt in range(len(problem.format_names)):
        if not (problem.group_formats[order, fmt].all() and problem.layer_formats[:, fmt].all()):
            continue
        stages = tuple(
            Stage(group=g, first_layer=int(start), formats=(fmt,) * int(count))
            for g, start, count in zip(order, starts, counts, strict=True)
        )
        for batch in problem.batches:
            for prefill in batch.prefill:
                for decode in batch.decode:
                    yield Plan(
                        batch_size=batch.size,
                        prefill_micro_batch=int(problem.micro_batches[prefill]),
                        decode_micro_batch=int(problem.micro_batches[decode]),
                        stages=stages,
                    )
