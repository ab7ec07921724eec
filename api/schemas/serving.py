"""What is served and by what: model, engine, workload, formats, quality figures."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from api.schemas.base import LIST, NAME, OBJECT, SCALAR, Name, Schema, form_of
from api.schemas.omega import OmegaFile
from profiles.lengths import LEAST_WEIGHT, MOST_TOKENS, MOST_WEIGHT

__all__ = [
    "BatchSpec",
    "EngineChoice",
    "EngineSpec",
    "FormatsChoice",
    "FormatsSpec",
    "LengthSpec",
    "MixedWorkloadSpec",
    "ModelChoice",
    "ModelSpec",
    "QualitySpec",
    "WorkloadChoice",
    "WorkloadSpec",
]

MAX_BATCH = 65536
MAX_LENGTHS = 10_000
EQUAL, MIXED = "<equal>", "<mixed>"
BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH)]
FormatNames = Annotated[list[Name], Field(min_length=1, max_length=32)]


def _name_or_object(value: object) -> str:
    return OBJECT if form_of(value) == OBJECT else NAME


def _list_or_object(value: object) -> str:
    return OBJECT if form_of(value) == OBJECT else LIST


def _scalar_or_list(value: object) -> str:
    return LIST if form_of(value) == LIST else SCALAR


class ModelSpec(Schema):
    """A model by its Hugging Face configuration."""

    name: Name = Field(description="Name for the answer; quality anchors are looked up by it.")
    config: dict[str, Any] | None = Field(
        default=None, description="Content of the model's Hugging Face config.json."
    )
    config_file: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Path of a config.json, relative to the request file. Command line only.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config is None) == (self.config_file is None):
            raise ValueError(
                "give exactly one of config and config_file; "
                "for a model of the catalogue write its name alone"
            )
        return self


ModelChoice = Annotated[
    Annotated[Name, Tag(NAME)] | Annotated[ModelSpec, Tag(OBJECT)], Discriminator(_name_or_object)
]
"""A model of the catalogue by name, or any decoder by its configuration."""


class EngineSpec(Schema):
    """The serving engine and what it does with memory."""

    name: Name = Field(default="vllm", description="Engine whose kernels run the model.")
    memory_fraction: float = Field(
        default=0.92, gt=0, le=1, description="Share of a GPU's memory that the engine may fill."
    )
    reserve_gib: float = Field(
        default=1.0, ge=0, le=1024, description="GiB that the runtime itself takes on each GPU."
    )
    kv_cache_bits: Literal[8, 16] = Field(default=16, description="Width of the KV cache.")
    kernels: dict[Name, dict[Name, Name]] = Field(
        default={},
        max_length=64,
        description="Kernel by GPU type and format, where the engine's default is not wanted.",
    )


EngineChoice = Annotated[
    Annotated[Name, Tag(NAME)] | Annotated[EngineSpec, Tag(OBJECT)], Discriminator(_name_or_object)
]
"""An engine by name, or with its settings."""


class BatchSpec(Schema):
    """Requests served together, whatever their lengths."""

    batch_size: Annotated[
        Annotated[BatchSize, Tag(SCALAR)]
        | Annotated[list[BatchSize], Field(min_length=1, max_length=64), Tag(LIST)],
        Discriminator(_scalar_or_list),
    ] = Field(description="Requests served together; with a list, the plan chooses one.")
    num_requests: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Requests in all, served in waves of one batch; default: one batch.",
    )
    prefill_micro_batches: list[BatchSize] | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Allowed prefill micro-batch sizes; default: ceil(batch / m) for every m.",
    )
    decode_micro_batches: list[BatchSize] | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Allowed decode micro-batch sizes; default: ceil(batch / m) for every m.",
    )


class WorkloadSpec(BatchSpec):
    """A batch of equal requests served together."""

    prompt_tokens: int = Field(ge=1, le=MOST_TOKENS, description="Tokens of every prompt.")
    output_tokens: int = Field(ge=1, le=MOST_TOKENS, description="Tokens of every answer.")


class LengthSpec(Schema):
    """Requests of one length."""

    prompt_tokens: int = Field(ge=1, le=MOST_TOKENS, description="Tokens of their prompts.")
    output_tokens: int = Field(ge=1, le=MOST_TOKENS, description="Tokens of their answers.")
    weight: float = Field(
        default=1.0,
        ge=LEAST_WEIGHT,
        le=MOST_WEIGHT,
        description="How many there are, in any unit.",
    )


class MixedWorkloadSpec(BatchSpec):
    """A batch of requests of several lengths, by means over the lengths."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["lengths"]}, {"required": ["lengths_file"]}]}
    )

    lengths: list[LengthSpec] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_LENGTHS,
        description="The lengths that occur, in place of prompt_tokens and output_tokens.",
    )
    lengths_file: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Path of a CSV file of lengths (columns prompt_tokens, output_tokens and, if "
        "wanted, weight), relative to the request file. Command line only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _lengths_alone(cls, data: object) -> object:
        both = [name for name in ("prompt_tokens", "output_tokens") if name in _keys(data)]
        if both:
            raise ValueError(
                f"gives both {both[0]} and lengths; leave out {' and '.join(both)}, or the lengths"
            )
        return data

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.lengths is None) == (self.lengths_file is None):
            raise ValueError("give exactly one of lengths and lengths_file")
        return self


def _keys(value: object) -> Collection[str]:
    return value.keys() if isinstance(value, dict) else ()


def _mixed_or_equal(value: object) -> str:
    given = {"lengths", "lengths_file"}.intersection(_keys(value))
    return MIXED if given or isinstance(value, MixedWorkloadSpec) else EQUAL


WorkloadChoice = Annotated[
    Annotated[WorkloadSpec, Tag(EQUAL)] | Annotated[MixedWorkloadSpec, Tag(MIXED)],
    Discriminator(_mixed_or_equal),
]
"""Equal requests, or several lengths."""


class FormatsSpec(Schema):
    """Allowed formats, also by GPU type and by layer."""

    default: FormatNames | None = Field(
        default=None, description="Formats in play; default: all of the engine from 3 bits up."
    )
    per_gpu: dict[Name, FormatNames] = Field(
        default={}, max_length=64, description="By GPU type: the formats it may run."
    )
    per_layer: dict[str, FormatNames] = Field(
        default={},
        max_length=1024,
        description='By layer or range of layers, such as "0" or "0-3": the formats it may take.',
    )


FormatsChoice = Annotated[
    Annotated[FormatNames, Tag(LIST)] | Annotated[FormatsSpec, Tag(OBJECT)],
    Discriminator(_list_or_object),
]
"""Format names, or an object with exceptions by GPU type and layer."""


class QualitySpec(Schema):
    """Own figures on quality, in place of the published ones."""

    perplexity_16: float | None = Field(
        default=None, ge=1, le=1e6, description="Perplexity of the model at 16 bits."
    )
    nats_at_4_bits: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Increase of ln(perplexity) of the whole model at uniform 4 bits.",
    )
    loss_nats: dict[Name, list[Annotated[float, Field(ge=0, le=100)]]] | None = Field(
        default=None,
        max_length=32,
        description="By format: loss of every layer in nats of ln(perplexity), one per layer.",
    )
    omega: OmegaFile | None = Field(
        default=None, description="Losses of every layer, as `hetplan sensitivity` writes them."
    )
    omega_file: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Path of such a file, relative to the request file. Command line only.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        names = ("nats_at_4_bits", "loss_nats", "omega", "omega_file")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1 and given != ["nats_at_4_bits", "loss_nats"]:
            raise ValueError(f"contradict each other: {', '.join(given)}; keep one of them")
        return self
