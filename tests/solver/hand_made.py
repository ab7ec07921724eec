"""Named small problems whose answers can be worked out by hand."""

from dataclasses import replace

import numpy as np

from solver import BatchOption, DeviceClass, PipelineProblem, StageGroup

GB = 1e9


def pipeline(
    *,
    speeds=(1.0, 1.0),
    num_layers=4,
    batch=1,
    micro_batches=(1,),
    output_tokens=1,
    memory=100.0,
    link_s=0.0,
    prices=None,
    losses=(0.0, 0.01),
    format_speed=(1.0, 2.0),
) -> PipelineProblem:
    """
    One GPU per node and class; a layer takes ``micro-batch / speed`` seconds in prefill and a
    tenth of that in decode, weighs 10 bytes in w16 and 5 in w8 (which is twice as fast).
    """
    num = len(speeds)
    sizes = np.array(micro_batches)
    per_layer = 1 / np.outer(speeds, format_speed)
    prefill = per_layer[:, :, None, None] * sizes
    apart = 1 - np.eye(num)
    link = link_s * apart[:, :, None] * np.ones(len(sizes))
    nothing = np.zeros((num, len(sizes)))
    no_link = np.zeros((num, num, len(sizes)))
    chosen = tuple(range(len(sizes)))
    return PipelineProblem(
        devices=tuple(
            DeviceClass(
                name=f"gpu{i}",
                node=i,
                count=1,
                memory_bytes=memory,
                price_usd_per_hour=0.0 if prices is None else prices[i],
            )
            for i in range(num)
        ),
        groups=tuple(StageGroup(device=i) for i in range(num)),
        node_names=tuple(f"node{i}" for i in range(num)),
        node_price_usd_per_hour=np.zeros(num),
        format_names=("w16", "w8"),
        kind_names=("layer",),
        layer_kinds=np.zeros(num_layers, dtype=int),
        loss_nats=np.tile(losses, (num_layers, 1)),
        layer_formats=np.ones((num_layers, 2), dtype=bool),
        group_formats=np.ones((num, 2), dtype=bool),
        micro_batches=sizes,
        batches=(BatchOption(size=batch, prefill=chosen, decode=chosen),),
        prompt_tokens=8,
        output_tokens=output_tokens,
        prefill_s=prefill,
        decode_s=prefill / 10,
        embedding_prefill_s=nothing,
        embedding_decode_s=nothing,
        head_prefill_s=nothing,
        head_decode_s=nothing,
        weight_bytes=np.tile(np.array([10.0, 5.0])[:, None], (num, 1, 1)),
        kv_bytes=np.zeros((num, 1)),
        embedding_bytes=np.zeros(num),
        head_bytes=np.zeros(num),
        shared_bytes=np.zeros(num),
        prefill_work_bytes=nothing,
        decode_work_bytes=nothing,
        head_prefill_work_bytes=nothing,
        head_decode_work_bytes=nothing,
        prefill_link_s=link,
        decode_link_s=link / 10,
        return_link_s=link / 100,
        prefill_occupancy_s=no_link,
        decode_occupancy_s=no_link,
        return_occupancy_s=no_link,
        perplexity_16=4.0,
    )


_PER_GROUP = (
    *("group_formats", "prefill_s", "decode_s", "weight_bytes", "kv_bytes"),
    *("embedding_prefill_s", "embedding_decode_s", "head_prefill_s", "head_decode_s"),
    *("embedding_bytes", "head_bytes", "shared_bytes"),
    *("prefill_work_bytes", "decode_work_bytes"),
    *("head_prefill_work_bytes", "head_decode_work_bytes"),
)
_DIVIDED = ("prefill_s", "decode_s", "weight_bytes")


def with_tensor_parallel(
    problem: PipelineProblem, counts: tuple[int, ...], sizes: tuple[int, ...]
) -> PipelineProblem:
    """
    So many GPUs in every class, and stages of these sizes where there are as many: t GPUs take a
    t-th of the time of one, and each holds a t-th of the weights.
    """
    groups = [
        StageGroup(device=device, tensor_parallel=size)
        for device, count in enumerate(counts)
        for size in sizes
        if size <= count
    ]
    arrays = {name: getattr(problem, name)[[g.device for g in groups]] for name in _PER_GROUP}
    for name in _DIVIDED:
        arrays[name] = (arrays[name].T / [g.tensor_parallel for g in groups]).T
    devices = [replace(d, count=n) for d, n in zip(problem.devices, counts, strict=True)]
    return replace(problem, devices=tuple(devices), groups=tuple(groups), **arrays)


def only_w16(problem: PipelineProblem) -> PipelineProblem:
    """The problem without its faster format."""
    return replace(problem, layer_formats=np.array([[True, False]] * problem.num_layers))


def layers_per_stage(report) -> tuple[int, ...]:
    return tuple(len(stage.formats) for stage in report.plan.stages)
