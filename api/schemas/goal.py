"""What to optimise, within which limits, and for how long."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from api.schemas.base import NAME, OBJECT, Schema, form_of

__all__ = ["GoalName", "LimitsSpec", "ObjectiveChoice", "ObjectiveSpec", "SolverSpec"]

GoalName = Literal[
    "latency",
    "throughput",
    "ttft",
    "tpot",
    "cost",
    "price",
    "quality_loss",
    "gpus",
    "stages",
    "latency_and_quality",
]
Milliseconds = Annotated[float, Field(gt=0, le=1e12)]


def _name_or_object(value: object) -> str:
    return OBJECT if form_of(value) == OBJECT else NAME


class ObjectiveSpec(Schema):
    """A goal with its weight."""

    goal: GoalName = Field(description="What to minimise (throughput: to maximise).")
    theta_s_per_nat: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="Seconds of latency that one nat of quality loss is worth; "
        "needed with goal latency_and_quality, and for no other.",
    )


ObjectiveChoice = Annotated[
    Annotated[GoalName, Tag(NAME)] | Annotated[ObjectiveSpec, Tag(OBJECT)],
    Discriminator(_name_or_object),
]
"""A goal by name, or an object with its weight."""


class LimitsSpec(Schema):
    """What a plan must keep to; what is left out is not limited."""

    ttft_ms: Milliseconds | None = Field(
        default=None, description="Prefill time of the whole batch, milliseconds."
    )
    tpot_ms: Milliseconds | None = Field(
        default=None, description="Steady time between two tokens of a request, milliseconds."
    )
    latency_s: float | None = Field(
        default=None, gt=0, le=1e9, description="Seconds until the last request is answered."
    )
    perplexity_increase_percent: float | None = Field(
        default=None, ge=0, le=1e4, description="Increase of perplexity against 16 bits, percent."
    )
    quality_loss_nats: float | None = Field(
        default=None, ge=0, le=100, description="Increase of ln(perplexity) against 16 bits."
    )
    quality: Literal["uniform-4-bits", "none"] = Field(
        default="uniform-4-bits",
        description="Quality limit where neither of the two above is given: the loss of the whole "
        "model at uniform 4 bits, or none at all.",
    )
    usd_per_hour: float | None = Field(
        default=None, ge=0, le=1e9, description="Price of everything rented, US dollars per hour."
    )
    gpus: int | None = Field(default=None, ge=1, le=10**6, description="GPUs used at most.")
    stages: int | None = Field(default=None, ge=1, le=10**6, description="Stages at most.")
    min_stages: int = Field(default=1, ge=1, le=10**6, description="Stages at least.")

    @model_validator(mode="after")
    def _one_quality_limit(self) -> Self:
        given = [
            name
            for name in ("perplexity_increase_percent", "quality_loss_nats")
            if getattr(self, name) is not None
        ]
        if "quality" in self.model_fields_set:
            given.append("quality")
        if len(given) > 1:
            raise ValueError(f"contradict each other: {', '.join(given)}; keep one of them")
        return self


class SolverSpec(Schema):
    """When the search may stop."""

    time_limit_s: float = Field(
        default=60.0, gt=0, le=86400, description="Seconds by the clock until it must stop."
    )
    gap: float = Field(
        default=1e-3,
        ge=0,
        lt=1,
        description="Relative gap |objective - bound| / max(|objective|, 1e-9) that is good "
        "enough; 0 asks for a full proof.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the solver's tie-breaking.")
    backend: Literal["highs", "cbc", "cp-sat"] = Field(
        default="highs", description="What proves: HiGHS (fastest), CBC, or CP-SAT."
    )
