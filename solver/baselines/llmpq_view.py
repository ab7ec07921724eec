"""What the baselines of LLM-PQ share: its view of a problem, orders, the choice of theta."""

from collections.abc import Callable
from dataclasses import replace
from math import factorial

import numpy as np

from solver.baselines.budget import Budget
from solver.baselines.judging import Judged, Proposal, best_of, better
from solver.baselines.layouts import lacking_decode, single_gpus
from solver.baselines.per_type import gpu_types
from solver.llmpq import (
    LlmPqPlan,
    LlmPqProblem,
    LlmPqRules,
    from_pipeline,
    prefill_sizes,
    to_plan,
)
from solver.objective import Limits, Objective
from solver.problem import BatchOption, PipelineProblem
from solver.result import Plan

__all__ = [
    "MOST_PLACES",
    "THETA_SHARES",
    "few_orders",
    "for_each_batch",
    "in_order",
    "most_quality",
    "no_size",
    "our_plan",
    "over_thetas",
]

THETA_SHARES = (0.3, 1.0, 10.0, 100.0)
"""Seconds that the whole quality limit is worth, in shares of the plan's latency at theta 0."""

MOST_PLACES = 500_000
"""Orders, prefill sizes, layers and GPUs multiplied; beyond it only the order given is searched."""

NO_SINGLE_GPUS = (
    "its stages are single GPUs, and not every GPU may be one; allow tensor-parallel size 1"
)
_LARGEST_PENALTY_S = 100.0

Plans = Callable[[float], list[LlmPqPlan]]


def for_each_batch(
    problem: PipelineProblem,
    objective: Objective,
    propose: Callable[[PipelineProblem, LlmPqProblem], Proposal],
    budget: Budget,
) -> Proposal:
    """
    The best answer over the batch sizes.

    LLM-PQ books embedding and head on the first GPU, the judge has the head on the last. Where a
    plan exceeds memory for that, it is planned again with room for the head on every GPU.

    Parameters
    ----------
    problem, objective
        The problem, and what counts.
    propose
        Plans for our problem of one batch size and LLM-PQ's view of it.
    budget
        Batch sizes that it leaves no time for are left out.
    """
    best: Judged | None = None
    reason = ""
    for batch in problem.batches:
        if budget.is_spent():
            break
        lacks = _lacking(problem, batch)
        if lacks:
            reason = reason or lacks
            continue
        alone = replace(problem, batches=(batch,))
        own = _by_type(problem, from_pipeline(_one_wave(alone), theta_s_per_nat=0.0))
        answer = propose(alone, own)
        if answer.judged is not None and _breaks(answer.judged, "memory"):
            again = propose(alone, _with_room(alone, own))
            answer = Proposal(judged=better(answer.judged, again.judged, objective))
        best = better(best, answer.judged, objective)
        reason = reason or answer.reason
    return Proposal(judged=best, reason="" if best else budget.no_plan(reason))


def _lacking(problem: PipelineProblem, batch: BatchOption) -> str:
    """What LLM-PQ's view needs and the request has not; empty where it has all."""
    num_gpus = len(single_gpus(problem))
    if num_gpus < problem.num_gpus:
        return NO_SINGLE_GPUS
    return lacking_decode(problem, batch, num_gpus)


def _by_type(problem: PipelineProblem, own: LlmPqProblem) -> LlmPqProblem:
    """The problem with a block per GPU type, whatever node the GPUs are of."""
    types = {
        problem.groups[g].device: number
        for number, groups in enumerate(gpu_types(problem))
        for g in groups
    }
    return replace(own, blocks=tuple(types[device] for device in own.blocks))


def few_orders(own: LlmPqProblem, budget: Budget) -> LlmPqProblem:
    """The problem itself, or with the order given alone where types have too many orders."""
    sizes = prefill_sizes(own, LlmPqRules.as_published())
    cases = factorial(len(set(own.blocks))) * len(sizes)
    if cases * own.num_layers * own.num_devices <= MOST_PLACES:
        return own
    budget.was_cut = True
    return replace(own, blocks=(0,) * own.num_devices)


def _breaks(found: Judged, limit: str) -> bool:
    return any(violation.limit == limit for violation in found.violations)


def _with_room(problem: PipelineProblem, own: LlmPqProblem) -> LlmPqProblem:
    """The problem with room for the head, wherever the last layers may go."""
    work = np.maximum(problem.head_prefill_work_bytes, problem.head_decode_work_bytes)
    room = float((problem.head_bytes + work.max(axis=1)).max())
    return replace(own, capacity_bytes=own.capacity_bytes - room)


def over_thetas(
    problem: PipelineProblem,
    limits: Limits,
    objective: Objective,
    plans: Plans,
    budget: Budget,
) -> Judged | None:
    """
    The best plan of the least theta whose plans keep the limits.

    LLM-PQ knows quality only as theta times loss, theta tuned by hand. Here theta rises step by
    step until a plan keeps the limit on quality; without one it stays 0, and a goal that weighs
    quality brings its own.

    Parameters
    ----------
    problem, limits, objective
        The problem, with one batch size.
    plans
        Plans for a theta in seconds per nat.
    budget
        No further theta is tried once it is spent.
    """
    theta = objective.theta_s_per_nat
    best = _judged_best(problem, plans(theta), limits, objective)
    if best is None or limits.loss_nats is None or theta:
        return best
    latency_s = best.evaluation.batch_latency_s
    loss = max(limits.loss_nats, 1e-3 * float(problem.loss_nats.max(axis=1).sum()), 1e-9)
    for share in THETA_SHARES:
        if best is None or not _breaks(best, "loss_nats") or budget.is_spent():
            break
        found = _judged_best(problem, plans(share * latency_s / loss), limits, objective)
        best = better(best, found, objective)
    return best


def _judged_best(
    problem: PipelineProblem, plans: list[LlmPqPlan], limits: Limits, objective: Objective
) -> Judged | None:
    return best_of(problem, (our_plan(problem, plan) for plan in plans), limits, objective)


def no_size(own: LlmPqProblem) -> str:
    """Why the released search has no case: it leaves out prefill micro-batches of 1."""
    size = own.decode_micro_batch
    return f"no prefill micro-batch above 1 divides its decode micro-batch of {size}"


def our_plan(problem: PipelineProblem, plan: LlmPqPlan) -> Plan:
    """A plan of LLM-PQ's as one of ours, for any number of batches one after the other."""
    return to_plan(_one_wave(problem), plan)


def _one_wave(problem: PipelineProblem) -> PipelineProblem:
    return replace(problem, num_requests=None)


def in_order(own: LlmPqProblem, order: tuple[int, ...]) -> LlmPqProblem:
    """The problem with its devices in this order and no other."""
    at = np.array(order)
    return replace(
        own,
        blocks=(0,) * len(at),
        prefill_s=own.prefill_s[:, :, at],
        decode_s=own.decode_s[:, at],
        ends_prefill_s=own.ends_prefill_s[:, at],
        ends_decode_s=own.ends_decode_s[at],
        send_prefill_s=own.send_prefill_s[:, at][:, :, at],
        send_decode_s=own.send_decode_s[np.ix_(at, at)],
        memory_bytes=own.memory_bytes[:, at],
        capacity_bytes=own.capacity_bytes[:, at],
        ends_bytes=own.ends_bytes[:, at],
        allowed=own.allowed[:, at],
    )


def most_quality(own: LlmPqProblem, prefill_micro_batch: int, budget: Budget) -> LlmPqPlan | None:
    """
    The least quality loss that memory allows in the order given: adabits.

    Among plans of equal loss any may come, as in the released code: times play no part.
    """
    at = np.flatnonzero(own.prefill_micro_batches == prefill_micro_batch)
    most = float(np.where(own.allowed.any(axis=1), own.loss_nats, 0.0).sum())
    quality = replace(
        own,
        blocks=(0,) * own.num_devices,
        theta_s_per_nat=_LARGEST_PENALTY_S / most if most > 0 else 0.0,
        prefill_micro_batches=own.prefill_micro_batches[at],
        prefill_s=0 * own.prefill_s[at],
        decode_s=0 * own.decode_s,
        ends_prefill_s=0 * own.ends_prefill_s[at],
        ends_decode_s=0 * own.ends_decode_s,
        send_prefill_s=0 * own.send_prefill_s[at],
        send_decode_s=0 * own.send_decode_s,
        capacity_bytes=own.capacity_bytes[at],
        ends_bytes=own.ends_bytes[at],
    )
    return budget.searched(quality, LlmPqRules.corrected()).plan
