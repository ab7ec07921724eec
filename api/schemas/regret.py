"""What tables drawn from their error do to a plan: what is asked, and what is found."""

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from api.schemas.base import OBJECT, SCALAR, Figure, Schema, form_of
from api.schemas.plan import PlanSpec

__all__ = ["RegretChoice", "RegretReport", "RegretSpec", "RivalReport"]


class RegretSpec(Schema):
    """How many tables to draw."""

    samples: int = Field(default=100, ge=1, le=10_000, description="Tables to draw.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the draws.")
    time_limit_s: float = Field(
        default=120.0, gt=0, le=86400, description="Seconds by the clock for all of them."
    )


def _flag_or_object(value: object) -> str:
    return OBJECT if form_of(value) == OBJECT else SCALAR


RegretChoice = Annotated[
    Annotated[bool, Tag(SCALAR)] | Annotated[RegretSpec, Tag(OBJECT)],
    Discriminator(_flag_or_object),
]
"""Whether to ask at all, or how."""


class RivalReport(Schema):
    """A plan that is best in more samples than the answer's."""

    plan: PlanSpec = Field(description="The plan.")
    objective: Figure = Field(description="Its objective with the tables as they are.")
    best_share: float = Field(
        description="Share of the samples in which no plan known beats it by over a thousandth."
    )
    within_share: float = Field(
        description="Share of the samples in which it is within 2 % of the best plan known."
    )


class RegretReport(Schema):
    """Does the plan stay best where the times are off by as much as they may be?"""

    samples: int = Field(description="Tables drawn and judged.")
    samples_asked: int = Field(description="Tables asked for; fewer are judged where time ran out.")
    seed: int = Field(description="Seed of the draws.")
    tolerance: float = Field(description="Share of a sample's optimum that counts as staying best.")
    within: int = Field(description="Samples in which the plan is proven to be within it.")
    beyond: int = Field(
        description="Samples in which a plan is known that is better by more, or the plan breaks a "
        "limit."
    )
    broken: int = Field(description="Samples in which the plan breaks a limit.")
    undecided: int = Field(description="Samples in which neither is proven.")
    share_within_low: float = Field(
        description="95 % interval (Wilson) of the share within; undecided samples count as beyond."
    )
    share_within_high: float = Field(description="Its other end; undecided samples as within.")
    median_regret_low: Figure = Field(
        description="Median of value / optimum - 1 over samples that keep all limits: at least, by "
        "the best plans known."
    )
    median_regret_high: Figure = Field(description="At most, by the bounds.")
    p95_regret_low: Figure = Field(description="95th percentile: at least.")
    p95_regret_high: Figure = Field(description="At most.")
    best_share: float = Field(
        description="Share of samples in which no plan known beats the plan by over a thousandth."
    )
    rival: RivalReport | None = Field(
        description="The plan that is best most often, where that is another one."
    )
    error_terms: int = Field(description="Random factors of the times.")
    assumed_terms: int = Field(
        description="Those of them whose size is assumed, as nobody measured it."
    )
    runtime_s: float = Field(description="Seconds that it took.")
