"""The request: one body for files, HTTP and Python."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, TypeAdapter, model_validator

from api.schemas.base import Name, Schema
from api.schemas.calibration import CalibrationChoice
from api.schemas.cluster import ClusterSpec
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.goal import LimitsSpec, ObjectiveChoice, SolverSpec
from api.schemas.plan import GivenPlan
from api.schemas.regret import RegretChoice
from api.schemas.serving import (
    EngineChoice,
    FormatsChoice,
    ModelChoice,
    QualitySpec,
    WorkloadChoice,
)

__all__ = ["REQUEST_ADAPTER", "AnyRequest", "EvaluationRequest", "PlanRequest"]

CATALOGUE, COEFFICIENTS = "<catalogue>", "<coefficients>"
Cell = str | int | float | None


class PlanRequest(Schema):
    """Which model to serve on which GPUs, and what counts."""

    kind: Literal["catalogue"] = Field(
        default="catalogue", description="This form: names from the catalogues."
    )
    model: ModelChoice = Field(description="The model: a name, or an object with its config.")
    engine: EngineChoice = Field(default="vllm", description="The serving engine.")
    cluster: ClusterSpec = Field(description="The GPUs and their network.")
    workload: WorkloadChoice = Field(description="The requests to serve.")
    formats: FormatsChoice | None = Field(
        default=None, description="Allowed formats; default: all of the engine from 3 bits up."
    )
    quality: QualitySpec = Field(default=QualitySpec(), description="Own figures on quality.")
    objective: ObjectiveChoice = Field(default="latency", description="What to optimise.")
    limits: LimitsSpec = Field(default=LimitsSpec(), description="What a plan must keep to.")
    solver: SolverSpec = Field(default=SolverSpec(), description="When the search may stop.")
    what_if: bool = Field(
        default=False,
        description="Whether to say too what changes would gain and what GPUs could be given back.",
    )
    regret: RegretChoice = Field(
        default=False,
        description="Whether to say too if the plan stays best where times are off by as much as "
        "they may be; or how many tables to draw.",
    )
    calibration: CalibrationChoice | None = Field(
        default=None,
        description="Factors on the times, as `hetplan calibrate` writes them: a file, relative to "
        "the request file (command line only), or its content.",
    )
    tables: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default=[],
        max_length=16,
        description="Own cost tables (CSV or Parquet), paths relative to the request file. "
        "Command line only.",
    )
    cost_table: list[dict[Name, Cell]] = Field(
        default=[], max_length=100_000, description="Rows of an own cost table."
    )

    @model_validator(mode="after")
    def _min_used_within_limit(self) -> Self:
        must = sum(group.min_used for node in self.cluster.nodes for group in node.gpus)
        if self.limits.gpus is not None and must > self.limits.gpus:
            raise ValueError(
                f"contradicts itself: min_used asks for {must} GPUs in all, limits.gpus allows "
                f"{self.limits.gpus}; lower min_used or raise limits.gpus"
            )
        return self


def _form(value: Any) -> str:  # noqa: ANN401 - pydantic hands over whatever came in
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return COEFFICIENTS if kind == "coefficients" else CATALOGUE


AnyRequest = Annotated[
    Annotated[PlanRequest, Tag(CATALOGUE)] | Annotated[CoefficientsRequest, Tag(COEFFICIENTS)],
    Discriminator(_form),
]
"""A request in either form; `kind: coefficients` marks the second."""

REQUEST_ADAPTER: TypeAdapter[PlanRequest | CoefficientsRequest] = TypeAdapter(AnyRequest)


class EvaluationRequest(Schema):
    """A plan to be judged for a request."""

    request: AnyRequest = Field(description="The request, as for a plan.")
    plan: GivenPlan = Field(description="The plan, as an answer gives it or as written by hand.")
    solve: bool = Field(
        default=True, description="Whether to solve too, to say how far the plan is from the best."
    )
