"""Losses of every layer at every width, as `hetplan sensitivity` writes and requests take them."""

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.base import Name, Schema

__all__ = ["MethodName", "OmegaBasis", "OmegaFile"]

MethodName = Literal["weights", "calibrated", "scores", "config"]
Nats = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=10_000)]


class OmegaBasis(Schema):
    """What the losses were made from; null where it played no part."""

    checkpoint: Text | None = Field(default=None, description="Name of the folder or file.")
    headers_sha256: Text | None = Field(
        default=None,
        description="SHA-256 of the SHA-256 of each file's header: names, types and shapes of all "
        "tensors.",
    )
    rows: int | None = Field(default=None, description="Rows looked at, per module of a layer.")
    seed: int | None = Field(default=None, description="What drew the rows, and random tokens.")
    last_layer: float | None = Field(
        default=None, description="Factor by which the last layer counts more than its weights."
    )
    scores: Text | None = Field(default=None, description="File of the scores, and its SHA-256.")
    noise_percentile: float | None = Field(
        default=None, description="Percentile of the scores of a width that was taken off as noise."
    )
    tokens: Text | None = Field(default=None, description="Which tokens calibrated the losses.")
    hetplan: Text = Field(description="Version that wrote the file.")


class OmegaFile(Schema):
    """Losses of the layers of a model in nats of ln(perplexity), and what they rest on."""

    kind: Literal["omega"] = Field(default="omega", description="What this is.")
    version: Literal[1] = Field(default=1, description="Version of this form.")
    model: Name = Field(description="Name of the model.")
    method: MethodName = Field(
        description="`weights`: rounding errors of a checkpoint; `calibrated`: divergences with "
        "one layer rounded; `scores`: those of another tool; `config`: shapes of the layers alone."
    )
    bits: list[Annotated[int, Field(ge=2, le=8)]] = Field(
        min_length=1, max_length=8, description="Widths of weights, ascending, 4 among them."
    )
    group_size: Annotated[int, Field(ge=2, le=2**20)] | None = Field(
        description="Weights that share a scale; null for one scale per output channel."
    )
    symmetric: bool = Field(description="Whether levels lie evenly around 0, without a zero.")
    loss_nats: list[Annotated[list[Nats], Field(max_length=8)]] = Field(
        min_length=1,
        max_length=10_000,
        description="One row a layer: its loss at each of `bits`, nats of ln(perplexity).",
    )
    w8a8_nats: Nats = Field(
        description="Loss of the whole model at 8-bit weights and activations; layers share it as "
        "their losses at 4 bits."
    )
    nats_at_4_bits: Nats = Field(description="Sum of the losses at 4 bits, for the reader.")
    provenance: Literal["measured", "analytic", "given"] = Field(
        description="Of the level: the loss of the whole model at uniform 4 bits."
    )
    text: Text = Field(description="What the losses rest on, in one sentence.")
    basis: OmegaBasis = Field(description="What they were made from.")
    warnings: list[Text] = Field(default=[], description="What to know before trusting them.")
