"""
One independent pipeline per GPU type, the batch divided among them.

How it is judged: every pipeline holds the whole model and serves its share of the batch, all at
once. TTFT, TPOT and latency are those of the slowest pipeline, price and GPUs are added up, quality
loss is that of the worst pipeline. This is no single pipeline, so bounds on one do not cover it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import inf

import numpy as np

from profiles.units import HOUR, MILLION
from solver.baselines.budget import Budget
from solver.baselines.even import even_plans
from solver.baselines.judging import Judged, Proposal, best_of, better
from solver.check import price_usd_per_hour, violations
from solver.objective import Goal, Limits, Objective
from solver.problem import AXES, BatchOption, PipelineProblem
from solver.result import Evaluation, Plan

__all__ = ["gpu_types", "pipeline_per_type"]

NO_FORMAT = "no format is run by all GPUs of a type"
NO_DIVISION = "its pipelines can serve no division that was tried of the batch"

_OF_WORST = {Goal.TTFT: "ttft_s", Goal.TPOT: "tpot_s", Goal.QUALITY_LOSS: "loss_nats"}
"""Goals that are those of the worst pipeline; for any other the batch is divided by latency."""

End = tuple[float, float]
"""What the batch is divided by, and latency where that is equal."""


def pipeline_per_type(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """
    An even split over the GPUs of each type, the batch divided so that all end together.

    Each pipeline has its own format and micro-batch sizes, the best for the goal. Every set of
    types is tried: fewer may be cheaper. Requests are moved from the slowest pipeline (for quality
    the one that loses most) to others, halving the number moved at a time, as long as that helps.
    """
    types = gpu_types(problem)
    if not types:
        return Proposal(reason="no GPU may be a stage by itself")
    best: Judged | None = None
    reason = ""
    for batch in problem.batches:
        kept = _kept(problem, batch, limits)
        sides = [_Side(problem, groups, batch, kept, objective, budget) for groups in types]
        room = sum(side.room() for side in sides)
        if room < batch.size:
            reason = _too_large(sides, room, batch)
            continue
        reason = f"{NO_DIVISION} of {batch.size} requests"
        for parts in _divisions(batch.size, sides, budget):
            best = better(best, _joined(problem, batch, limits, parts), objective)
    return Proposal(judged=best, reason="" if best else budget.no_plan(reason))


def gpu_types(problem: PipelineProblem) -> list[list[int]]:
    """Stage groups of the GPUs of each type, one per GPU: equal in times, bytes and memory."""
    types: dict[object, list[int]] = {}
    for g, group in enumerate(problem.groups):
        device = problem.devices[group.device]
        if group.tensor_parallel == 1:
            arrays = (problem.prefill_s, problem.decode_s, problem.weight_bytes)
            key = (device.memory_bytes, *(array[g].tobytes() for array in arrays))
            types.setdefault(key, []).extend([g] * device.count)
    return list(types.values())


def _kept(problem: PipelineProblem, batch: BatchOption, limits: Limits) -> Limits:
    """What every pipeline must keep so that all together do: times and quality."""
    tokens = problem.served_requests(batch.size) * problem.output_tokens
    pace_s = None if limits.s_per_token is None else limits.s_per_token * tokens
    ends_s = [seconds for seconds in (limits.latency_s, pace_s) if seconds is not None]
    return Limits(
        ttft_s=limits.ttft_s,
        tpot_s=limits.tpot_s,
        loss_nats=limits.loss_nats,
        latency_s=min(ends_s, default=None),
    )


@dataclass(slots=True)
class _Side:
    """A pipeline over the GPUs of one type, for any share of the batch."""

    problem: PipelineProblem
    groups: list[int]
    batch: BatchOption
    limits: Limits
    objective: Objective
    budget: Budget
    _known: dict[int, Judged | None] = field(default_factory=dict)

    def best(self, requests: int) -> Judged | None:
        """The best even split for so many requests, as far as time goes; see `best_of`."""
        if requests not in self._known:
            own = _share(self.problem, self.batch, requests)
            plans = self.budget.while_left(even_plans(own, self.groups))
            self._known[requests] = best_of(own, plans, self.limits, self.objective)
        return self._known[requests]

    def end(self, requests: int) -> End:
        """How this share ends; inf where it cannot be served."""
        if requests == 0:
            return 0.0, 0.0
        found = self.best(requests)
        if found is None or found.violations:
            return inf, inf
        latency_s = found.evaluation.latency_s
        name = _OF_WORST.get(self.objective.goal)
        return latency_s if name is None else getattr(found.evaluation, name), latency_s

    def serves(self, requests: int) -> bool:
        """Whether it has a plan for this share that keeps the limits."""
        return self.end(requests)[0] < inf

    def room(self) -> int:
        """Most requests that it can serve, at most the batch; fewer of them are served, too."""
        if self.serves(self.batch.size):
            return self.batch.size
        low, high = 0, self.batch.size - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.serves(middle) else (low, middle - 1)
        return low


def _share(problem: PipelineProblem, batch: BatchOption, requests: int) -> PipelineProblem:
    """
    The problem with a share of the batch alone.

    Where a micro-batch size exceeds the share, the whole share is one micro-batch. It is charged at
    the smallest size that holds it, as smaller last micro-batches are.
    """
    cut = int(np.searchsorted(problem.micro_batches, requests))
    of_size = {
        name: getattr(problem, name)[..., : cut + 1] for name, axes in AXES.items() if "M" in axes
    }
    of_size["micro_batches"] = np.minimum(of_size["micro_batches"], requests)
    prefill, decode = (
        tuple(dict.fromkeys(min(i, cut) for i in sizes)) for sizes in (batch.prefill, batch.decode)
    )
    waves = problem.waves(batch.size)
    return replace(
        problem,
        **of_size,
        batches=(BatchOption(size=requests, prefill=prefill, decode=decode),),
        num_requests=None if problem.num_requests is None else waves * requests,
        devices=tuple(replace(device, min_used=0) for device in problem.devices),
    )


def _divisions(batch: int, sides: Sequence[_Side], budget: Budget) -> Iterator[list[Judged]]:
    """The pipelines of the best division found among every set of types, all types first."""
    for number in range(len(sides), 0, -1):
        for used in combinations(sides, number):
            if budget.is_spent():
                return
            shares = _divided(batch, used, budget)
            parts = [side.best(share) for side, share in zip(used, shares, strict=True) if share]
            served = [part for part in parts if part is not None and not part.violations]
            if sum(part.plans[0].batch_size for part in served) == batch:
                yield served


def _divided(batch: int, sides: Sequence[_Side], budget: Budget) -> list[int]:
    """Requests of every pipeline; fewer than the batch where there is no room for it."""
    shares, left = [], batch
    for side in sides:
        shares.append(min(side.room(), left))
        left -= shares[-1]
    step = batch if left == 0 else 0
    while step and not budget.is_spent():
        moved = _moved(shares, step, sides)
        if moved is None:
            step //= 2
        else:
            shares = moved
    return shares


def _moved(shares: list[int], step: int, sides: Sequence[_Side]) -> list[int] | None:
    """The shares after the best move from the slowest pipeline; None where none helps."""
    ends = [side.end(share) for side, share in zip(sides, shares, strict=True)]
    slowest = max(range(len(ends)), key=ends.__getitem__)
    size = min(step, shares[slowest])
    best, best_end = None, ends[slowest]
    for other, side in enumerate(sides):
        if other != slowest:
            last = max(side.end(shares[other] + size), sides[slowest].end(shares[slowest] - size))
            if last < best_end:
                best, best_end = other, last
    if best is None:
        return None
    moved = list(shares)
    moved[slowest] -= size
    moved[best] += size
    return moved


def _too_large(sides: Sequence[_Side], room: int, batch: BatchOption) -> str:
    """Why the pipelines cannot serve a batch."""
    if room:
        served = f"{room} of the batch of {batch.size} requests"
        return f"its pipelines can serve {served} within the limits"
    nearest: Judged | None = None
    for side in sides:
        nearest = better(nearest, side.best(1), side.objective)
    if nearest is None:
        return NO_FORMAT
    text = nearest.violations[0].text.rstrip(".")
    return f"no GPU type can serve even one request by itself: {text}"


def _joined(
    problem: PipelineProblem, batch: BatchOption, limits: Limits, parts: Sequence[Judged]
) -> Judged:
    """All pipelines as one plan."""
    plans = tuple(plan for part in parts for plan in part.plans)
    own = tuple(part.evaluation for part in parts)
    values = _together(problem, batch.size, plans, own)
    return Judged(
        plans=plans, parts=own, evaluation=values, violations=violations(problem, values, limits)
    )


def _together(
    problem: PipelineProblem, batch: int, plans: Sequence[Plan], parts: Sequence[Evaluation]
) -> Evaluation:
    """Values of pipelines that run side by side; see the head of the module."""
    first, later = _largest(parts, "ttft_s"), _largest(parts, "tpot_s")
    latency_s = parts[_largest(parts, "latency_s")].latency_s
    price = price_usd_per_hour(problem, [stage for plan in plans for stage in plan.stages])
    output = problem.served_requests(batch) * problem.output_tokens
    return replace(
        parts[_largest(parts, "loss_nats")],
        ttft_s=parts[first].ttft_s,
        tpot_s=parts[later].tpot_s,
        batch_latency_s=max(part.batch_latency_s for part in parts),
        latency_s=latency_s,
        throughput_tokens_per_s=output / latency_s if latency_s > 0 else inf,
        price_usd_per_hour=price,
        cost_usd_per_million_tokens=price * latency_s / HOUR / output * MILLION,
        gpus=sum(part.gpus for part in parts),
        bottleneck_prefill=_renumbered(parts[first].bottleneck_prefill, parts[:first]),
        bottleneck_decode=_renumbered(parts[later].bottleneck_decode, parts[:later]),
        stages=tuple(stage for part in parts for stage in part.stages),
    )


def _largest(parts: Sequence[Evaluation], name: str) -> int:
    """Which pipeline has the largest value of this name."""
    return max(range(len(parts)), key=lambda number: getattr(parts[number], name))


def _renumbered(bottleneck: str, before: Sequence[Evaluation]) -> str:
    """The name of a stage counted over all pipelines; links keep theirs."""
    kind, _, number = bottleneck.partition(" ")
    skipped = sum(len(part.stages) for part in before)
    return f"stage {int(number) + skipped}" if kind == "stage" else bottleneck
