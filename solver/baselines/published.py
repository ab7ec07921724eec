"""
Uniform and PipeEdge, as the code released with LLM-PQ states them.

Both serve in the order given, in one format for all layers: the first of 16, 8, 4 and 3 bits that
fits. Decode has micro-batches of ceil(batch / GPUs).

References
----------
LLM-PQ: arXiv 2403.01136, DOI 10.1145/3627535.3638480.
PipeEdge: Hu et al., Pipeline Parallelism for Inference on Heterogeneous Edge Computing,
arXiv 2110.14895.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from profiles.units import GIB
from solver.baselines.budget import Budget
from solver.baselines.judging import Judged, Proposal, best_of, better
from solver.baselines.layouts import (
    even_counts,
    lacking_decode,
    lacking_prefill,
    shared_formats,
    single_gpus,
    slots_per_gpu,
    uniform_stages,
    widths,
)
from solver.objective import Limits, Objective
from solver.problem import BatchOption, BoolArray, FloatArray, PipelineProblem
from solver.result import Plan, Stage

__all__ = ["pipeedge", "uniform"]

Plans = Callable[[PipelineProblem, list[int], int, BatchOption], Iterator[Plan]]
Lacking = Callable[[PipelineProblem, BatchOption, int], str]


def uniform(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """
    Equal layer counts at the most bits that fit; prefill micro-batches that divide decode's.

    Layers left over go to the stages before the last: the released code leaves that open.
    """
    return _widest(problem, limits, objective, _uniform_plans, _lacking_for_uniform, budget)


def pipeedge(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """The least slowest stage of decode, at the most bits that fit; prefill in the same sizes."""
    return _widest(problem, limits, objective, _pipeedge_plans, _lacking_for_pipeedge, budget)


def _widest(
    problem: PipelineProblem,
    limits: Limits,
    objective: Objective,
    plans: Plans,
    lacking: Lacking,
    budget: Budget,
) -> Proposal:
    """Plans at the most bits at which memory holds one; of these the best."""
    order = single_gpus(problem)[: problem.num_layers]
    if not order:
        return Proposal(reason="no GPU may be a stage by itself")
    formats, bits = shared_formats(problem, order), widths(problem)
    if not formats:
        return Proposal(reason="no format is run by all GPUs, and its rule knows one for all")
    best: Judged | None = None
    reason = ""
    for batch in problem.batches:
        lacks = lacking(problem, batch, len(order))
        if lacks:
            reason = lacks
            continue
        found: Judged | None = None
        for width in sorted({bits[f] for f in formats}, reverse=True):
            chosen = [f for f in formats if bits[f] == width]
            tried = (plan for f in chosen for plan in plans(problem, order, f, batch))
            found = best_of(problem, budget.while_left(tried), limits, objective) or found
            if found is not None and all(v.limit != "memory" for v in found.violations):
                break
        best = better(best, found, objective)
    if best is None:
        return Proposal(reason=budget.no_plan(reason or _needs(problem, order, formats)))
    return Proposal(judged=best)


def _uniform_plans(
    problem: PipelineProblem, order: list[int], fmt: int, batch: BatchOption
) -> Iterator[Plan]:
    stages = uniform_stages(order, even_counts(problem.num_layers, len(order)), fmt)
    for size in _divisors(problem, batch, len(order)):
        yield _plan(problem, batch, size, slots_per_gpu(batch, len(order)), stages)


def _divisors(problem: PipelineProblem, batch: BatchOption, num_gpus: int) -> list[int]:
    """Prefill sizes that divide the decode micro-batch."""
    decode = slots_per_gpu(batch, num_gpus)
    return [s for s in problem.micro_batches[list(batch.prefill)].tolist() if decode % s == 0]


def _lacking_for_uniform(problem: PipelineProblem, batch: BatchOption, num_gpus: int) -> str:
    lacks = lacking_decode(problem, batch, num_gpus)
    if lacks or _divisors(problem, batch, num_gpus):
        return lacks
    size = slots_per_gpu(batch, num_gpus)
    return f"no prefill micro-batch of the request divides its decode micro-batch of {size}"


def _lacking_for_pipeedge(problem: PipelineProblem, batch: BatchOption, num_gpus: int) -> str:
    return lacking_decode(problem, batch, num_gpus) or lacking_prefill(problem, batch, num_gpus)


def _plan(
    problem: PipelineProblem,
    batch: BatchOption,
    prefill: int,
    decode: int,
    stages: tuple[Stage, ...],
) -> Plan:
    """A plan of these sizes; where nothing is decoded, at a decode size that there is."""
    index = problem.decode_index(batch, decode)
    assert index is not None, "lacking_decode is asked first"
    return Plan(
        batch_size=batch.size,
        prefill_micro_batch=prefill,
        decode_micro_batch=int(problem.micro_batches[index]),
        stages=stages,
    )


def _pipeedge_plans(
    problem: PipelineProblem, order: list[int], fmt: int, batch: BatchOption
) -> Iterator[Plan]:
    size = slots_per_gpu(batch, len(order))
    index = int(np.flatnonzero(problem.micro_batches == size)[0])
    counts = _least_slowest(problem, order, fmt, batch.size, index)
    if counts is not None:
        yield _plan(problem, batch, size, size, uniform_stages(order, counts, fmt))


def _needs(problem: PipelineProblem, order: list[int], formats: list[int]) -> str:
    """Why no cut of the layers fits, by the least that layers need in all."""
    kinds, largest = problem.layer_kinds, max(batch.size for batch in problem.batches)
    least = problem.weight_bytes[order][:, formats].min(axis=(0, 1))[kinds].sum()
    kv = largest * problem.kv_bytes[order].min(axis=0)[kinds].sum()
    room = sum(problem.devices[problem.groups[g].device].memory_bytes for g in order)
    return (
        f"in the order given no cut of the layers fits: layers need {(least + kv) / GIB:.1f} GiB "
        f"at the fewest bits, the GPUs have {room / GIB:.1f} GiB for them, ends and work space"
    )


# -- PipeEdge's partition by dynamic programming -------------------------------------------------


def _least_slowest(
    problem: PipelineProblem, order: list[int], fmt: int, batch: int, index: int
) -> list[int] | None:
    """
    Layers of every GPU such that the slowest stage of decode is least; None where none fits.

    ``best[i]`` is the least slowest stage with the first i layers on the GPUs seen so far. A GPU
    may stay without layers. As in the released code a stage takes the larger of its layers and its
    transfer to the next GPU.
    """
    num_layers = problem.num_layers
    best = np.full(num_layers + 1, np.inf)
    best[0] = 0.0
    cuts = []
    nodes = [problem.node_of(g) for g in order]
    sends = [float(problem.decode_link_s[u, v, index]) for u, v in pairwise(nodes)] + [0.0]
    for g, send in zip(order, sends, strict=True):
        stage = np.maximum(_stage_decode_s(problem, g, fmt, index), send)
        stage[~_fits(problem, g, fmt, batch, index)] = np.inf
        np.fill_diagonal(stage, 0.0)
        after = np.maximum(best[:, None], stage)
        cuts.append(after.argmin(axis=0))
        best = after.min(axis=0)
    if not np.isfinite(best[-1]):
        return None
    counts, end = [], num_layers
    for cut in reversed(cuts):
        counts.append(end - int(cut[end]))
        end = int(cut[end])
    return counts[::-1]


def _between(per_layer: FloatArray) -> FloatArray:
    """Sum over layers k to i - 1 at [k, i], inf where i < k; shape (L + 1, L + 1)."""
    ends = np.concatenate([[0.0], np.cumsum(per_layer)])
    sums = ends[None, :] - ends[:, None]
    backward = np.tril(np.ones_like(sums, dtype=bool), -1)
    return np.where(backward, np.inf, sums)


def _stage_decode_s(problem: PipelineProblem, group: int, fmt: int, index: int) -> FloatArray:
    """Seconds of a decode step for layers k to i - 1, with embedding or head at the ends."""
    seconds = _between(problem.decode_s[group, fmt, problem.layer_kinds, index])
    seconds[0] += problem.embedding_decode_s[group, index]
    seconds[:, -1] += problem.head_decode_s[group, index]
    return seconds


def _fits(problem: PipelineProblem, group: int, fmt: int, batch: int, index: int) -> BoolArray:
    """Whether the GPU holds layers k to i - 1, shape (L + 1, L + 1)."""
    kinds = problem.layer_kinds
    held = problem.weight_bytes[group, fmt] + batch * problem.kv_bytes[group]
    prefill, decode = (
        float(work[group, index])
        for work in (problem.prefill_work_bytes, problem.decode_work_bytes)
    )
    head_prefill = prefill + float(problem.head_prefill_work_bytes[group, index])
    head_decode = decode + float(problem.head_decode_work_bytes[group, index])
    need = _between(held[kinds])
    need[0] += problem.embedding_bytes[group]
    need[:, -1] += problem.head_bytes[group]
    need[0, -1] -= problem.shared_bytes[group]
    need[:, :-1] += max(prefill, decode)
    need[:, -1] += max(head_prefill, head_decode)
    fits: BoolArray = need <= problem.devices[problem.groups[group].device].memory_bytes
    return fits
