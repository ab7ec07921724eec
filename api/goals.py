"""Objective, limits and stopping rule: from the field's units to the solver's."""

from math import log1p

from api.schemas.goal import LimitsSpec, ObjectiveSpec, SolverSpec
from profiles.units import MS
from solver import Goal, Limits, Objective, StopRule

__all__ = ["PRICED_GOALS", "limits_of", "objective_of", "quality_limit_of", "stop_of"]

PRICED_GOALS = (Goal.COST, Goal.PRICE)
PERCENT = 100.0


def objective_of(choice: str | ObjectiveSpec) -> Objective:
    """The objective asked for."""
    if isinstance(choice, str):
        return Objective(goal=Goal(choice))
    return Objective(goal=Goal(choice.goal), theta_s_per_nat=choice.theta_s_per_nat)


def stop_of(spec: SolverSpec) -> StopRule:
    """The stopping rule asked for."""
    return StopRule(gap=spec.gap, time_limit_s=spec.time_limit_s, seed=spec.seed)


def quality_limit_of(spec: LimitsSpec, default_nats: float | None) -> tuple[float | None, str]:
    """The quality limit in nats, and how it was set (see `api.prepared.Background`)."""
    if spec.quality_loss_nats is not None:
        return spec.quality_loss_nats, "asked"
    if spec.perplexity_increase_percent is not None:
        return log1p(spec.perplexity_increase_percent / PERCENT), "asked"
    if spec.quality == "none" or default_nats is None:
        return None, "none"
    return default_nats, "uniform 4 bits"


def limits_of(spec: LimitsSpec, loss_nats: float | None) -> Limits:
    """The limits asked for, with this limit on quality loss."""
    return Limits(
        ttft_s=None if spec.ttft_ms is None else spec.ttft_ms * MS,
        tpot_s=None if spec.tpot_ms is None else spec.tpot_ms * MS,
        latency_s=spec.latency_s,
        loss_nats=loss_nats,
        price_usd_per_hour=spec.usd_per_hour,
        gpus=spec.gpus,
        stages=spec.stages,
        min_stages=spec.min_stages,
    )
