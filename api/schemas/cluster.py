"""The GPUs there are, and how they are joined."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from api.schemas.base import NAME, OBJECT, Name, Schema, form_of

__all__ = [
    "ClusterSpec",
    "GpuGroupSpec",
    "LinkChoice",
    "LinkSpec",
    "NodeSpec",
    "OwnGpuSpec",
    "PairLinkSpec",
]

Price = Annotated[float, Field(ge=0, le=1e6)]


def _name_or_object(value: object) -> str:
    return OBJECT if form_of(value) == OBJECT else NAME


class LinkSpec(Schema):
    """A link by its figures: what point-to-point copies and all-reduces really reach."""

    gb_per_s: float = Field(
        gt=0, le=1e5, description="Effective bandwidth between two ends, GB/s (10^9 bytes)."
    )
    latency_us: float = Field(ge=0, le=1e7, description="Latency of one transfer, microseconds.")
    all_reduce_gb_per_s: float | None = Field(
        default=None, gt=0, le=1e5, description="Bus bandwidth of an all-reduce; default gb_per_s."
    )
    all_reduce_latency_us: float | None = Field(
        default=None, ge=0, le=1e7, description="Latency of one all-reduce; default latency_us."
    )


LinkChoice = Annotated[
    Annotated[Name, Tag(NAME)] | Annotated[LinkSpec, Tag(OBJECT)], Discriminator(_name_or_object)
]
"""A link of the catalogue by name, or one by its figures."""


class OwnGpuSpec(Schema):
    """A GPU, or a CPU, that the catalogue lacks; its times come from a cost table."""

    name: Name = Field(description="How nodes and cost tables call it.")
    memory_gib: float = Field(gt=0, le=1e5, description="Memory that a plan may count on, GiB.")
    memory_gb_per_s: float = Field(
        gt=0, le=1e6, description="Bandwidth of that memory, GB/s (10^9 bytes)."
    )
    fp16_tflops: float = Field(gt=0, le=1e6, description="Rate in 16 bits, TFLOP/s.")
    compute_capability: float = Field(
        default=0.0, ge=0, le=99, description="CUDA compute capability, such as 8.6; 0 for a CPU."
    )


class GpuGroupSpec(Schema):
    """Equal GPUs of one node."""

    type: Name = Field(description="GPU type as in `hetplan gpus`, or in own_gpus.")
    count: int = Field(default=1, ge=1, le=1024, description="How many there are.")
    price_usd_per_hour: Price | None = Field(
        default=None, description="Price of one GPU per hour; default: the catalogue's."
    )
    min_used: int = Field(default=0, ge=0, le=1024, description="GPUs that the plan must use.")
    max_used: int | None = Field(
        default=None, ge=0, le=1024, description="GPUs that the plan may use; default: all."
    )


class NodeSpec(Schema):
    """A machine with its GPUs."""

    name: Name = Field(description="Unique name of the node.")
    gpus: list[GpuGroupSpec] = Field(min_length=1, max_length=16, description="Its GPUs, by type.")
    price_usd_per_hour: Price | None = Field(
        default=None,
        description="Price of the whole node, charged as soon as one of its GPUs is used; default: "
        "its GPUs are rented one by one.",
    )
    link: LinkChoice | None = Field(
        default=None, description="Joins the GPUs of the node; default: that of the GPU type."
    )
    nic: LinkChoice | None = Field(
        default=None, description="Joins the node with others; default: `nic` of the cluster."
    )


class PairLinkSpec(Schema):
    """The link between two particular nodes."""

    between: list[Name] = Field(min_length=2, max_length=2, description="Names of the two nodes.")
    link: LinkChoice = Field(description="The link that joins them.")


class ClusterSpec(Schema):
    """Nodes and the network between them."""

    nodes: list[NodeSpec] = Field(min_length=1, max_length=256, description="The machines.")
    own_gpus: list[OwnGpuSpec] = Field(
        default=[], max_length=64, description="GPUs and CPUs that the catalogue lacks."
    )
    links: list[PairLinkSpec] = Field(
        default=[], max_length=1024, description="Links of particular pairs of nodes."
    )
    nic: LinkChoice = Field(
        default="ethernet-25g", description="Network card of nodes that state none."
    )
    tensor_parallel: list[Literal[1, 2, 4, 8]] = Field(
        default=[1, 2, 4, 8],
        min_length=1,
        max_length=4,
        description="Sizes of tensor-parallel groups that a stage may have.",
    )
