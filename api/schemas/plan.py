"""A plan: complete as answers give it, and shorter where people write one."""

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from api.schemas.base import LIST, WORD, Name, Schema, form_of

__all__ = ["FormatRun", "GivenPlan", "GivenStage", "PlanSpec", "StageSpec"]


class FormatRun(Schema):
    """Consecutive layers in one format."""

    first_layer: int = Field(ge=0, description="Number of the first layer, from 0.")
    last_layer: int = Field(ge=0, description="Number of the last layer.")
    format: Name = Field(description="Format of these layers.")
    bits: float | None = Field(default=None, gt=0, description="Weight bits of the format.")


class _StageBase(Schema):
    node: Name = Field(description="Name of the node.")
    gpu: Name = Field(description="GPU type; in the coefficient form the name of the device.")
    gpu_numbers: list[int] = Field(
        default=[],
        max_length=64,
        description="Which GPUs of that type on the node, from 0; optional when read. Equal GPUs "
        "are interchangeable: answers number them in pipeline order.",
    )
    tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share each layer.")
    first_layer: int = Field(ge=0, description="Number of the first layer, from 0.")
    last_layer: int = Field(ge=0, description="Number of the last layer.")


Runs = Annotated[list[FormatRun], Field(min_length=1, max_length=4096)]


def _word_or_list(value: object) -> str:
    return LIST if form_of(value) == LIST else WORD


class StageSpec(_StageBase):
    """Consecutive layers on one tensor-parallel group of GPUs."""

    formats: Runs = Field(description="Formats of the layers, run by run.")
    layer_formats: list[Name] = Field(
        default=[], max_length=4096, description="Format of every layer."
    )


class GivenStage(_StageBase):
    """A stage as people write it."""

    formats: Annotated[
        Annotated[Name, Tag(WORD)] | Annotated[Runs, Tag(LIST)], Discriminator(_word_or_list)
    ] = Field(description="One format for the whole stage, or the formats run by run.")
    layer_formats: list[Name] = Field(
        default=[], max_length=4096, description="Format of every layer; optional."
    )


class PlanSpec(Schema):
    """Stages in pipeline order with the batch and micro-batch sizes."""

    batch_size: int = Field(ge=1, description="Requests served together.")
    prefill_micro_batch: int = Field(ge=1, description="Requests per micro-batch in prefill.")
    decode_micro_batch: int = Field(ge=1, description="Requests per micro-batch in decode.")
    stages: list[StageSpec] = Field(min_length=1, max_length=4096, description="The pipeline.")


class GivenPlan(Schema):
    """A plan as people write it; sizes are optional where the request allows just one."""

    batch_size: int | None = Field(default=None, ge=1, description="Requests served together.")
    prefill_micro_batch: int | None = Field(
        default=None, ge=1, description="Requests per micro-batch in prefill."
    )
    decode_micro_batch: int | None = Field(
        default=None, ge=1, description="Requests per micro-batch in decode."
    )
    stages: list[GivenStage] = Field(min_length=1, max_length=4096, description="The pipeline.")
