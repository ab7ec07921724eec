"""
One independent pipeline per GPU type, the batch divided among them.

How it is judged: every pipeline holds the whole model and serves its share of the batch, all at
once. TTFT, TPOT and latency are those of the slowest pipeline, price and GPUs are added up, quality
loss is that of the worst pipeline. This is no single pipeline, so bounds on one do not cover it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from profiles.units import HOUR, MILLION
from solver.baselines.budget import Budget
from solver.baselines.even import even_plans
from solver.baselines.judging import Judged, Proposal, best_of, better
from solver.check import price_usd_per_hour, violations
from solver.objective import Goal, Limits, Objective
from solver.problem import BatchOption, PipelineProblem
from solver.result import Evaluation, Plan

__all__ = ["gpu_types", "pipeline_per_type"]

NO_FORMAT = "no format is run by all GPUs of a type"
NO_DIVISION = "its pipelines can serve no division that was tried of the batch"

_TIMES = {Goal.TTFT: "ttft_s", Goal.TPOT: "tpot_s"}


def pipeline_per_type(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """
    An even split over the GPUs of each type, the batch divided so that all end together.

    Each pipeline has its own best format and micro-batch sizes; types that cannot hold the model
    serve nothing. Requests are moved from the slowest pipeline to others, halving the number moved
    at a time, as long as the slowest gets faster.
    """
    types = gpu_types(problem)
    if not types:
        return Proposal(reason="no GPU may be a stage by itself")
    best: Judged | None = None
    reason = NO_FORMAT
    for batch in problem.batches:
        sides = [_Side(problem, groups, batch, limits, objective, budget) for groups in types]
        rooms = [side.room() for side in sides]
        if sum(rooms) < batch.size:
            reason = _too_large(sides, rooms, batch, reason)
            continue
        shares = _divided(batch.size, rooms, [side.finish for side in sides], budget)
        if max(side.finish(share) for side, share in zip(sides, shares, strict=True)) == inf:
            reason = f"{NO_DIVISION} of {batch.size} requests"
            continue
        best = better(best, _joined(problem, batch, limits, sides, shares), objective)
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
            self._known[requests] = self._searched(requests)
        return self._known[requests]

    def _searched(self, requests: int) -> Judged | None:
        sizes = self.problem.micro_batches
        option = BatchOption(
            size=requests,
            prefill=tuple(i for i in self.batch.prefill if sizes[i] <= requests),
            decode=tuple(i for i in self.batch.decode if sizes[i] <= requests),
        )
        if not (option.prefill and option.decode):
            return None
        devices = tuple(replace(device, min_used=0) for device in self.problem.devices)
        own = replace(self.problem, batches=(option,), num_requests=None, devices=devices)
        kept = Limits(
            ttft_s=self.limits.ttft_s, tpot_s=self.limits.tpot_s, loss_nats=self.limits.loss_nats
        )
        goal = self.objective.goal if self.objective.goal in _TIMES else Goal.LATENCY
        plans = self.budget.while_left(even_plans(own, self.groups))
        return best_of(own, plans, kept, Objective(goal=goal))

    def finish(self, requests: int) -> float:
        """Seconds until this share is done; inf where it cannot be served."""
        if requests == 0:
            return 0.0
        found = self.best(requests)
        if found is None or found.violations:
            return inf
        name = _TIMES.get(self.objective.goal, "latency_s")
        return float(getattr(found.evaluation, name))

    def room(self) -> int:
        """Most requests that it can serve, at most the batch."""
        low, high = 0, self.batch.size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.finish(middle) < inf else (low, middle - 1)
        return low


def _divided(
    batch: int, rooms: Sequence[int], finish: Sequence[Callable[[int], float]], budget: Budget
) -> list[int]:
    """Requests of every pipeline."""
    shares, left = [], batch
    for room in rooms:
        shares.append(min(room, left))
        left -= shares[-1]
    step = batch
    while step and not budget.is_spent():
        moved = _moved(shares, step, finish)
        if moved is None:
            step //= 2
        else:
            shares = moved
    return shares


def _moved(
    shares: list[int], step: int, finish: Sequence[Callable[[int], float]]
) -> list[int] | None:
    """The shares after the best move from the slowest pipeline; None where none helps."""
    ends = [end(share) for end, share in zip(finish, shares, strict=True)]
    slowest = max(range(len(ends)), key=ends.__getitem__)
    size = min(step, shares[slowest])
    best, best_end = None, ends[slowest]
    for other, end in enumerate(finish):
        if other != slowest:
            last = max(end(shares[other] + size), finish[slowest](shares[slowest] - size))
            if last < best_end:
                best, best_end = other, last
    if best is None:
        return None
    moved = list(shares)
    moved[slowest] -= size
    moved[best] += size
    return moved


def _too_large(
    sides: Sequence[_Side], rooms: Sequence[int], batch: BatchOption, before: str
) -> str:
    """Why the pipelines cannot serve a batch."""
    room = sum(rooms)
    if room:
        served = f"{room} of the batch of {batch.size} requests"
        return f"its pipelines can serve {served} within the limits"
    nearest: Judged | None = None
    for side in sides:
        nearest = better(nearest, side.best(1), side.objective)
    if nearest is None:
        return before
    text = nearest.violations[0].text.rstrip(".")
    return f"no GPU type can serve even one request by itself: {text}"


def _joined(
    problem: PipelineProblem,
    batch: BatchOption,
    limits: Limits,
    sides: Sequence[_Side],
    shares: Sequence[int],
) -> Judged:
    """All pipelines as one plan."""
    parts = [side.best(share) for side, share in zip(sides, shares, strict=True) if share]
    found = [part for part in parts if part is not None]
    plans = tuple(plan for part in found for plan in part.plans)
    values = _together(problem, batch.size, plans, [part.evaluation for part in found])
    return Judged(
        plans=plans,
        evaluation=values,
        violations=violations(problem, values, limits),
    )


def _together(
    problem: PipelineProblem, batch: int, plans: Sequence[Plan], parts: Sequence[Evaluation]
) -> Evaluation:
    """Values of pipelines that run side by side; see the head of the module."""
    slowest = max(range(len(parts)), key=lambda number: parts[number].latency_s)
    worst = max(parts, key=lambda part: part.loss_nats)
    latency = parts[slowest].latency_s * problem.waves(batch)
    price = price_usd_per_hour(problem, [stage for plan in plans for stage in plan.stages])
    output = problem.served_requests(batch) * problem.output_tokens
    before = sum(len(part.stages) for part in parts[:slowest])
    return replace(
        worst,
        ttft_s=max(part.ttft_s for part in parts),
        tpot_s=max(part.tpot_s for part in parts),
        batch_latency_s=parts[slowest].latency_s,
        latency_s=latency,
        throughput_tokens_per_s=output / latency if latency > 0 else inf,
        price_usd_per_hour=price,
        cost_usd_per_million_tokens=price * latency / HOUR / output * MILLION,
        gpus=sum(part.gpus for part in parts),
        bottleneck_prefill=_renumbered(parts[slowest].bottleneck_prefill, before),
        bottleneck_decode=_renumbered(parts[slowest].bottleneck_decode, before),
        stages=tuple(stage for part in parts for stage in part.stages),
    )


def _renumbered(bottleneck: str, before: int) -> str:
    """The name of a stage counted over all pipelines; links keep theirs."""
    kind, _, number = bottleneck.partition(" ")
    return f"stage {int(number) + before}" if kind == "stage" else bottleneck
