"""Objective, limits and stopping rule: from the field's units to the solver's."""

from collections.abc import Iterator
from math import log1p

from api.limit_words import increase_percent
from api.schemas.goal import GoalName, LimitsSpec, ObjectiveSpec, SolverSpec
from profiles.errors import InputError
from profiles.units import MS
from solver import Goal, Limits, Objective, StopRule

__all__ = [
    "PRICED_GOALS",
    "limits_of",
    "objective_of",
    "quality_limit_of",
    "quality_warnings",
    "stop_of",
]

PRICED_GOALS = (Goal.COST, Goal.PRICE)
PERCENT = 100.0
MUCH_NATS = log1p(0.05)
"""A default quality limit beyond this, 5 % of perplexity, is worth a warning."""


def objective_of(choice: GoalName | ObjectiveSpec) -> Objective:
    """
    The objective asked for.

    Raises
    ------
    InputError
        When the goal needs a weight and has none, or has one that it does not need.
    """
    spec = ObjectiveSpec(goal=choice) if isinstance(choice, str) else choice
    goal, theta = Goal(spec.goal), spec.theta_s_per_nat
    if theta is None and goal is Goal.LATENCY_AND_QUALITY:
        raise InputError(
            "theta_s_per_nat is missing: goal latency_and_quality needs the seconds of latency "
            f"that one nat of quality loss is worth; write objective: {{goal: {spec.goal}, "
            "theta_s_per_nat: 20} in the request, with your own figure.",
            pointer="/objective" if isinstance(choice, str) else "/objective/theta_s_per_nat",
        )
    return Objective(goal=goal, theta_s_per_nat=theta or 0.0)


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


def quality_warnings(how: str, loss_nats: float | None) -> Iterator[str]:
    """What to know about a quality limit that was not asked for."""
    if how == "none":
        yield "Quality is not limited: the plan may use the fewest bits wherever that is faster."
    elif how != "asked" and loss_nats is not None and loss_nats > MUCH_NATS:
        percent = increase_percent(loss_nats)
        much = "" if percent is None else f" of {percent:.3g} %"
        yield (
            f"The default quality limit (the loss at {how}) allows an increase of perplexity{much};"
            " set limits.perplexity_increase_percent to allow less."
        )


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
