"""Layers in proportion to the memory of a GPU, or to its speed."""

from collections.abc import Callable, Iterator

import numpy as np

from solver.baselines.budget import Budget
from solver.baselines.judging import Proposal, best_of
from solver.baselines.layouts import (
    largest_remainders,
    shared_formats,
    single_gpus,
    sized_plans,
    uniform_stages,
)
from solver.objective import Limits, Objective
from solver.problem import BatchOption, FloatArray, PipelineProblem
from solver.result import Plan

__all__ = ["memory_proportional", "speed_proportional"]

NO_FORMAT = "no format is run by all GPUs, and its rule knows one format for all"
NO_SINGLE_GPU = "no GPU may be a stage by itself"

Shares = Callable[[PipelineProblem, list[int], int, BatchOption], FloatArray]


def memory_proportional(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """Layers in proportion to what a GPU has for weights, KV cache and work space."""
    return _proposed(problem, limits, objective, _memory, budget)


def speed_proportional(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """Layers in proportion to how fast a GPU serves the batch through one layer."""
    return _proposed(problem, limits, objective, _speeds, budget)


def _proposed(
    problem: PipelineProblem, limits: Limits, objective: Objective, shares: Shares, budget: Budget
) -> Proposal:
    order = single_gpus(problem)
    if not order:
        return Proposal(reason=NO_SINGLE_GPU)
    plans = budget.while_left(_plans(problem, order, shares))
    found = best_of(problem, plans, limits, objective)
    return Proposal(judged=found, reason="" if found else budget.no_plan(NO_FORMAT))


def _plans(problem: PipelineProblem, order: list[int], shares: Shares) -> Iterator[Plan]:
    for fmt in shared_formats(problem, order):
        for batch in problem.batches:
            given = shares(problem, order, fmt, batch)
            counts = largest_remainders(given, problem.num_layers)
            yield from sized_plans(problem, uniform_stages(order, counts, fmt), batch)


def _memory(
    problem: PipelineProblem, order: list[int], _fmt: int, _batch: BatchOption
) -> FloatArray:
    memory = [problem.devices[problem.groups[g].device].memory_bytes for g in order]
    return np.array(memory) if sum(memory) > 0 else np.ones(len(order))


def _speeds(problem: PipelineProblem, order: list[int], fmt: int, batch: BatchOption) -> FloatArray:
    """Batches per second through one layer, at the micro-batch sizes nearest to batch / GPUs."""
    wanted = batch.size / len(order)
    prefill, decode = (
        min(sizes, key=lambda i: (abs(problem.micro_batches[i] - wanted), i))
        for sizes in (batch.prefill, batch.decode)
    )
    rounds = batch.size / problem.micro_batches[[prefill, decode]]
    seconds = rounds[0] * problem.prefill_s[order, fmt][..., prefill]
    seconds += rounds[1] * (problem.output_tokens - 1) * problem.decode_s[order, fmt][..., decode]
    per_layer: FloatArray = seconds[:, problem.layer_kinds].mean(axis=1)
    idle: FloatArray = (per_layer == 0).astype(float)
    return idle if idle.any() else 1 / per_layer
