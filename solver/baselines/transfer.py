"""
LLM-PQ's bit-width transfer: from adabits, move layers from the slowest GPU, trading bits for them.

For every order of GPU types and prefill micro-batch the search begins with adabits. The *straggler*
is the GPU j with the largest

    (m_p - 1) max(P_j, send_j) + (m_d - 1)(n - 1) max(D_j, send_j),

the *pioneers* are the others, fastest first. A pair (p <- k x s) swaps one layer of p bits on the
pioneer for k layers of s bits on the straggler in the list of formats, and moves the borders so
that the pioneer holds k layers more. The pair that lowers latency + theta * loss most is taken if
the memory of both GPUs holds it; the first pioneer with such a pair ends the round. Latency here
has neither transfers nor embedding and head.

Of all layers that could be swapped the outermost ones are tried, not every subset: where layers
lose alike that makes no difference.

References
----------
LLM-PQ: arXiv 2403.01136, DOI 10.1145/3627535.3638480, and the code released with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from solver.baselines.budget import Budget
from solver.baselines.judging import Proposal
from solver.baselines.layouts import widths
from solver.baselines.llmpq_view import (
    few_orders,
    for_each_batch,
    in_order,
    most_quality,
    no_size,
    over_thetas,
)
from solver.llmpq import (
    LlmPqCase,
    LlmPqPlan,
    LlmPqProblem,
    LlmPqRules,
    enumerate_cases,
    prefill_sizes,
)
from solver.objective import Limits, Objective
from solver.problem import FloatArray, IntArray, PipelineProblem

__all__ = ["PAIRS", "bit_width_transfer", "transferred"]

PAIRS = ((16, 8, 2), (8, 8, 1), (16, 4, 4), (8, 4, 2), (4, 4, 1))
"""Bits on the pioneer, bits on the straggler, and how many straggler layers go for one."""

RULES = LlmPqRules(
    full_decode=False, ends_once=True, loss_summed=True, single_requests=False, group_size=1
)
"""As published, but for embedding and head, which the heuristic leaves out."""

NO_START = "adabits, with which it begins, has no plan in any order that it tries"
_LEAST_GAIN = 1e-12


def bit_width_transfer(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """The best plan over orders and prefill sizes; theta as in `over_thetas`."""

    def propose(alone: PipelineProblem, own: LlmPqProblem) -> Proposal:
        if not prefill_sizes(own, RULES):
            return Proposal(reason=no_size(own))
        tried = few_orders(own, budget)
        starts = list(_starts(tried, budget))
        if not starts:
            return Proposal(reason=budget.no_plan(NO_START))

        def plans(theta: float) -> list[LlmPqPlan]:
            weighed = replace(tried, theta_s_per_nat=theta)
            return list(_moved_plans(weighed, starts, widths(alone), budget))

        return Proposal(judged=over_thetas(alone, limits, objective, plans, budget))

    return for_each_batch(problem, objective, propose, budget)


def _starts(own: LlmPqProblem, budget: Budget) -> Iterator[LlmPqPlan]:
    """The plan of adabits in every case that has one."""
    for case in enumerate_cases(own, RULES):
        if budget.is_spent():
            return
        plan = most_quality(in_order(own, case.order), case.prefill_micro_batch, budget)
        if plan is not None:
            devices = tuple(case.order[j] for j in plan.devices)
            yield replace(plan, order=case.order, devices=devices)


def _moved_plans(
    own: LlmPqProblem, starts: list[LlmPqPlan], bits: list[int], budget: Budget
) -> Iterator[LlmPqPlan]:
    """The plans after all transfers, as far as time goes, but always one."""
    cases = {(case.order, case.prefill_micro_batch): case for case in enumerate_cases(own, RULES)}
    for number, start in enumerate(starts):
        if number and budget.is_spent():
            return
        yield _moved_plan(cases[start.order, start.prefill_micro_batch], start, bits)


def _moved_plan(case: LlmPqCase, start: LlmPqPlan, bits: list[int]) -> LlmPqPlan:
    homes = np.array([case.order.index(device) for device in start.devices])
    homes, formats = transferred(case, homes, np.array(start.formats), bits)
    devices = tuple(case.order[j] for j in homes.tolist())
    return replace(start, devices=devices, formats=tuple(formats.tolist()))


@dataclass(frozen=True, slots=True)
class _State:
    """Layers of every GPU in pipeline order, and the format of every layer."""

    counts: IntArray
    formats: IntArray

    @property
    def homes(self) -> IntArray:
        """Position of every layer."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def transferred(
    case: LlmPqCase, homes: IntArray, formats: IntArray, bits: list[int]
) -> tuple[IntArray, IntArray]:
    """
    Move layers from stragglers to pioneers until no pair helps.

    Parameters
    ----------
    case
        The order and the prefill size, with layers placed one by one.
    homes, formats
        Shape (L,): position in the order, and format, of every layer.
    bits
        Bits of every format.

    Returns
    -------
    tuple
        Homes and formats after the last move.
    """
    state = _State(np.bincount(homes, minlength=case.shape[1]), formats)
    value = _value(case, state)
    while True:
        found = _better(case, state, value, bits)
        if found is None:
            return state.homes, state.formats
        value, state = found


def _better(
    case: LlmPqCase, state: _State, value: float, bits: list[int]
) -> tuple[float, _State] | None:
    """The best transfer to the first pioneer that has one."""
    *pioneers, straggler = np.argsort(_stage_values(case, state), kind="stable").tolist()
    for pioneer in pioneers:
        best: tuple[float, _State] | None = None
        for after in _transfers(state, pioneer, straggler, bits):
            least = value if best is None else best[0]
            reached = _value(case, after)
            if reached < least - _LEAST_GAIN * abs(least) and _runs(
                case, after, pioneer, straggler
            ):
                best = reached, after
        if best is not None:
            return best
    return None


def _transfers(state: _State, pioneer: int, straggler: int, bits: list[int]) -> Iterator[_State]:
    """States after one pair, at the outermost layers of each kind."""
    homes, widths_of = state.homes, np.array(bits)[state.formats]
    for high, low, number in PAIRS:
        given = np.flatnonzero((homes == pioneer) & (widths_of == high))
        taken = np.flatnonzero((homes == straggler) & (widths_of == low))
        if len(given) == 0 or len(taken) <= number:
            continue
        counts = state.counts.copy()
        counts[[pioneer, straggler]] += [number, -number]
        for one in {int(given[0]), int(given[-1])}:
            for many in (taken[:number], taken[-number:]):
                for kept in {0, number - 1}:
                    formats = _swapped(state.formats, one, many.tolist(), kept)
                    yield _State(counts, formats)


def _swapped(formats: IntArray, one: int, many: list[int], kept: int) -> IntArray:
    """The formats with ``one`` and the layers ``many`` swapped, the one at ``many[kept]``."""
    pieces = [[f] for f in formats.tolist()]
    high, low = pieces[one], [f for layer in many for f in pieces[layer]]
    for layer in many:
        pieces[layer] = []
    pieces[one], pieces[many[kept]] = low, high
    return np.array([f for piece in pieces for f in piece])


# -- values ---------------------------------------------------------------------------------------


def _loads(case: LlmPqCase, state: _State, table: FloatArray) -> FloatArray:
    """Sum of the table's entries over the layers of every GPU."""
    layers, homes = np.arange(len(state.formats)), state.homes
    entries = table[layers, homes, state.formats]
    sums: FloatArray = np.bincount(homes, entries, minlength=case.shape[1]).astype(float)
    return sums


def _stage_values(case: LlmPqCase, state: _State) -> FloatArray:
    prefill = np.maximum(_loads(case, state, case.prefill_s), case.send_prefill_s)
    decode = np.maximum(_loads(case, state, case.decode_s), case.send_decode_s)
    values: FloatArray = case.prefill_weight * prefill + case.decode_weight * decode
    return values


def _value(case: LlmPqCase, state: _State) -> float:
    """Latency as the heuristic counts it, plus theta times loss."""
    prefill = _loads(case, state, case.prefill_s)
    decode = _loads(case, state, case.decode_s)
    loss = case.penalty_s[np.arange(len(state.formats)), state.formats].sum()
    slowest = case.prefill_weight * prefill.max() + case.decode_weight * decode.max()
    return float(prefill.sum() + decode.sum() + slowest + loss)


def _runs(case: LlmPqCase, state: _State, pioneer: int, straggler: int) -> bool:
    """Whether both GPUs hold their layers, and all GPUs have kernels for theirs."""
    held = _loads(case, state, case.memory_bytes)
    pair = [pioneer, straggler]
    allowed = case.allowed[np.arange(len(state.formats)), state.homes, state.formats]
    return bool(allowed.all() and (held[pair] <= case.capacity_bytes[pair]).all())
