"""
Which node starts which stages of a vLLM pipeline, and by which executor.

vLLM numbers its workers pipeline stage by pipeline stage, tensor-parallel group inside. Who runs
them (vllm/v1/executor and vllm/config/parallel.py, 2026):

- one node: worker i takes device i of CUDA_VISIBLE_DEVICES, whose order is ours (issue 21061);
- several nodes with equally many GPUs: ``--nnodes`` and ``--node-rank``, node by node (PR 23691);
- otherwise Ray (PR 36836), which takes the node that serves first and the others by ids of Ray's
  own making, so that only one other can be told its place; on a node, devices by number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from api.exports.given import LaunchStage
from api.problems import ProblemList

__all__ = ["Executor", "NodePlace", "Placement", "placement_of"]


class Executor(StrEnum):
    """What starts the workers."""

    ONE = "uni"
    MULTIPROCESSING = "mp"
    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """The consecutive stages on a node."""

    name: str
    stages: tuple[LaunchStage, ...]

    @property
    def devices(self) -> tuple[int, ...]:
        """Numbers of its GPUs in pipeline order."""
        return tuple(device for stage in self.stages for device in stage.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Nodes in pipeline order, and the executor that keeps this order."""

    nodes: tuple[NodePlace, ...]
    executor: Executor


def placement_of(stages: Sequence[LaunchStage], problems: ProblemList) -> Placement:
    """Where the stages start; an order that vLLM cannot keep is noted in ``problems``."""
    runs = [(name, tuple(run)) for name, run in groupby(stages, key=lambda stage: stage.node)]
    nodes = tuple(NodePlace(name=name, stages=run) for name, run in runs)
    counts = [len(node.devices) for node in nodes]
    if sum(counts) == 1:
        return Placement(nodes=nodes, executor=Executor.ONE)
    is_even = len(set(counts)) == 1
    for text, stage in [*_returns(nodes)] or ([] if is_even else _resorted(nodes)):
        problems.add(stage.pointer, text)
    executor = Executor.MULTIPROCESSING if is_even else Executor.RAY
    return Placement(nodes=nodes, executor=executor)


def _returns(nodes: Sequence[NodePlace]) -> Iterator[tuple[str, LaunchStage]]:
    """Stages on a node that the pipeline has left before."""
    left: set[str] = set()
    for node in nodes:
        if node.name in left:
            stage = node.stages[0]
            text = (
                f"Stage {stage.number} is on node {node.name!r} again, after a stage elsewhere; "
                "vLLM numbers all GPUs of a node in a row. Give the node consecutive stages, or "
                "leave it or the nodes between out."
            )
            yield text, stage
        left.add(node.name)


def _resorted(nodes: Sequence[NodePlace]) -> Iterator[tuple[str, LaunchStage]]:
    """What Ray would put into another order."""
    if len(nodes) > 2:
        counts = ", ".join(f"{node.name!r} {len(node.devices)}" for node in nodes)
        text = (
            f"The nodes have different numbers of GPUs in the plan ({counts}): vLLM starts these "
            "by Ray, which puts all nodes after the first into an order of its own. Use two "
            "nodes, or as many GPUs on each."
        )
        yield text, nodes[1].stages[0]
    for node in nodes:
        if list(node.devices) != sorted(node.devices):
            text = (
                f"On node {node.name!r} the pipeline takes GPUs {', '.join(map(str, node.devices))}"
                " in this order; vLLM on Ray sorts the GPUs of a node by number. Order the stages "
                "so, or use as many GPUs on each node."
            )
            yield text, node.stages[0]
