"""Cautions about predicted quality: too few bits, or too much lost, for losses to add up."""

from collections.abc import Iterator
from math import expm1

from api.prepared import Prepared
from cost_model.omega import MUCH_NATS, Omega
from solver import Evaluation, Plan

__all__ = ["omega_cautions", "plan_cautions"]

_FEW_BITS = 3
_PERCENT = 100


def omega_cautions(omega: Omega, *, is_measured: bool) -> Iterator[str]:
    """What to know before trusting losses at the widths of a file."""
    if omega.bits[0] < _FEW_BITS:
        how = (
            "measured layer by layer, but together they lose up to twice as much"
            if is_measured
            else "carried on from rounding errors: they rank layers badly there and are too low by "
            "half and more. Plan no layer at them without --calibrate"
        )
        yield f"Losses at {omega.bits[0]} bits are {how}."
    for bits in omega.bits:
        total = float(omega.at(bits).sum())
        if total > MUCH_NATS:
            yield f"At uniform {bits} bits the model would lose {_much(total)}"


def plan_cautions(prepared: Prepared, plan: Plan, evaluation: Evaluation) -> Iterator[str]:
    """What to know before trusting the predicted quality of a plan."""
    bits = prepared.background.format_bits
    few = [
        stage.first_layer + layer
        for stage in plan.stages
        for layer, chosen in enumerate(stage.formats)
        if bits[chosen] < _FEW_BITS
    ]
    if few:
        yield (
            f"{len(few)} layers ({few[0]} the first) are below {_FEW_BITS} bits, where losses do "
            "not add up: expect 10 to 100 % more than predicted."
        )
    if evaluation.loss_nats > MUCH_NATS:
        yield f"The plan is predicted to lose {_much(evaluation.loss_nats)}"


def _much(nats: float) -> str:
    percent = f"perplexity +{expm1(nats) * _PERCENT:.3g} %, " if nats < 100 else ""
    return (
        f"{nats:.3g} nats ({percent}more than {MUCH_NATS:g}): losses so large no longer add up, "
        "and the real one is higher."
    )
