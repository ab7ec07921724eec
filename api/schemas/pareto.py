"""A Pareto set: what is asked, and the plans of which none beats another."""

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.answer import (
    Bottlenecks,
    LimitReport,
    Metrics,
    RequestSummary,
    Sources,
    StageReportSpec,
    StatusName,
    StopName,
    UnusedGpus,
    Versions,
)
from api.schemas.base import Figure, Schema
from api.schemas.plan import PlanSpec
from api.schemas.request import AnyRequest

__all__ = [
    "DEFAULT_POINTS",
    "ParetoAnswer",
    "ParetoAxisReport",
    "ParetoObjective",
    "ParetoPointReport",
    "ParetoRequest",
    "ParetoSolverReport",
    "PerObjective",
    "ViewReport",
]

MOST_POINTS = 400
DEFAULT_POINTS = 20
ParetoObjective = Literal["latency", "throughput", "ttft", "tpot", "cost", "quality_loss", "gpus"]


class ParetoRequest(Schema):
    """Objectives to be traded off for a request."""

    request: AnyRequest = Field(description="The request, as for a plan; its objective is unused.")
    objectives: Annotated[list[ParetoObjective], Field(min_length=2, max_length=3)] = Field(
        description="Two or three objectives."
    )
    points: int = Field(
        default=DEFAULT_POINTS,
        ge=2,
        le=MOST_POINTS,
        description="About how many plans at most for two objectives; three may have more.",
    )


class ParetoAxisReport(Schema):
    """One objective over the set."""

    objective: str = Field(description="What it is.")
    unit: str = Field(description="Unit of its values.")
    best: Figure = Field(description="Best value in the set; null without points.")
    worst: Figure = Field(description="Worst value in the set.")
    step: float = Field(
        description="Resolution: less than this is a plan shown worse than any that it covers, in "
        "the unit (throughput: in seconds per token); 0 where only the gap counts."
    )
    resolution_percent: float = Field(description="The same in percent of the range.")


class PerObjective(Schema):
    """Value of a plan in one objective, and how far it is proven."""

    value: Figure = Field(description="Value of the plan.")
    bound: Figure = Field(
        description="Proven: no plan that is no worse in the other objectives is better than this."
    )
    gap: Figure = Field(description="|value - bound| / max(|value|, 1e-9).")


class ParetoPointReport(Schema):
    """One plan of the set."""

    number: int = Field(description="Its number, from 1.")
    views: list[str] = Field(description="Names under which it is shown.")
    status: StatusName = Field(
        description="optimal: no gap beyond 1e-6; feasible: a plan with its gaps."
    )
    objectives: dict[str, PerObjective] = Field(description="By objective.")
    plan: PlanSpec = Field(description="The plan.")
    metrics: Metrics = Field(description="Predicted values of the plan.")
    stages: list[StageReportSpec] = Field(description="Predicted values of every stage.")
    bottlenecks: Bottlenecks = Field(description="What sets the pace.")
    unused_gpus: list[UnusedGpus] = Field(description="GPUs left free.")


class ViewReport(Schema):
    """A named point."""

    name: str = Field(description="Such as `fastest` or `balanced`.")
    number: int = Field(description="Number of the point.")


class ParetoSolverReport(Schema):
    """The settings that were in force, and the work done."""

    time_limit_s: float = Field(description="Seconds by the clock, for the whole set.")
    gap: float = Field(description="Relative gap that was good enough.")
    seed: int = Field(description="Seed.")
    backend: str = Field(description="What proved: highs, cbc or cp-sat.")
    runtime_s: float = Field(description="Seconds that the set took.")
    num_searches: int = Field(description="Searches.")
    num_reused: int = Field(description="Questions that earlier answers settled.")
    num_bounds: int = Field(description="Relaxations solved.")
    num_milps: int = Field(description="Integer programs solved.")


class ParetoAnswer(Schema):
    """The answer to a request for a Pareto set."""

    kind: Literal["pareto"] = Field(default="pareto", description="Marks this form.")
    status: StatusName = Field(
        description="optimal: complete, and every plan optimal; feasible: plans with their gaps; "
        "infeasible: proven that there is none; unknown."
    )
    stop_reason: StopName = Field(description="Why the search ended.")
    complete: bool = Field(description="Whether it is proven that every plan is covered.")
    coverage: str = Field(description="What is proven of the set, in words.")
    objectives: list[ParetoAxisReport] = Field(description="The objectives, as asked for.")
    points: list[ParetoPointReport] = Field(
        description="The plans, best in the first objective first; none beats another."
    )
    views: list[ViewReport] = Field(description="Named points.")
    request: RequestSummary = Field(description="What was asked.")
    rerun: ParetoRequest | None = Field(
        description="The whole request, files included, as it may be sent again; null if large."
    )
    limits: list[LimitReport] = Field(description="Limits that all plans keep to.")
    sources: Sources = Field(description="Where the numbers come from.")
    solver: ParetoSolverReport = Field(description="Settings in force.")
    versions: Versions = Field(description="Versions behind the answer.")
    problem_hash: str = Field(
        description="SHA-256 of the problem, the objective and the limits, as in a plan's answer."
    )
    warnings: list[str] = Field(description="What to know before trusting it.")
