"""Stages by layer counts, of equal numbers of GPUs in the order given, in one format."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, inf

import numpy as np

from solver.check import evaluate
from solver.problem import BatchOption, FloatArray, PipelineProblem
from solver.result import Plan, Stage

__all__ = [
    "equal_stages",
    "even_counts",
    "lacking_decode",
    "lacking_prefill",
    "largest_remainders",
    "shared_formats",
    "single_gpus",
    "sized_plans",
    "slots_per_gpu",
    "uniform_stages",
    "widths",
]

WIDEST = 16
_NOT_ASKED = "(batch / GPUs, rounded up) is not among the sizes of the request"


def single_gpus(problem: PipelineProblem) -> list[int]:
    """Stage group of every GPU that may be a stage by itself, in the order given."""
    return equal_stages(problem, 1)


def equal_stages(problem: PipelineProblem, tensor_parallel: int) -> list[int]:
    """Stage group of every stage of so many GPUs, in the order given; GPUs left over stay out."""
    return [
        g
        for g, group in enumerate(problem.groups)
        if group.tensor_parallel == tensor_parallel
        for _ in range(problem.devices[group.device].count // tensor_parallel)
    ]


def even_counts(num_layers: int, num_stages: int) -> list[int]:
    """Layers of every stage, as even as can be; extra layers go to the stages before the last."""
    share, extra = divmod(num_layers, num_stages)
    counts = np.full(num_stages, share)
    counts[num_stages - 1 - extra : num_stages - 1] += 1
    return [int(count) for count in counts]


def largest_remainders(shares: FloatArray, total: int) -> list[int]:
    """Whole numbers in proportion to the shares that add up to the total."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def shared_formats(problem: PipelineProblem, groups: Sequence[int]) -> list[int]:
    """Formats that every layer may take on every one of the groups."""
    everywhere = problem.group_formats[list(groups)].all(axis=0)
    return [int(f) for f in np.flatnonzero(everywhere & problem.layer_formats.all(axis=0))]


def uniform_stages(groups: Sequence[int], counts: Sequence[int], fmt: int) -> tuple[Stage, ...]:
    """Stages of these lengths in one format; GPUs without layers are left out."""
    starts = np.cumsum(counts) - counts
    return tuple(
        Stage(group=g, first_layer=int(start), formats=(fmt,) * count)
        for g, start, count in zip(groups, starts, counts, strict=True)
        if count
    )


def sized_plans(
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


def widths(problem: PipelineProblem) -> list[int]:
    """
    Bits of every format by its bytes, the widest taken as 16: 16, 8, 4, 3 for the usual ones.

    Returns
    -------
    list
        One per format; formats as wide as each other, such as w8a8 and w8a16, have the same.
    """
    weights = problem.weight_bytes.sum(axis=2)
    means = [
        float(weights[runs, f].mean()) if runs.any() else 0.0
        for f, runs in enumerate(problem.group_formats.T)
    ]
    widest = max(means) or 1.0
    return [round(WIDEST * mean / widest) for mean in means]


def slots_per_gpu(batch: BatchOption, num_gpus: int) -> int:
    """LLM-PQ's decode micro-batch, ceil(batch / GPUs)."""
    return ceil(batch.size / num_gpus)


def lacking_decode(problem: PipelineProblem, batch: BatchOption, num_gpus: int) -> str:
    """Why the request has not LLM-PQ's decode micro-batch; empty where it has."""
    size = slots_per_gpu(batch, num_gpus)
    if problem.decode_index(batch, size) is not None:
        return ""
    return f"its decode micro-batch of {size} {_NOT_ASKED}; add it"


def lacking_prefill(problem: PipelineProblem, batch: BatchOption, num_gpus: int) -> str:
    """The same for a prefill micro-batch of this size."""
    size = slots_per_gpu(batch, num_gpus)
    if size in problem.micro_batches[list(batch.prefill)]:
        return ""
    return f"its prefill micro-batch of {size} {_NOT_ASKED}; add it"
