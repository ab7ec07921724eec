"""A comparison: the best plan, and what others would plan for the same request."""

from typing import Literal

from pydantic import Field

from api.schemas.answer import Metrics, PlanAnswer, StatusName, StopName, ViolationReport
from api.schemas.base import Figure, Schema
from api.schemas.plan import PlanSpec

__all__ = ["BaselineReport", "ComparisonAnswer"]


class BaselineReport(Schema):
    """What a baseline plans, judged as the best plan is."""

    name: str = Field(description="Name for programs.")
    title: str = Field(description="Name for people.")
    rule: str = Field(description="What it does, in a sentence.")
    source: str = Field(description="Where that is said.")
    chosen: str = Field(description="What its rule leaves open, and how it was chosen.")
    is_one_pipeline: bool = Field(
        description="Whether its plan is a single pipeline; if not, the bound does not cover it."
    )
    feasible: bool = Field(description="Whether there is a plan and it keeps every limit.")
    objective: Figure = Field(description="Value of the goal, also where a limit is broken.")
    ratio: Figure = Field(
        description="Its objective over the best plan's, throughput the other way; null where "
        "either is infeasible."
    )
    gap: Figure = Field(
        description="|objective - bound| / max(|objective|, 1e-9); null where it is infeasible, "
        "nothing is proven or the bound does not cover it."
    )
    metrics: Metrics | None = Field(description="Its values; null without a plan.")
    violations: list[ViolationReport] = Field(description="Limits that it breaks.")
    plans: list[PlanSpec] = Field(
        description="Its plan; several where pipelines run side by side, each with its share of "
        "the batch; empty where its rule gives none."
    )
    why: str = Field(description="Why it loses, is infeasible or has no plan, in a sentence.")
    was_cut: bool = Field(
        description="Whether its own search was cut short: with more time its plan may be another."
    )


class ComparisonAnswer(Schema):
    """The answer to a request for a comparison."""

    kind: Literal["comparison"] = Field(default="comparison", description="Marks this form.")
    status: StatusName = Field(description="Of the best plan, as are the next four.")
    stop_reason: StopName | None = Field(description="Why the search ended.")
    objective: Figure = Field(description="Value of the best plan; null without one.")
    bound: Figure = Field(description="Proven: no single pipeline is better than this.")
    gap: Figure = Field(description="Between the two.")
    best: PlanAnswer = Field(description="The whole answer to the request for a plan.")
    baselines: list[BaselineReport] = Field(description="What others would plan.")
