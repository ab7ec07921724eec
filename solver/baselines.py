"""Plans that people use today, judged as any other."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import numpy as np

from solver.check import evaluate, score, violations
from solver.objective import Limits, Objective
from solver.problem import BatchOption, PipelineProblem
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
    for stages in _even_stages(problem):
        for batch in problem.batches:
            for plan in _plans(problem, stages, batch):
                values = evaluate(problem, plan)
                if violations(problem, values, limits):
                    continue
                value = sign * score(values, objective)
                if best is None or value < sign * score(best[1], objective):
                    best = plan, values
    return best


def _even_stages(problem: PipelineProblem) -> Iterator[tuple[Stage, ...]]:
    """The even split in every format that all of its GPUs run."""
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
        if problem.group_formats[order, fmt].all() and problem.layer_formats[:, fmt].all():
            yield tuple(
                Stage(group=g, first_layer=int(start), formats=(fmt,) * int(count))
                for g, start, count in zip(order, starts, counts, strict=True)
            )


def _plans(
    problem: PipelineProblem, stages: tuple[Stage, ...], batch: BatchOption
) -> Iterator[Plan]:
    """
    The stages with the best prefill size and every decode size.

    Prefill depends on its own size alone, and so does decode; memory must hold both apart. So the
    best pair is made of the prefill size of least TTFT and one of the decode sizes.
    """
    prefill, decode = (
        [int(problem.micro_batches[i]) for i in sizes] for sizes in (batch.prefill, batch.decode)
    )
    first = Plan(
        batch_size=batch.size,
        prefill_micro_batch=min(prefill),
        decode_micro_batch=min(decode),
        stages=stages,
    )
    tried = [replace(first, prefill_micro_batch=size) for size in prefill]
    best = min(tried, key=lambda plan: _ttft_if_it_fits(problem, plan))
    for size in decode:
        yield replace(best, decode_micro_batch=size)


def _ttft_if_it_fits(problem: PipelineProblem, plan: Plan) -> float:
    values = evaluate(problem, plan)
    return values.ttft_s if all(s.memory.free_bytes >= 0 for s in values.stages) else inf
