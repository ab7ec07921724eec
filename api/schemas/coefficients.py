"""
The second form of a request: the problem by its coefficients alone, without any catalogue.

Index letters used in shapes: ``G`` stage groups, ``F`` formats, ``K`` layer kinds, ``L`` layers,
``U`` nodes, ``M`` micro-batch sizes. Arrays left out are zero.
"""

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.base import Name, Schema, Title
from api.schemas.goal import LimitsSpec, ObjectiveChoice, SolverSpec

__all__ = [
    "BatchSpec",
    "CoefficientsRequest",
    "DeviceSpec",
    "FormatSpec",
    "PricedNodeSpec",
    "StageGroupSpec",
]

Number = Annotated[float, Field(ge=0, le=1e15)]
Size = Annotated[int, Field(ge=1, le=65536)]
Vector = Annotated[list[Number], Field(min_length=1, max_length=4096)]
Matrix = Annotated[list[Vector], Field(min_length=1, max_length=4096)]
Cube = Annotated[list[Matrix], Field(min_length=1, max_length=4096)]
Tesseract = Annotated[list[Cube], Field(min_length=1, max_length=4096)]
Loss = Annotated[float, Field(ge=0, le=100)]
Losses = Annotated[
    list[Annotated[list[Loss], Field(min_length=1, max_length=4096)]],
    Field(min_length=1, max_length=4096),
]
Flags = Annotated[list[list[bool]], Field(min_length=1, max_length=4096)]


class PricedNodeSpec(Schema):
    """A machine."""

    name: Name = Field(description="Unique name of the node.")
    price_usd_per_hour: Number = Field(
        default=0.0, description="Price of the whole node; 0 where GPUs are rented one by one."
    )


class DeviceSpec(Schema):
    """Interchangeable GPUs: equal in type and node."""

    name: Name = Field(description="Unique name of the device class.")
    node: Name = Field(description="Name of its node.")
    count: int = Field(default=1, ge=1, le=1024, description="How many there are.")
    memory_gib: Number = Field(
        description="GiB that one GPU has for weights, KV cache and work space."
    )
    price_usd_per_hour: Number = Field(default=0.0, description="Price of one GPU per hour.")
    min_used: int = Field(default=0, ge=0, le=1024, description="GPUs that the plan must use.")


class StageGroupSpec(Schema):
    """A kind of stage: so many GPUs of a device class."""

    device: Name = Field(description="Name of the device class.")
    tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share each layer.")


class FormatSpec(Schema):
    """A format."""

    name: Name = Field(description="Unique name, such as w4a16.")
    bits: float = Field(gt=0, le=64, description="Weight bits, for people.")


class BatchSpec(Schema):
    """A batch size and the micro-batch sizes that go with it."""

    size: Size = Field(description="Requests served together.")
    prefill_micro_batches: list[Size] | None = Field(
        default=None, min_length=1, description="Default: all of micro_batches up to the size."
    )
    decode_micro_batches: list[Size] | None = Field(
        default=None, min_length=1, description="Default: all of micro_batches up to the size."
    )


class CoefficientsRequest(Schema):
    """The pipeline problem as arrays."""

    kind: Literal["coefficients"] = Field(description="Marks this form.")
    name: Title = Field(default="coefficients", description="Title of the answer.")
    nodes: list[PricedNodeSpec] = Field(min_length=1, max_length=256, description="U machines.")
    devices: list[DeviceSpec] = Field(min_length=1, max_length=1024, description="Device classes.")
    groups: list[StageGroupSpec] = Field(
        min_length=1, max_length=1024, description="G stage groups made of the devices."
    )
    formats: list[FormatSpec] = Field(min_length=1, max_length=32, description="F formats.")
    kinds: list[Name] = Field(
        default=["decoder"], min_length=1, max_length=64, description="K kinds of layer."
    )
    layer_kinds: list[Annotated[int, Field(ge=0, le=63)]] = Field(
        min_length=1, max_length=1024, description="Kind of each of the L layers, from 0."
    )
    loss_nats: Losses = Field(
        description="(L, F) quality loss of a layer in a format, nats of ln(perplexity)."
    )
    layer_formats: Flags | None = Field(
        default=None, description="(L, F) whether the layer may take the format; default: yes."
    )
    group_formats: Flags | None = Field(
        default=None, description="(G, F) whether the group runs the format; default: yes."
    )
    micro_batches: list[Size] = Field(
        min_length=1, max_length=512, description="M micro-batch sizes in play."
    )
    batches: list[BatchSpec] = Field(min_length=1, max_length=64, description="Batch sizes.")
    prompt_tokens: int = Field(ge=1, le=10_000_000, description="Tokens of every prompt.")
    output_tokens: int = Field(ge=1, le=10_000_000, description="Tokens of every answer.")
    num_requests: int | None = Field(
        default=None, ge=1, le=10**9, description="Requests in all; default: one batch."
    )
    prefill_ms: Tesseract = Field(
        description="(G, F, K, M) time of a layer for one micro-batch of prompts."
    )
    decode_ms: Tesseract = Field(
        description="(G, F, K, M) time of a layer for one decode step of a micro-batch."
    )
    embedding_prefill_ms: Matrix | None = Field(
        default=None, description="(G, M) added on the first stage in prefill."
    )
    embedding_decode_ms: Matrix | None = Field(
        default=None, description="(G, M) added on the first stage in decode."
    )
    head_prefill_ms: Matrix | None = Field(
        default=None, description="(G, M) added on the last stage in prefill."
    )
    head_decode_ms: Matrix | None = Field(
        default=None, description="(G, M) added on the last stage in decode."
    )
    weight_mib: Cube = Field(description="(G, F, K) weights of a layer on each GPU of the group.")
    kv_mib: Matrix = Field(
        description="(G, K) KV cache of one request at full length, per layer, on each GPU."
    )
    embedding_mib: Vector | None = Field(default=None, description="(G,) embedding on each GPU.")
    head_mib: Vector | None = Field(default=None, description="(G,) LM head on each GPU.")
    shared_mib: Vector | None = Field(
        default=None, description="(G,) what a stage that holds embedding and head saves."
    )
    prefill_work_mib: Matrix | None = Field(
        default=None, description="(G, M) activations and buffers of a stage in prefill."
    )
    decode_work_mib: Matrix | None = Field(
        default=None, description="(G, M) activations and buffers of a stage in decode."
    )
    head_prefill_work_mib: Matrix | None = Field(
        default=None, description="(G, M) what the last stage adds for logits in prefill."
    )
    head_decode_work_mib: Matrix | None = Field(
        default=None, description="(G, M) what the last stage adds for logits in decode."
    )
    prefill_link_ms: Cube | None = Field(
        default=None, description="(U, U, M) from a stage to the next one in prefill."
    )
    decode_link_ms: Cube | None = Field(
        default=None, description="(U, U, M) from a stage to the next one in decode."
    )
    return_link_ms: Cube | None = Field(
        default=None, description="(U, U, M) of sampled tokens from the last to the first stage."
    )
    prefill_occupancy_ms: Cube | None = Field(
        default=None, description="(U, U, M) how long a prefill transfer keeps its link busy."
    )
    decode_occupancy_ms: Cube | None = Field(
        default=None, description="(U, U, M) how long a decode transfer keeps its link busy."
    )
    return_occupancy_ms: Cube | None = Field(
        default=None, description="(U, U, M) how long a return keeps its link busy."
    )
    perplexity_16: float | None = Field(
        default=None, ge=1, le=1e6, description="Perplexity at 16 bits, for people."
    )
    objective: ObjectiveChoice = Field(default="latency", description="What to optimise.")
    limits: LimitsSpec = Field(
        default=LimitsSpec(),
        description="What a plan must keep to. There is no default quality limit in this form.",
    )
    solver: SolverSpec = Field(default=SolverSpec(), description="When the search may stop.")
    what_if: bool = Field(
        default=False,
        description="Whether to say too what changes would gain and what GPUs could be given back.",
    )
