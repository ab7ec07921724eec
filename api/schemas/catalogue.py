"""What the catalogues say, for listing."""

from pydantic import Field

from api.schemas.base import Schema

__all__ = ["ExampleEntry", "GpuEntry", "GpuFormat", "ModelEntry"]


class GpuFormat(Schema):
    """How a GPU runs a format."""

    engine: str = Field(description="Engine.")
    format: str = Field(description="Format.")
    kernel: str = Field(description="Its kernel where the request names none.")


class GpuEntry(Schema):
    """A GPU of the catalogue."""

    name: str = Field(description="Name to use in requests.")
    architecture: str = Field(description="Generation.")
    compute_capability: float = Field(description="CUDA compute capability, such as 7.5.")
    memory_gib: float = Field(description="Memory that CUDA reports, GiB.")
    memory_gb_per_s: float = Field(description="Peak memory bandwidth, GB/s.")
    fp16_tflops: float = Field(description="Peak dense TFLOP/s in 16 bits.")
    link: str = Field(description="Link that joins such GPUs inside a node by default.")
    usd_per_hour: float | None = Field(description="Price of one; null if unknown.")
    price_basis: str = Field(description="Where the price comes from.")
    formats: list[GpuFormat] = Field(description="Formats it runs, by engine.")


class ModelEntry(Schema):
    """A model of the catalogue."""

    name: str = Field(description="Name to use in requests.")
    parameters_billion: float = Field(description="Parameters, 10^9.")
    layers: int = Field(description="Decoder layers.")
    layer_kinds: list[str] = Field(description="Kinds of layer.")
    hidden: int = Field(description="Width of the residual stream.")
    heads: int = Field(description="Attention heads.")
    kv_heads: int = Field(description="Heads of the KV cache.")
    kv_kib_per_token: float = Field(description="KV cache of one token at 16 bits, KiB.")
    vocab: int = Field(description="Tokens in the vocabulary.")
    perplexity_16: float | None = Field(description="Published perplexity at 16 bits, or null.")


class ExampleEntry(Schema):
    """An example request."""

    name: str = Field(description="Name of the example.")
    summary: str = Field(description="What it shows.")
