"""LLM-PQ's view of our pipeline problem, and its plans as ours."""

from dataclasses import replace
from itertools import groupby
from math import ceil

import numpy as np

from profiles.errors import InputError
from solver.llmpq.problem import LlmPqPlan, LlmPqProblem
from solver.problem import BatchOption, FloatArray, IntArray, PipelineProblem
from solver.result import Plan, Stage

__all__ = ["from_pipeline", "to_plan"]


def from_pipeline(problem: PipelineProblem, *, theta_s_per_nat: float) -> LlmPqProblem:
    """
    State LLM-PQ's problem for the same model, GPUs and batch.

    Every GPU is a device by itself and every device class a block. Embedding and head lie on the
    first device, with the work space of the logits. Memory is ours, exact in bytes. The last
    device sends hidden states back to the first.

    Parameters
    ----------
    problem
        With one batch size, served in one wave.
    theta_s_per_nat
        Seconds that a nat of quality loss is worth.

    Raises
    ------
    InputError
        When there are several batch sizes or waves, a GPU may not be a stage by itself, or the
        decode micro-batch ceil(batch / GPUs) is not among the candidates though there is decode.
    """
    batch = _only_batch(problem)
    groups = _groups_of_devices(problem)
    d = _decode_index(problem, batch, ceil(batch.size / len(groups)))
    p = np.array(batch.prefill, dtype=np.int64)
    kinds = problem.layer_kinds
    nodes = np.array([problem.node_of(int(g)) for g in groups])
    free, ends = _memory(problem, groups, p, d)
    layer_bytes = problem.weight_bytes + batch.size * problem.kv_bytes[:, None, :]
    allowed = problem.group_formats[groups] & problem.layer_formats[:, None, :]
    prefill_s = problem.prefill_s[groups][..., p][:, :, kinds]  # devices, formats, layers, sizes
    ends_s = problem.embedding_prefill_s + problem.head_prefill_s
    decode_ends_s = problem.embedding_decode_s + problem.head_decode_s
    return LlmPqProblem(
        blocks=tuple(problem.groups[int(g)].device for g in groups),
        batch_size=batch.size,
        tokens=problem.output_tokens,
        theta_s_per_nat=theta_s_per_nat,
        prefill_micro_batches=problem.micro_batches[p],
        prefill_s=prefill_s.transpose(3, 2, 0, 1),
        decode_s=problem.decode_s[groups][..., d][:, :, kinds].transpose(2, 0, 1),
        ends_prefill_s=ends_s[groups][:, p].T,
        ends_decode_s=decode_ends_s[groups, d],
        send_prefill_s=problem.prefill_link_s[np.ix_(nodes, nodes, p)].transpose(2, 0, 1),
        send_decode_s=problem.decode_link_s[np.ix_(nodes, nodes)][..., d],
        memory_bytes=layer_bytes[groups][:, :, kinds].transpose(2, 0, 1),
        capacity_bytes=free,
        ends_bytes=ends,
        loss_nats=problem.loss_nats,
        allowed=allowed,
    )


def to_plan(problem: PipelineProblem, plan: LlmPqPlan) -> Plan:
    """
    A plan of LLM-PQ's as one of ours: devices without layers are left out.

    Where nothing is decoded, its decode size is one that the problem has.
    """
    groups = _groups_of_devices(problem)
    stages, position = [], 0
    for device, layers in groupby(plan.devices):
        count = len(list(layers))
        formats = plan.formats[position : position + count]
        stages.append(Stage(group=int(groups[device]), first_layer=position, formats=formats))
        position += count
    batch = _only_batch(problem)
    decode = _decode_index(problem, batch, plan.decode_micro_batch)
    return Plan(
        batch_size=batch.size,
        prefill_micro_batch=plan.prefill_micro_batch,
        decode_micro_batch=int(problem.micro_batches[decode]),
        stages=tuple(stages),
    )


def _only_batch(problem: PipelineProblem) -> BatchOption:
    batch = problem.batches[0]
    if len(problem.batches) > 1 or problem.waves(batch.size) > 1:
        raise InputError(
            f"LLM-PQ plans one batch; this problem has {len(problem.batches)} batch sizes and "
            f"{problem.waves(batch.size)} waves. Give one batch size that serves all requests.",
            pointer="/batches",
        )
    rising = sorted(batch.prefill)
    return replace(batch, prefill=tuple(rising))


def _groups_of_devices(problem: PipelineProblem) -> IntArray:
    """Stage group of every GPU by itself, class by class; shape (N,)."""
    single = {g.device: i for i, g in enumerate(problem.groups) if g.tensor_parallel == 1}
    groups = []
    for index, device in enumerate(problem.devices):
        if index not in single:
            raise InputError(
                f"{device.name} may not be a stage of one GPU; LLM-PQ knows no other, so allow "
                "tensor-parallel size 1.",
                pointer="/groups",
            )
        groups += [single[index]] * device.count
    return np.array(groups, dtype=np.int64)


def _decode_index(problem: PipelineProblem, batch: BatchOption, size: int) -> int:
    index = problem.decode_index(batch, size)
    if index is not None:
        return index
    raise InputError(
        f"LLM-PQ decodes in micro-batches of {size} (batch / GPUs, rounded up), which is not among "
        "the candidates; add it.",
        pointer="/batches/0/decode",
    )


def _memory(
    problem: PipelineProblem, groups: IntArray, prefill: IntArray, decode: int
) -> tuple[FloatArray, FloatArray]:
    """Bytes for layers, and bytes of embedding, head and logits; both of shape (P, N)."""
    memory = np.array([problem.devices[problem.groups[int(g)].device].memory_bytes for g in groups])
    in_prefill = problem.prefill_work_bytes[groups][:, prefill].T
    in_decode = problem.decode_work_bytes[groups, decode]
    work = np.maximum(in_prefill, in_decode)
    logits = np.maximum(
        in_prefill + problem.head_prefill_work_bytes[groups][:, prefill].T,
        in_decode + problem.head_decode_work_bytes[groups, decode],
    )
    ends = problem.embedding_bytes + problem.head_bytes - problem.shared_bytes
    return memory - work, logits - work + ends[groups]
