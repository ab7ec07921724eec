"""
Bounds in closed form, for ordering subproblems before any linear program is solved.

Every layer runs at the fastest place and format there is: with S = sum of the least layer times and
at most J stages, the slowest stage takes at least S / J, so

    T_p >= S_p + (W_p - S_p) / J,   tau >= max(S_d, W_d / J),
    T   >= T_p + S_d + (W_d - S_d) / J + (n - 2) tau,

where W adds up S over all micro-batches, of which the last may be smaller.

And all layers at their smallest must fit what all GPUs together have beside work space.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from solver.instance import Instance
from solver.objective import Limits
from solver.problem import FloatArray, PipelineProblem

__all__ = ["LeastTimes", "QuickBounds", "may_fit"]

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickBounds:
    """No plan of the subproblem has a lower TTFT, TPOT or latency, in seconds."""

    ttft_s: float
    tpot_s: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastTimes:
    """
    All layers at their fastest, by micro-batch size.

    Parameters
    ----------
    prefill_s, decode_s
        Shape (M,).
    most_stages
        No plan has more.
    """

    prefill_s: FloatArray
    decode_s: FloatArray
    most_stages: float

    @classmethod
    def of(cls, problem: PipelineProblem, limits: Limits) -> "LeastTimes":
        """Of a problem; limits on GPUs and stages bound the number of stages."""
        most = min(problem.num_gpus, problem.num_layers, limits.stages or inf, limits.gpus or inf)
        prefill_s, decode_s = (_least(problem, s) for s in (problem.prefill_s, problem.decode_s))
        return cls(prefill_s=prefill_s, decode_s=decode_s, most_stages=most)

    def bounds(self, instance: Instance) -> QuickBounds:
        """Bound one subproblem."""
        p, most = instance.problem, self.most_stages
        once = float(self.prefill_s[instance.prefill])
        if once == inf:
            return QuickBounds(ttft_s=inf, tpot_s=inf, latency_s=inf)
        last = self.prefill_s[_or(instance.prefill_last, instance.prefill)]
        ttft = once + ((instance.num_prefill - 2) * once + float(last)) / most
        tpot = rest = 0.0
        if p.output_tokens > 1:
            once = float(self.decode_s[instance.decode])
            last = self.decode_s[_or(instance.decode_last, instance.decode)]
            others = ((instance.num_decode - 2) * once + float(last)) / most
            tpot = max(once, once / most + others)
            rest = once + others + (p.output_tokens - 2) * tpot
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


def _or(last: int | None, usual: int) -> int:
    return usual if last is None else last


def _least(problem: PipelineProblem, layer_s: FloatArray) -> FloatArray:
    """``layer_s`` has shape (G, F, K, M)."""
    usable = problem.group_formats[:, :, None, None]
    least: FloatArray = np.where(usable, layer_s, np.inf).min(axis=(0, 1))
    total: FloatArray = least[problem.layer_kinds].sum(axis=0)
    return total
