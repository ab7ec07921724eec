"""What to optimise, and what a plan must keep to."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import isfinite
from typing import Any

from profiles.errors import InputError

__all__ = ["Goal", "Limits", "Objective", "StopRule"]


class Goal(StrEnum):
    """Quantities to minimise (throughput: to maximise)."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    TTFT = "ttft"
    TPOT = "tpot"
    COST = "cost"
    PRICE = "price"
    QUALITY_LOSS = "quality_loss"
    GPUS = "gpus"
    STAGES = "stages"
    LATENCY_AND_QUALITY = "latency_and_quality"

    @property
    def unit(self) -> str:
        """Unit of the objective's value."""
        return _UNITS[self]

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return self is Goal.THROUGHPUT

    @property
    def ties_massively(self) -> bool:
        """Whether many plans share the best value, so that latency decides among them."""
        return self in _TYING


_UNITS = {
    Goal.LATENCY: "s",
    Goal.THROUGHPUT: "tokens/s",
    Goal.TTFT: "s",
    Goal.TPOT: "s",
    Goal.COST: "USD per million output tokens",
    Goal.PRICE: "USD per hour",
    Goal.QUALITY_LOSS: "nats",
    Goal.GPUS: "GPUs",
    Goal.STAGES: "stages",
    Goal.LATENCY_AND_QUALITY: "s",
}
_TYING = (Goal.TTFT, Goal.TPOT, Goal.QUALITY_LOSS, Goal.GPUS, Goal.STAGES, Goal.PRICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """
    A goal; ``theta_s_per_nat`` weighs quality loss in `Goal.LATENCY_AND_QUALITY` only.

    Raises
    ------
    InputError
        When theta is negative, not finite, or given with another goal.
    """

    goal: Goal = Goal.LATENCY
    theta_s_per_nat: float = 0.0

    def __post_init__(self) -> None:
        theta = self.theta_s_per_nat
        if not isfinite(theta) or theta < 0:
            raise InputError(
                f"theta_s_per_nat is {theta}; give a finite number of seconds per nat, 0 or more.",
                pointer="/objective/theta_s_per_nat",
            )
        if theta and self.goal is not Goal.LATENCY_AND_QUALITY:
            raise InputError(
                f"theta_s_per_nat has no effect with goal {self.goal.value!r}; use goal "
                "'latency_and_quality' or drop it.",
                pointer="/objective/theta_s_per_nat",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Upper limits on a plan; None means no limit.

    Parameters
    ----------
    ttft_s, tpot_s, latency_s
        Seconds. ``latency_s`` counts until the last of all requests is answered.
    loss_nats
        Quality loss of the whole model in nats of ln(perplexity).
    price_usd_per_hour
        Price of everything rented.
    cost_usd_per_million_tokens, s_per_token
        Cost of a million output tokens; seconds per output token, the inverse of throughput.
    gpus, stages
        Numbers of GPUs and of pipeline stages.
    min_stages
        Least number of stages.

    Raises
    ------
    InputError
        When a limit is negative or not a number, or ``min_stages`` exceeds ``stages``.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    latency_s: float | None = None
    loss_nats: float | None = None
    price_usd_per_hour: float | None = None
    cost_usd_per_million_tokens: float | None = None
    s_per_token: float | None = None
    gpus: int | None = None
    stages: int | None = None
    min_stages: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (isfinite(value) and value >= 0):
                raise InputError(
                    f"Limit {field.name} is {value}; give a finite number, 0 or more, or drop it.",
                    pointer=f"/limits/{field.name}",
                )
        if self.stages is not None and self.min_stages > self.stages:
            raise InputError(
                f"min_stages {self.min_stages} exceeds stages {self.stages}; no plan keeps both.",
                pointer="/limits/min_stages",
            )

    def but(self, name: str, value: float | None) -> "Limits":
        """The same limits, one of them changed."""
        change: dict[str, Any] = {name: value}
        return replace(self, **change)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """
    When a search may stop: at this relative gap, after this time, whichever comes first.

    Parameters
    ----------
    gap
        |objective - bound| / max(|objective|, 1e-9) that is good enough; 0 asks for a full proof.
    time_limit_s
        Seconds by the clock.
    seed
        Of the solver's own tie-breaking.
    """

    gap: float = 1e-3
    time_limit_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isfinite(self.gap) and 0 <= self.gap < 1):
            raise InputError(
                f"gap is {self.gap}; give a share from 0 to 1, such as 0.001.",
                pointer="/solver/gap",
            )
        if not (isfinite(self.time_limit_s) and self.time_limit_s > 0):
            raise InputError(
                f"time_limit_s is {self.time_limit_s}; give a positive number of seconds.",
                pointer="/solver/time_limit_s",
            )
        if not 0 <= self.seed < 2**31:
            raise InputError(
                f"seed is {self.seed}; give a whole number from 0 to {2**31 - 1}.",
                pointer="/solver/seed",
            )
