"""An export: the plan to launch, and what launches it."""

from typing import Literal

from pydantic import Field

from api.schemas.answer import RequestSummary, Versions
from api.schemas.base import Schema
from api.schemas.plan import GivenPlan, PlanSpec
from api.schemas.request import AnyRequest

__all__ = [
    "CheckpointReport",
    "ExportAnswer",
    "ExportRequest",
    "GpuPlace",
    "KvCacheReport",
    "NodeLaunchReport",
]

EngineName = Literal["vllm"]


class ExportRequest(Schema):
    """A plan to be launched."""

    request: AnyRequest = Field(description="The request, as for a plan.")
    plan: GivenPlan = Field(description="The plan, as an answer gives it or as written by hand.")
    engine: EngineName = Field(default="vllm", description="The engine that is to run it.")


class GpuPlace(Schema):
    """A GPU of a node."""

    stage: int = Field(description="The stage that it runs, from 1.")
    gpu: str = Field(description="GPU type.")
    gpu_number: int = Field(description="Which GPU of that type on the node, from 0.")
    device: int = Field(
        description="Which of all GPUs of the node, from 0, as the request lists them."
    )


class NodeLaunchReport(Schema):
    """What runs on a node."""

    node: str = Field(description="Name of the node.")
    gpus: list[GpuPlace] = Field(description="Its GPUs, in pipeline order.")
    environment: dict[str, str] = Field(description="Variables of the commands.")
    commands: list[list[str]] = Field(
        description="One after the other, each as its words; $CHECKPOINT and $HEAD_ADDRESS (the "
        "first node's address) are for the user to fill in."
    )


class CheckpointReport(Schema):
    """The weights that the engine loads."""

    kind: str = Field(description="`published` or `compressed-tensors`.")
    folder: str = Field(
        description="Where it is: a repository, or the folder to make; "
        "empty where the model's repository is not known."
    )
    text: str = Field(description="What it is, and how it is made.")


class KvCacheReport(Schema):
    """Requests at full length whose keys and values fit at once; the least over the stages."""

    stage: int = Field(description="The stage that sets it, from 1.")
    fits_requests: int = Field(description="How many fit, by hetplan's estimate of memory.")
    needed_requests: int = Field(description="The plan's batch.")


class ExportAnswer(Schema):
    """The answer to a request for an export."""

    kind: Literal["export"] = Field(default="export", description="Marks this form.")
    engine: EngineName = Field(description="The engine.")
    request: RequestSummary = Field(description="What was asked.")
    plan: PlanSpec = Field(description="The plan.")
    settings: dict[str, str | int | float] = Field(description="Options of the engine, by name.")
    nodes: list[NodeLaunchReport] = Field(description="In the order in which they start.")
    checkpoint: CheckpointReport = Field(description="The weights.")
    kv_cache: KvCacheReport = Field(description="What the KV cache holds.")
    files: dict[str, str] = Field(
        description="Text by file name: a bash script per node, and the recipe of the checkpoint."
    )
    versions: Versions = Field(description="Versions behind the answer.")
    warnings: list[str] = Field(description="What to know before running it.")
