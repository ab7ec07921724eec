"""A plan, the same in answers and in what `evaluate` reads."""

from pydantic import Field

from api.schemas.base import Name, Schema

__all__ = ["FormatRun", "PlanSpec", "StageSpec"]


class FormatRun(Schema):
    """Consecutive layers in one format."""

    first_layer: int = Field(ge=0, description="Number of the first layer, from 0.")
    last_layer: int = Field(ge=0, description="Number of the last layer.")
    format: Name = Field(description="Format of these layers.")
    bits: float | None = Field(default=None, gt=0, description="Weight bits of the format.")


class StageSpec(Schema):
    """Consecutive layers on one tensor-parallel group of GPUs."""

    node: Name = Field(description="Name of the node.")
    gpu: Name = Field(description="GPU type; in the coefficient form the name of the device.")
    gpu_numbers: list[int] = Field(
        default=[],
        description="Which GPUs of that type on the node, from 0. Equal GPUs are numbered in "
        "pipeline order; evaluation does so itself.",
    )
    tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share each layer.")
    first_layer: int = Field(ge=0, description="Number of the first layer, from 0.")
    last_layer: int = Field(ge=0, description="Number of the last layer.")
    formats: list[FormatRun] = Field(
        min_length=1, max_length=4096, description="Formats of the layers, run by run."
    )
    layer_formats: list[Name] = Field(
        default=[], max_length=4096, description="Format of every layer; optional when read."
    )


class PlanSpec(Schema):
    """Stages in pipeline order with the batch and micro-batch sizes."""

    batch_size: int = Field(ge=1, description="Requests served together.")
    prefill_micro_batch: int = Field(ge=1, description="Requests per micro-batch in prefill.")
    decode_micro_batch: int = Field(ge=1, description="Requests per micro-batch in decode.")
    stages: list[StageSpec] = Field(min_length=1, max_length=4096, description="The pipeline.")
