"""Random pipelines of up to eight stages, each with one plan: work for the simulator."""

from math import lcm

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from solver import BatchOption, DeviceClass, PipelineProblem, Plan, Stage, StageGroup

__all__ = ["random_plan"]

MOST_STAGES, MOST_MICRO_BATCHES, MOST_TOKENS = 8, 32, 500
NETWORKS = (0.0, 0.02, 0.3, 2.0)
"""Scales of link times against those of layers: none, fast, slow, slower than any stage."""


def random_plan(
    seed: int, *, is_even: bool = True, shares_cards: bool = False
) -> tuple[PipelineProblem, Plan]:
    """
    A problem and a plan for it.

    Parameters
    ----------
    seed
        Same seed, same plan.
    is_even
        Whether both micro-batch sizes divide the batch; else at least one does not, and every
        size up to the batch is priced.
    shares_cards
        Whether several borders may cross the same network card; else stages of a node are
        neighbours, and every card carries one border at most in each direction.
    """
    rng = np.random.default_rng(seed)
    num_stages = int(rng.integers(2 if shares_cards else 1, MOST_STAGES + 1))
    batch, prefill, decode = _sizes(rng, is_even)
    sizes = np.array(sorted({prefill, decode}) if is_even else range(1, batch + 1))
    nodes = _nodes(rng, num_stages, shares_cards)
    layers = rng.integers(1, 4, num_stages)
    groups = [
        StageGroup(device=j, tensor_parallel=int(rng.choice([1, 2, 4]))) for j in range(num_stages)
    ]
    problem = PipelineProblem(
        devices=tuple(
            DeviceClass(name=f"g{j}", node=node, count=groups[j].tensor_parallel, memory_bytes=1e3)
            for j, node in enumerate(nodes)
        ),
        groups=tuple(groups),
        node_names=tuple(f"n{u}" for u in range(max(nodes) + 1)),
        node_price_usd_per_hour=np.zeros(max(nodes) + 1),
        format_names=("w16", "w4"),
        kind_names=("decoder", "wide"),
        layer_kinds=rng.integers(0, 2, layers.sum()),
        loss_nats=np.zeros((layers.sum(), 2)),
        layer_formats=np.ones((layers.sum(), 2), dtype=bool),
        group_formats=np.ones((num_stages, 2), dtype=bool),
        micro_batches=sizes,
        batches=(_batch(batch, sizes.tolist(), prefill, decode),),
        prompt_tokens=16,
        output_tokens=round(float(np.exp(rng.uniform(0, np.log(MOST_TOKENS))))),
        **_times(rng, groups, max(nodes) + 1, sizes),
        **_bytes(rng, groups, sizes),
    )
    starts = np.cumsum(layers) - layers
    stages = tuple(
        Stage(group=j, first_layer=int(starts[j]), formats=tuple(rng.integers(0, 2, n).tolist()))
        for j, n in enumerate(layers)
    )
    plan = Plan(
        batch_size=batch, prefill_micro_batch=prefill, decode_micro_batch=decode, stages=stages
    )
    return problem, plan


def _sizes(rng: Generator, is_even: bool) -> tuple[int, int, int]:
    """Batch, prefill and decode micro-batch size."""
    while True:
        counts = [int(c) for c in rng.integers(1, MOST_MICRO_BATCHES + 1, 2)]
        if is_even:
            batch = lcm(*counts)
            return batch, batch // counts[0], batch // counts[1]
        batch = int(rng.integers(3, 129))
        sizes = [-(-batch // count) for count in counts]
        if any(batch % size for size in sizes):
            return batch, sizes[0], sizes[1]


def _nodes(rng: Generator, num_stages: int, shares_cards: bool) -> list[int]:
    """Node of every stage, numbered as they first occur."""
    if not shares_cards:
        return np.cumsum(np.append(0, rng.random(num_stages - 1) < 0.5)).tolist()
    drawn = rng.integers(0, int(rng.integers(2, 4)), num_stages).tolist()
    first = list(dict.fromkeys(drawn))
    return [first.index(node) for node in drawn]


def _batch(size: int, sizes: list[int], prefill: int, decode: int) -> BatchOption:
    return BatchOption(size=size, prefill=(sizes.index(prefill),), decode=(sizes.index(decode),))


def _times(
    rng: Generator, groups: list[StageGroup], num_nodes: int, sizes: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    tp = np.array([group.tensor_parallel for group in groups])
    grid = 1 / (rng.uniform(0.5, 4, len(groups)) * tp**0.8)[:, None, None, None]
    formats, kinds = np.array([1.0, 0.6])[:, None, None], rng.uniform(0.7, 1.5, (2, 1))
    end = grid[:, 0, 0] * rng.uniform(0.0, 0.6)
    decode = grid * (0.2 + 0.05 * sizes) * formats * kinds
    scale = float(rng.choice(NETWORKS))
    busy = rng.uniform(0, scale, (num_nodes, num_nodes))[:, :, None] * (0.5 + sizes)
    latency = rng.uniform(0, scale * rng.choice([0.01, 1.0]), (num_nodes, num_nodes))[:, :, None]
    # Token ids are a few bytes: their way back is never what sets the pace.
    back = np.minimum(busy * 0.04, decode.min(axis=(0, 1, 2)))
    return {
        "prefill_s": grid * sizes / formats * kinds,
        "decode_s": decode,
        "embedding_prefill_s": end * sizes * 0.1,
        "embedding_decode_s": end * 0.02 * np.ones(len(sizes)),
        "head_prefill_s": end * 0.5 * np.ones(len(sizes)),
        "head_decode_s": end * 0.3 * np.ones(len(sizes)),
        "prefill_link_s": latency + busy,
        "decode_link_s": latency + busy * 0.2,
        "return_link_s": latency + back,
        "prefill_occupancy_s": busy,
        "decode_occupancy_s": busy * 0.2,
        "return_occupancy_s": back,
    }


def _bytes(
    rng: Generator, groups: list[StageGroup], sizes: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    tp = np.array([group.tensor_parallel for group in groups], dtype=float)
    work = 0.01 * sizes / tp[:, None]
    return {
        "weight_bytes": np.array([[8.0], [2.0]]) * np.array([1.0, 1.2]) / tp[:, None, None],
        "kv_bytes": np.outer(1 / np.minimum(tp, 2), [1.0, 1.5]) * rng.uniform(0.05, 0.4),
        "embedding_bytes": 3 / tp,
        "head_bytes": 2 / tp,
        "shared_bytes": 1 / tp,
        "prefill_work_bytes": work * 16,
        "decode_work_bytes": work,
        "head_prefill_work_bytes": work * 3,
        "head_decode_work_bytes": work * 2,
    }
