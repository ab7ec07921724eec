"""Small random problems: mixed networks, several layer kinds, tensor parallelism, tight memory."""

import numpy as np

from solver import BatchOption, DeviceClass, PipelineProblem, StageGroup, default_micro_batches


def random_problem(
    seed: int,
    *,
    tensor_parallel: bool = False,
    num_gpus: int | None = None,
    num_layers: int | None = None,
    ragged: bool = False,
) -> PipelineProblem:
    """
    At most 5 layers, 3 formats and 3 GPUs (4 where tensor-parallel groups are allowed).

    With ``ragged`` no micro-batch size divides the batch.
    """
    rng = np.random.default_rng(seed)
    num_nodes = int(rng.integers(1, 4))
    given_gpus, given_layers = num_gpus, num_layers
    num_gpus = 4 if tensor_parallel else int(rng.integers(1, 4))
    devices = _devices(rng, num_nodes, given_gpus or num_gpus)
    groups = [
        StageGroup(device=c, tensor_parallel=tp)
        for c, device in enumerate(devices)
        for tp in ((1, 2, 4) if tensor_parallel else (1,))
        if tp <= device.count
    ]
    num_layers, num_kinds, num_formats = int(rng.integers(1, 6)), int(rng.integers(1, 3)), 3
    num_layers = given_layers or num_layers
    batch = int(rng.integers(1, 5))
    sizes = sorted({*default_micro_batches(batch), *default_micro_batches(batch + 1)})
    if ragged:
        batch, sizes = (5, 7)[batch % 2], [2, 3, 4]
    return PipelineProblem(
        devices=tuple(devices),
        groups=tuple(groups),
        node_names=tuple(f"n{u}" for u in range(num_nodes)),
        node_price_usd_per_hour=rng.choice([0.0, 2.5], num_nodes),
        format_names=("w16", "w8", "w4"),
        kind_names=tuple(f"k{k}" for k in range(num_kinds)),
        layer_kinds=np.sort(rng.integers(0, num_kinds, num_layers))
        if rng.random() < 0.7
        else rng.integers(0, num_kinds, num_layers),
        loss_nats=_losses(rng, num_layers),
        layer_formats=rng.random((num_layers, num_formats)) < 0.9,
        group_formats=_some(rng, (len(groups), num_formats)),
        micro_batches=np.array(sizes),
        batches=_batches(rng, batch, sizes) if not ragged else _every(batch, sizes),
        prompt_tokens=16,
        output_tokens=int(rng.choice([1, 2, 5, 40])),
        num_requests=None if rng.random() < 0.7 else int(rng.integers(1, 12)),
        **_times(rng, groups, num_formats, num_kinds, num_nodes, np.array(sizes)),
        **_bytes(rng, groups, num_formats, num_kinds, np.array(sizes)),
        perplexity_16=5.0,
    )


def _devices(rng, num_nodes, num_gpus):
    devices, left = [], num_gpus
    while left:
        count = int(rng.integers(1, left + 1))
        left -= count
        devices.append(
            DeviceClass(
                name=f"gpu{len(devices)}",
                node=int(rng.integers(num_nodes)),
                count=count,
                memory_bytes=float(rng.uniform(12, 40)),
                price_usd_per_hour=_price(rng),
                min_used=int(rng.random() < 0.15),
            )
        )
    return devices


def _price(rng):
    """Round, odd, or nothing at all."""
    return float(rng.choice([np.round(rng.uniform(0.5, 4), 2), rng.integers(1, 9) / 7, 0.0]))


def _batches(rng, batch, sizes):
    options = [batch, batch + 1] if rng.random() < 0.3 else [batch]
    return tuple(
        BatchOption(
            size=size,
            prefill=tuple(sizes.index(m) for m in default_micro_batches(size)),
            decode=tuple(sizes.index(m) for m in default_micro_batches(size)),
        )
        for size in options
    )


def _every(batch, sizes):
    indices = tuple(range(len(sizes)))
    return (BatchOption(size=batch, prefill=indices, decode=indices),)


def _losses(rng, num_layers):
    base = rng.uniform(0.5, 2, (num_layers, 1)) if rng.random() < 0.6 else np.ones((num_layers, 1))
    return base * np.array([0.0, 0.001, 0.02])


def _some(rng, shape):
    chosen = rng.random(shape) < 0.85
    chosen[:, -1] |= ~chosen.any(axis=1)
    return chosen


def _times(rng, groups, num_formats, num_kinds, num_nodes, sizes):
    tp = np.array([g.tensor_parallel for g in groups])
    speed = (
        rng.uniform(0.5, 4, (max(g.device for g in groups) + 1))[[g.device for g in groups]]
        * tp**0.8
    )
    kinds = rng.uniform(0.7, 1.5, num_kinds)
    formats = np.array([1.0, 0.8, 0.5]) * rng.uniform(0.8, 1.2, num_formats)
    shape = (len(groups), num_formats, num_kinds, len(sizes))
    noise = rng.uniform(0.9, 1.1, shape)
    grid = kinds[:, None] / speed[:, None, None, None]
    ends = 1 / speed[:, None] * rng.uniform(0.1, 0.6)
    network = rng.uniform(0, [0.02, 0.3, 1.5][int(rng.integers(3))], (num_nodes, num_nodes))
    link = network[:, :, None] * (1 + sizes)
    return {
        "prefill_s": grid * sizes * formats[::-1][:, None, None] * noise,
        "decode_s": grid * (0.2 + 0.05 * sizes) * formats[:, None, None] * noise,
        "embedding_prefill_s": ends * sizes * 0.1,
        "embedding_decode_s": ends * 0.02 * np.ones(len(sizes)),
        "head_prefill_s": ends * 0.5 * np.ones(len(sizes)),
        "head_decode_s": ends * 0.3 * np.ones(len(sizes)),
        "prefill_link_s": link,
        "decode_link_s": link * 0.1,
        "return_link_s": link * 0.05,
        "prefill_occupancy_s": link * 0.9,
        "decode_occupancy_s": link * 0.08,
        "return_occupancy_s": link * 0.04,
    }


def _bytes(rng, groups, num_formats, num_kinds, sizes):
    tp = np.array([g.tensor_parallel for g in groups], dtype=float)
    kinds = rng.uniform(0.8, 1.3, num_kinds)
    per_format = np.array([8.0, 4.0, 2.0])
    embedding = rng.uniform(0.5, 3)
    return {
        "weight_bytes": per_format[:, None] * kinds / tp[:, None, None],
        "kv_bytes": np.outer(1 / np.minimum(tp, 2), kinds) * rng.uniform(0.05, 0.4),
        "embedding_bytes": embedding / tp,
        "head_bytes": embedding / tp,
        "shared_bytes": (embedding if rng.random() < 0.5 else 0) / tp,
        "prefill_work_bytes": 0.3 * sizes / tp[:, None],
        "decode_work_bytes": 0.2 * sizes / tp[:, None],
        "head_prefill_work_bytes": 0.1 * sizes / tp[:, None],
        "head_decode_work_bytes": 0.25 * sizes / tp[:, None],
    }
