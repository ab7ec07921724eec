"""
How many micro-batches keep the slowest machine busy, the last one only in part.

The last of ceil(B / size) micro-batches holds what is left of the batch. A machine that takes t
seconds for a full one takes r for the last, r <= rho t + e for every plan, with

    rho   the largest ratio of a layer's times (or of a transfer's) at the two sizes,
    e     what embedding and head may take beyond that share.

Counting the last in part, m = ceil(B / size) - 1 + rho, a pipeline whose slowest machine takes A is
done with a batch after at most

    sum_j (a_j + c_j) + (m - rho - 1) A + max_j r_j  <=  sum_j (a_j + c_j) + (m - 1) A + e

seconds (the critical paths of a permutation flow shop of equal jobs and a shorter last one), and a
round of decode keeps it busy for m D + e. Where the last micro-batch is full, rho = 1 and e = 0.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from solver.problem import FloatArray, PipelineProblem

__all__ = ["Phase", "Rounds", "rounds_of"]

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """
    What a batch asks of the slowest machine.

    Parameters
    ----------
    micro_batches
        m - 1 + rho: at least 1, at most ceil(B / size).
    excess_s
        Seconds beyond that many times the machine's pace.
    """

    micro_batches: float
    excess_s: float = 0.0


def rounds_of(problem: PipelineProblem, batch_size: int, index: int, phase: Phase) -> Rounds:
    """
    Rounds of a batch cut into micro-batches.

    Parameters
    ----------
    problem
        The last micro-batch is charged as the smallest of ``problem.micro_batches`` that holds it.
    batch_size, index
        Requests, and the index of the micro-batch size.
    phase
        Whose times count.
    """
    sizes = problem.micro_batches
    whole, left = divmod(batch_size, int(sizes[index]))
    if left == 0 or whole == 0:
        return Rounds(micro_batches=float(max(whole, 1)))
    holding = [i for i, size in enumerate(sizes) if size >= left]
    last = min(holding, key=lambda i: int(sizes[i]))
    share = max(_largest_ratio(seconds, last, index) for seconds in _machines(problem, phase))
    if last == index or share >= 1:
        return Rounds(micro_batches=whole + 1.0)
    ends = [getattr(problem, f"{end}_{phase}_s") for end in ("embedding", "head")]
    beyond = sum(np.maximum(s[:, last] - share * s[:, index], 0.0) for s in ends)
    return Rounds(micro_batches=whole + share, excess_s=float(np.max(beyond)))


def _machines(problem: PipelineProblem, phase: Phase) -> list[FloatArray]:
    """Times of what every machine but the ends is made of; the last axis counts sizes."""
    seconds = [getattr(problem, f"{phase}_s"), getattr(problem, f"{phase}_occupancy_s")]
    return [*seconds, problem.return_occupancy_s] if phase == "decode" else seconds


def _largest_ratio(seconds: FloatArray, last: int, index: int) -> float:
    at_last, at_full = seconds[..., last].ravel(), seconds[..., index].ravel()
    takes_time = at_last > 0
    with np.errstate(divide="ignore"):
        return float(np.max(at_last[takes_time] / at_full[takes_time], initial=0.0))
