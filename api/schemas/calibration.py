"""A calibration: factors on the times of an engine, from what was measured of launched plans."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from api.schemas.base import NAME, OBJECT, Name, Schema, Title, form_of

__all__ = [
    "CalibrationChoice",
    "CalibrationSpec",
    "CalibrationUse",
    "EngineFactorSpec",
    "FactorSpec",
    "MeasuredPlan",
    "MeasuredSpec",
]

PhaseName = Literal["prefill", "decode"]
FactorValue = Annotated[float, Field(gt=0, le=1e12)]


class MeasuredSpec(Schema):
    """One measured load: a row of a CSV file, or an object of a JSON file."""

    batch_size: int | None = Field(
        default=None, ge=1, le=65536, description="Requests that were sent together."
    )
    request_rate: float | None = Field(
        default=None, gt=0, le=1e6, description="Or requests per second, as a steady stream."
    )
    prompt_tokens: int = Field(ge=1, le=10**7, description="Tokens of every prompt, or the mean.")
    output_tokens: int = Field(ge=1, le=10**7, description="Tokens of every answer, or the mean.")
    ttft_ms: float | None = Field(
        default=None, gt=0, le=1e9, description="Time to first token, mean over the requests."
    )
    tpot_ms: float | None = Field(
        default=None, gt=0, le=1e9, description="Time between later tokens, mean."
    )
    throughput_tokens_per_s: float | None = Field(
        default=None, gt=0, le=1e9, description="Output tokens per second of all requests."
    )


class _FactorBase(Schema):
    phase: PhaseName = Field(description="Phase that it multiplies.")
    factor: FactorValue = Field(description="Measured over predicted time.")
    low: FactorValue = Field(description="90 % interval.")
    high: FactorValue = Field(description="Its other end.")
    identified: bool = Field(
        description="Whether the measurements told much more than was known; else an estimate."
    )


class EngineFactorSpec(_FactorBase):
    """The factor of kernels and GPUs that have none of their own."""


class FactorSpec(_FactorBase):
    """The whole factor of a kernel on a GPU."""

    gpu: Name = Field(description="GPU type.")
    kernel: Name = Field(description="Kernel of the engine.")
    format: Name = Field(description="Format.")


class MeasuredPlan(Schema):
    """A plan that was measured."""

    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the plan.")
    model: Title = Field(description="What it serves.")
    cluster: Title = Field(description="On what.")
    measured: Title = Field(description="File of the measurements.")
    rows: int = Field(ge=1, description="Loads in it.")


class CalibrationSpec(Schema):
    """Factors on the times of an engine, with their origin."""

    kind: Literal["calibration"] = Field(description="Marks this form.")
    engine: Name = Field(description="Engine whose times it corrects.")
    made_by: Title = Field(description="Who measured.")
    made_at: Title = Field(description="When it was made, ISO 8601, UTC.")
    hetplan: Title = Field(description="Version whose predictions are corrected.")
    plans: list[MeasuredPlan] = Field(
        min_length=1, max_length=1000, description="Plans that were measured."
    )
    values: int = Field(ge=1, description="Values that were measured.")
    error_before: float = Field(ge=0, description="Mean relative error of the predictions before.")
    error_after: float = Field(ge=0, description="The same with these factors.")
    engine_factors: list[EngineFactorSpec] = Field(
        max_length=2, description="By phase, for all kernels and GPUs that `factors` leaves out."
    )
    factors: list[FactorSpec] = Field(
        max_length=4096, description="By kernel and GPU, those of the engine included."
    )


class CalibrationUse(Schema):
    """The calibration behind an answer's times."""

    made_by: str = Field(description="Who measured.")
    made_at: str = Field(description="When it was made.")
    plans: list[str] = Field(description="SHA-256 of the plans that were measured.")
    rows: int = Field(description="Loads that were measured.")
    factors: list[FactorSpec] = Field(description="Factors on kernels of the formats in play.")


def _path_or_object(value: object) -> str:
    return OBJECT if form_of(value) == OBJECT else NAME


CalibrationPath = Annotated[str, Field(min_length=1, max_length=1000)]
CalibrationChoice = Annotated[
    Annotated[CalibrationPath, Tag(NAME)] | Annotated[CalibrationSpec, Tag(OBJECT)],
    Discriminator(_path_or_object),
]
"""A file that `hetplan calibrate` wrote, or its content."""
