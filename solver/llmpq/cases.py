"""
The cases that LLM-PQ's search solves one by one: an order of GPU types and a prefill micro-batch.

Within a case everything is in pipeline order and per layer group:

    cost = sum_j P_j + (m_p - 1) max_j P_j + sum_j D_j + w max_j D_j + sum_i penalty[i, f_i]
    P_j  = max(ends if j = 0 + sum of prefill[i, j, f_i] over layer groups i on j, send_prefill[j])
    D_j  = the same for decode;   w = (m_d - 1)(mu_n - 1) as published, m_d (mu_n - 1) corrected
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import ceil

import numpy as np

from profiles.errors import InputError
from profiles.units import MIB
from solver.llmpq.problem import LlmPqPlan, LlmPqProblem, LlmPqRules
from solver.problem import BoolArray, FloatArray, IntArray

__all__ = [
    "LlmPqCase",
    "case_fits",
    "case_value",
    "enumerate_cases",
    "llmpq_value",
    "plan_of",
    "prefill_sizes",
]

# Relative slack of memory: what the solver's own tolerance may add up to.
_TOLERANCE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LlmPqCase:
    """
    One order and one prefill micro-batch; G is the number of layer groups.

    Parameters
    ----------
    order
        Devices in pipeline order.
    group_size
        Layers in a group.
    prefill_micro_batch, decode_micro_batch
        Sizes in requests.
    prefill_s, decode_s
        Shape (G, N, B): seconds of a layer group for one micro-batch.
    ends_prefill_s, ends_decode_s
        Seconds that the first device pays once for embedding and head.
    send_prefill_s, send_decode_s
        Shape (N,): seconds from every device to the next, and from the last to the first.
    prefill_weight, decode_weight
        How often the slowest stage is charged besides the sum of stages.
    memory_bytes, capacity_bytes
        Shapes (G, N, B) and (N,).
    penalty_s
        Shape (G, B): theta times quality loss.
    allowed
        Shape (G, N, B).
    """

    order: tuple[int, ...]
    group_size: int
    prefill_micro_batch: int
    decode_micro_batch: int
    prefill_s: FloatArray
    decode_s: FloatArray
    ends_prefill_s: float
    ends_decode_s: float
    send_prefill_s: FloatArray
    send_decode_s: FloatArray
    prefill_weight: float
    decode_weight: float
    memory_bytes: FloatArray
    capacity_bytes: FloatArray
    penalty_s: FloatArray
    allowed: BoolArray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, N, B)."""
        groups, devices, formats = self.prefill_s.shape
        return groups, devices, formats


def prefill_sizes(problem: LlmPqProblem, rules: LlmPqRules) -> tuple[int, ...]:
    """
    Prefill micro-batches of the search: divisors of the decode micro-batch.

    As published without 1, so there may be none.
    """
    decode = problem.decode_micro_batch
    least = 1 if rules.single_requests else 2
    sizes = (int(size) for size in problem.prefill_micro_batches)
    return tuple(size for size in sizes if size >= least and decode % size == 0)


def enumerate_cases(problem: LlmPqProblem, rules: LlmPqRules) -> Iterator[LlmPqCase]:
    """
    Every order of whole blocks of a type with every prefill micro-batch.

    Raises
    ------
    InputError
        When the group size does not divide the number of layers.
    """
    if problem.num_layers % rules.group_size:
        raise InputError(
            f"group_size {rules.group_size} does not divide {problem.num_layers} layers; choose a "
            "divisor, or 1.",
            pointer="/group_size",
        )
    for types in permutations(dict.fromkeys(problem.blocks)):
        order = [d for t in types for d, block in enumerate(problem.blocks) if block == t]
        for size in prefill_sizes(problem, rules):
            yield _case(problem, rules, np.array(order), size)


def _case(problem: LlmPqProblem, rules: LlmPqRules, order: IntArray, size: int) -> LlmPqCase:
    p = int(np.flatnonzero(problem.prefill_micro_batches == size)[0])
    g, first, onward = rules.group_size, int(order[0]), np.roll(order, -1)
    num_prefill = ceil(problem.batch_size / size)
    num_decode = ceil(problem.batch_size / problem.decode_micro_batch)
    prefill = _grouped(problem.prefill_s[p][:, order], g)
    decode = _grouped(problem.decode_s[:, order], g)
    ends = float(problem.ends_prefill_s[p, first]), float(problem.ends_decode_s[first])
    if not rules.ends_once:
        if len(order) > 1:
            prefill[:, 0] += num_prefill * ends[0]
            decode[:, 0] += ends[1]
        ends = 0.0, 0.0
    memory = _grouped(problem.memory_bytes[:, order], g)
    capacity = problem.capacity_bytes[p, order].copy()
    capacity[0] -= problem.ends_bytes[p, first]
    loss = _grouped(problem.loss_nats, g)
    return LlmPqCase(
        order=tuple(int(device) for device in order),
        group_size=g,
        prefill_micro_batch=size,
        decode_micro_batch=problem.decode_micro_batch,
        prefill_s=prefill,
        decode_s=decode,
        ends_prefill_s=ends[0],
        ends_decode_s=ends[1],
        send_prefill_s=problem.send_prefill_s[p, order, onward],
        send_decode_s=problem.send_decode_s[order, onward],
        prefill_weight=num_prefill - 1.0,
        decode_weight=(num_decode if rules.full_decode else num_decode - 1.0)
        * (problem.tokens - 1),
        memory_bytes=np.ceil(memory / MIB) * MIB if rules.whole_megabytes else memory,
        capacity_bytes=capacity,
        penalty_s=problem.theta_s_per_nat * (loss if rules.loss_summed else loss / g),
        allowed=np.all(
            problem.allowed[:, order].reshape(-1, g, *problem.allowed.shape[1:]), axis=1
        ),
    )


def _grouped(per_layer: FloatArray, group_size: int) -> FloatArray:
    """Sums over each group of layers (the first axis); always a copy."""
    groups: FloatArray = per_layer.reshape(-1, group_size, *per_layer.shape[1:]).sum(axis=1)
    return groups


def case_value(case: LlmPqCase, homes: IntArray, formats: IntArray) -> float:
    """
    Cost of a plan of a case in seconds, recomputed.

    Parameters
    ----------
    case
        The case.
    homes, formats
        Shape (G,): position in the order, and format, of every layer group.
    """
    _, num_devices, _ = case.shape
    groups = np.arange(len(homes))
    value = float(case.penalty_s[groups, formats].sum())
    for layer_s, ends_s, send_s, weight in (
        (case.prefill_s, case.ends_prefill_s, case.send_prefill_s, case.prefill_weight),
        (case.decode_s, case.ends_decode_s, case.send_decode_s, case.decode_weight),
    ):
        stage_s = np.bincount(homes, layer_s[groups, homes, formats], minlength=num_devices)
        stage_s[0] += ends_s
        stage_s = np.maximum(stage_s, send_s)
        value += float(stage_s.sum() + weight * stage_s.max())
    return value


def case_fits(case: LlmPqCase, homes: IntArray, formats: IntArray) -> bool:
    """Whether a plan of a case keeps to order, ends, memory and kernels; as `case_value`."""
    groups, num_devices, _ = case.shape
    if len(homes) != groups or len(formats) != groups or (np.diff(homes) < 0).any():
        return False
    index = np.arange(groups)
    held = np.bincount(homes, case.memory_bytes[index, homes, formats], minlength=num_devices)
    room = case.capacity_bytes + _TOLERANCE * np.abs(case.capacity_bytes)
    is_full = homes[0] == 0 and homes[-1] == num_devices - 1
    is_run = bool(case.allowed[index, homes, formats].all())
    return bool(is_full and is_run and (held[held > 0] <= room[held > 0]).all())


def plan_of(case: LlmPqCase, homes: IntArray, formats: IntArray) -> LlmPqPlan:
    """The plan of a case, layer by layer; arguments as of `case_value`."""
    return LlmPqPlan(
        order=case.order,
        prefill_micro_batch=case.prefill_micro_batch,
        decode_micro_batch=case.decode_micro_batch,
        devices=tuple(case.order[j] for j in np.repeat(homes, case.group_size)),
        formats=tuple(int(f) for f in np.repeat(formats, case.group_size)),
    )


def llmpq_value(problem: LlmPqProblem, rules: LlmPqRules, plan: LlmPqPlan) -> float:
    """LLM-PQ's objective of a plan in seconds."""
    case = _case(problem, rules, np.array(plan.order), plan.prefill_micro_batch)
    places = [plan.order.index(device) for device in plan.devices[:: rules.group_size]]
    return case_value(case, np.array(places), np.array(plan.formats[:: rules.group_size]))
