"""
Bounds on the two phases apart, shared by all pairs of micro-batch sizes.

Prefill depends on the one micro-batch size and decode on the other; they meet in the choice of
stages, layers and formats. Choosing these twice, once for each phase, can only be better, so

    latency(eta, xi) >= min TTFT(eta) + min rest(xi)

and M + M linear programs bound all M x M pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from solver.formulation import Formulation, formulate
from solver.instance import Instance
from solver.linear import Expression, combine
from solver.objective import Goal, Limits
from solver.problem import BatchOption, FloatArray, PipelineProblem
from solver.quick import QuickBounds

__all__ = ["PhaseBounds"]

# Bounds of linear programs are trusted to this share.
_SAFETY = 1e-9
# What the goals that speak of time need to know of each phase.
_NEEDS = {
    Goal.TTFT: ("ttft",),
    Goal.TPOT: ("tpot",),
    Goal.LATENCY: ("ttft", "rest"),
    Goal.THROUGHPUT: ("ttft", "rest"),
    Goal.COST: ("ttft", "rest"),
    Goal.LATENCY_AND_QUALITY: ("ttft", "rest"),
}

# What a bound is of: batch, quantity, micro-batch size, GPUs.
_Key = tuple[BatchOption, str, int, tuple[int, ...] | None]
# Lower bound of an expression on a formulation, in the expression's own scale.
Relax = Callable[[Formulation, Expression], float]


@dataclass(slots=True, kw_only=True)
class PhaseBounds:
    """
    Least TTFT, TPOT and rest of the latency by micro-batch size, each worked out when first asked.

    Parameters
    ----------
    goal, limits
        Of the search.
    merged
        Whether layers of a kind are counted together.
    relax
        Solves a relaxation.
    """

    goal: Goal
    limits: Limits
    merged: bool
    relax: Relax
    _known: dict[_Key, float] = field(default_factory=dict)

    def of(self, instance: Instance) -> QuickBounds:
        """Bounds on a pair; zeros where the goal does not speak of time."""
        needs = _NEEDS.get(self.goal, ())
        values = {name: self._least(instance, name) for name in needs}
        ttft = values.get("ttft", 0.0)
        waves = instance.problem.waves(instance.batch.size)
        return QuickBounds(
            ttft_s=ttft,
            tpot_s=values.get("tpot", 0.0),
            latency_s=(ttft + values.get("rest", 0.0)) * waves,
        )

    def _least(self, instance: Instance, name: str) -> float:
        is_prefill = name == "ttft"
        size = instance.prefill if is_prefill else instance.decode
        key = (instance.batch, name, size, instance.gpus)
        if key not in self._known:
            alone = _alone(instance, is_prefill=is_prefill)
            self._known[key] = 0.0 if alone is None else self._solve(alone, name)
        return self._known[key]

    def _solve(self, instance: Instance, name: str) -> float:
        form = formulate(instance, _own_limits(self.limits, name), merged=self.merged, pooled=True)
        expression, unit = _expression(form, name)
        return max(self.relax(form, expression) * unit * (1 - _SAFETY), 0.0)


def _expression(form: Formulation, name: str) -> tuple[Expression, float]:
    """What to minimise, and the seconds that count as 1."""
    ttft, latency = form.quantities["ttft_s"], form.quantities["latency_s"]
    if name == "ttft":
        return ttft.expression, ttft.unit
    if name == "tpot":
        return form.quantities["tpot_s"].expression, form.quantities["tpot_s"].unit
    unit = latency.unit / form.instance.problem.waves(form.instance.batch.size)
    rest = combine((1, latency.expression), (-ttft.unit / unit, ttft.expression))
    return rest, unit


def _own_limits(limits: Limits, name: str) -> Limits:
    """The limits without those on the other phase, whose micro-batch size is not known."""
    other = "tpot_s" if name == "ttft" else "ttft_s"
    for both in (other, "latency_s", "cost_usd_per_million_tokens", "s_per_token"):
        limits = limits.but(both, None)
    return limits


def _alone(instance: Instance, *, is_prefill: bool) -> Instance | None:
    """The instance with the least work space of the other phase; None where no size has it."""
    p = instance.problem
    phase = "decode" if is_prefill else "prefill"
    sizes = getattr(instance.batch, phase)
    work = _work(p, phase, sizes)
    least = int(np.argmin(work.sum(axis=(0, 1))))
    if (work[..., least, None] > work).any():
        return None
    return _with_size(instance, phase, sizes[least])


def _with_size(instance: Instance, phase: str, size: int) -> Instance:
    prefill = size if phase == "prefill" else instance.prefill
    decode = size if phase == "decode" else instance.decode
    return Instance(
        problem=instance.problem,
        batch=instance.batch,
        gpus=instance.gpus,
        prefill=prefill,
        decode=decode,
        price_low=0.0,
        price_high=inf,
    )


def _work(p: PipelineProblem, phase: str, sizes: tuple[int, ...]) -> FloatArray:
    """Shape (2, G, number of sizes): work space of an inner and of a last stage."""
    inner = getattr(p, f"{phase}_work_bytes")[:, list(sizes)]
    head = getattr(p, f"head_{phase}_work_bytes")[:, list(sizes)]
    return np.stack([inner, inner + head])
