"""Every plan of a tiny problem, valued by formulas written apart from the package."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from math import ceil, inf

import numpy as np

from solver import Goal, Limits, Objective, PipelineProblem

SLACK = 1e-9


@dataclass(frozen=True)
class Best:
    """Least value of the goal and, among plans that reach it, least latency."""

    value: float
    latency_s: float


def best_plan(problem: PipelineProblem, objective: Objective, limits: Limits) -> Best | None:
    """Enumerate orders, cuts, formats and micro-batch sizes."""
    values, latencies = [np.empty(0)], [np.empty(0)]
    for plans in _plans(problem, limits):
        value, latency = _value(problem, objective, limits, *plans)
        values.append(value)
        latencies.append(latency)
    value, latency = np.concatenate(values), np.concatenate(latencies)
    if not np.isfinite(value).any():
        return None
    best = value.min()
    close = value <= best + SLACK * max(1e-3, abs(best))
    return Best(value=float(best), latency_s=float(latency[close].min()))


def all_values(problem: PipelineProblem, goals: Sequence[Goal], limits: Limits) -> np.ndarray:
    """Values to minimise of every feasible plan, shape (number of plans, number of goals)."""
    rows = [np.empty((0, len(goals)))]
    for plans in _plans(problem, limits):
        found = [_value(problem, Objective(goal=g), limits, *plans)[0] for g in goals]
        rows.append(np.column_stack(found))
    every = np.concatenate(rows)
    return every[np.isfinite(every).all(axis=1)]


def _plans(problem: PipelineProblem, limits: Limits) -> Iterator[tuple]:
    """Stage groups, cuts, formats (many at once), batch and micro-batch sizes."""
    for groups in _orders(problem, limits):
        for cuts in combinations(range(1, problem.num_layers), len(groups) - 1):
            bounds = (0, *cuts, problem.num_layers)
            formats = _formats(problem, np.repeat(groups, np.diff(bounds)))
            if not len(formats):
                continue
            for batch in problem.batches:
                for prefill, decode in product(batch.prefill, batch.decode):
                    yield groups, bounds, formats, batch.size, prefill, decode


def _orders(problem: PipelineProblem, limits: Limits) -> Iterator[tuple[int, ...]]:
    most = min(problem.num_layers, problem.num_gpus, limits.stages or 99)
    for length in range(max(1, limits.min_stages), most + 1):
        for groups in product(range(len(problem.groups)), repeat=length):
            used = [0] * len(problem.devices)
            for g in groups:
                used[problem.groups[g].device] += problem.groups[g].tensor_parallel
            if all(d.min_used <= u <= d.count for d, u in zip(problem.devices, used, strict=True)):
                yield groups


def _formats(problem: PipelineProblem, layer_group: np.ndarray) -> np.ndarray:
    """Shape (number of choices, L)."""
    choices = [
        np.flatnonzero(problem.group_formats[g] & problem.layer_formats[i])
        for i, g in enumerate(layer_group)
    ]
    return np.array(list(product(*choices)), dtype=int).reshape(-1, problem.num_layers)


def _value(problem, objective, limits, groups, bounds, formats, batch, prefill, decode):
    p, n, count = problem, problem.output_tokens, len(groups)
    nodes = [p.devices[p.groups[g].device].node for g in groups]
    counts, lasts = [], []
    for size in (p.micro_batches[prefill], p.micro_batches[decode]):
        counts.append(ceil(batch / size))
        holds = [i for i, s in enumerate(p.micro_batches) if s >= batch - (counts[-1] - 1) * size]
        lasts.append(min(holds, key=lambda i: p.micro_batches[i]))
    a, d, fits = [], [], np.ones(len(formats), dtype=bool)
    a_last, d_last = [], []
    for j, g in enumerate(groups):
        layers = np.arange(bounds[j], bounds[j + 1])
        kinds, chosen = p.layer_kinds[layers], formats[:, layers]
        first, last = j == 0, j == count - 1
        for times, size in ((a, prefill), (a_last, lasts[0])):
            times.append(
                p.prefill_s[g, chosen, kinds, size].sum(axis=1)
                + first * p.embedding_prefill_s[g, size]
                + last * p.head_prefill_s[g, size]
            )
        for times, size in ((d, decode), (d_last, lasts[1])):
            times.append(
                p.decode_s[g, chosen, kinds, size].sum(axis=1)
                + first * p.embedding_decode_s[g, size]
                + last * p.head_decode_s[g, size]
            )
        work = max(
            p.prefill_work_bytes[g, prefill] + last * p.head_prefill_work_bytes[g, prefill],
            p.decode_work_bytes[g, decode] + last * p.head_decode_work_bytes[g, decode],
        )
        ends = (
            first * p.embedding_bytes[g]
            + last * p.head_bytes[g]
            - (first and last) * p.shared_bytes[g]
        )
        memory = (
            p.weight_bytes[g, chosen, kinds].sum(axis=1)
            + batch * p.kv_bytes[g, kinds].sum()
            + work
            + ends
        )
        fits &= memory <= p.devices[p.groups[g].device].memory_bytes * (1 + SLACK)
    hops = list(pairwise(nodes))

    def pace_p(times, size):
        return np.maximum(np.max(times, axis=0), _links(hops, p.prefill_occupancy_s[..., size], []))

    def pace_d(times, size):
        ends = (nodes[-1], nodes[0])
        ring = [(*ends, p.return_occupancy_s[(*ends, size)])] if count > 1 else []
        busy = _links(hops, p.decode_occupancy_s[..., size], ring)
        return np.maximum(np.max(times, axis=0), busy)

    later_p = (counts[0] - 1) * pace_p(a, prefill)
    if counts[0] > 1:
        later_p = (counts[0] - 2) * pace_p(a, prefill) + pace_p(a_last, lasts[0])
    all_d = (counts[1] - 1) * pace_d(d, decode) + pace_d(d_last, lasts[1])
    ttft = sum(a) + sum(p.prefill_link_s[u, v, prefill] for u, v in hops) + later_p
    once = sum(d) + sum(p.decode_link_s[u, v, decode] for u, v in hops)
    back = p.return_link_s[nodes[-1], nodes[0], decode] if count > 1 else 0.0
    tpot = np.maximum(once + back, all_d) if n > 1 else np.zeros(len(formats))
    first_round = once + all_d - pace_d(d, decode)
    latency = ttft + (first_round + (n - 2) * tpot if n > 1 else 0.0)
    requests = p.num_requests or batch
    latency = latency * (ceil(p.num_requests / batch) if p.num_requests else 1)
    price = sum(
        p.devices[p.groups[g].device].price_usd_per_hour * p.groups[g].tensor_parallel
        for g in groups
    )
    price += sum(p.node_price_usd_per_hour[u] for u in set(nodes))
    loss = p.loss_nats[np.arange(p.num_layers), formats].sum(axis=1)
    gpus = sum(p.groups[g].tensor_parallel for g in groups)
    known = {
        "ttft_s": ttft,
        "tpot_s": tpot,
        "latency_s": latency,
        "loss_nats": loss,
        "price_usd_per_hour": price,
        "gpus": gpus,
    }
    for name, value in known.items():
        limit = getattr(limits, name)
        if limit is not None:
            fits &= value <= limit + SLACK * max(abs(limit), 1e-3)
    goal = {
        Goal.LATENCY: latency,
        Goal.THROUGHPUT: latency / (requests * n),
        Goal.TTFT: ttft,
        Goal.TPOT: tpot,
        Goal.COST: price * latency / 3600 / (requests * n) * 1e6,
        Goal.PRICE: price,
        Goal.QUALITY_LOSS: loss,
        Goal.GPUS: gpus,
        Goal.STAGES: count,
        Goal.LATENCY_AND_QUALITY: latency + objective.theta_s_per_nat * loss,
    }[objective.goal]
    return np.where(fits, goal, inf), np.where(fits, latency, inf)


def _links(hops, occupancy, ring):
    """Busiest link: transfers between nodes add up at both network cards."""
    busiest, out, into = 0.0, {}, {}
    for u, v, seconds in [(u, v, occupancy[u, v]) for u, v in hops] + ring:
        if u == v:
            busiest = max(busiest, seconds)
        else:
            out[u] = out.get(u, 0.0) + seconds
            into[v] = into.get(v, 0.0) + seconds
    return max([busiest, *out.values(), *into.values()])
