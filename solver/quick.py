"""
Bounds in closed form, for ordering subproblems before any linear program is solved.

Every layer runs at the fastest place and format there is: with S = sum of the least layer times and
at most J stages, the slowest stage takes at least S / J, so

    T_p >= S_p (1 + (m_p - 1) / J) + e_p,   tau >= max(S_d, S_d m_d / J + e_d),
    T   >= T_p + S_d (1 + (m_d - 1) / J) + e_d + (n - 2) tau

with m and e of `solver.rounds`. And all layers at their smallest must fit what all GPUs together
have beside work space.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from solver.instance import Instance
from solver.objective import Limits
from solver.problem import FloatArray

__all__ = ["QuickBounds", "may_fit", "quick_bounds"]

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickBounds:
    """No plan of the subproblem has a lower TTFT, TPOT or latency, in seconds."""

    ttft_s: float
    tpot_s: float
    latency_s: float


def quick_bounds(instance: Instance, limits: Limits) -> QuickBounds:
    """
    Bound one subproblem.

    Parameters
    ----------
    instance, limits
        The subproblem; limits on GPUs and stages bound the number of stages.
    """
    p = instance.problem
    most = min(p.num_gpus, p.num_layers, limits.stages or inf, limits.gpus or inf)
    prefill = _least_sum(p.prefill_s[..., instance.prefill], instance)
    first, later = instance.prefill_rounds, instance.decode_rounds
    ttft = prefill * (1 + (first.micro_batches - 1) / most) + first.excess_s
    tpot = rest = 0.0
    if p.output_tokens > 1:
        decode = _least_sum(p.decode_s[..., instance.decode], instance)
        tpot = max(decode, decode * later.micro_batches / most + later.excess_s)
        rest = decode * (1 + (later.micro_batches - 1) / most) + later.excess_s
        rest += (p.output_tokens - 2) * tpot
    waves = p.waves(instance.batch.size)
    return QuickBounds(ttft_s=ttft, tpot_s=tpot, latency_s=(ttft + rest) * waves)


def may_fit(instance: Instance) -> bool:
    """Whether memory allows a plan at all; False is a proof that it does not."""
    p = instance.problem
    sizes = np.array([group.tensor_parallel for group in p.groups])
    home = np.array([group.device for group in p.groups])
    layer_bytes = np.where(p.group_formats[:, :, None], instance.layer_bytes, np.inf)
    least = (sizes[:, None, None] * layer_bytes).min(axis=(0, 1))
    room = [
        device.count * max(float(instance.free_bytes[home == index].max(initial=0.0)), 0.0)
        for index, device in enumerate(p.devices)
    ]
    return float(least[p.layer_kinds].sum()) <= sum(room) * (1 + _ROUNDING)


def _least_sum(layer_s: FloatArray, instance: Instance) -> float:
    """``layer_s`` has shape (G, F, K)."""
    p = instance.problem
    least = np.where(p.group_formats[:, :, None], layer_s, np.inf).min(axis=(0, 1))
    return float(least[p.layer_kinds].sum())
