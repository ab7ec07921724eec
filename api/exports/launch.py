"""A launch: what runs on which node, and the shell scripts that say so."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from api.exports.checkpoints import Checkpoint
from api.exports.given import LaunchStage

__all__ = ["CHECKPOINT", "HEAD_ADDRESS", "KvCache", "Launch", "NodeLaunch", "script", "script_name"]

CHECKPOINT, HEAD_ADDRESS = "$CHECKPOINT", "$HEAD_ADDRESS"
"""Words of a command that stand for a variable of the script."""

_MODEL_NAME = "served-model-name"
_VARIABLES = (CHECKPOINT, HEAD_ADDRESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLaunch:
    """
    What runs on a node.

    Parameters
    ----------
    name
        Of the node.
    stages
        The stages on it, in pipeline order.
    environment
        Variables of the commands.
    commands
        One after the other, each as its words; the last one keeps running.
    """

    name: str
    stages: tuple[LaunchStage, ...]
    environment: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCache:
    """
    How many requests at full length fit at once: the least over the stages.

    Parameters
    ----------
    stage
        Number of the stage that sets it, from 1.
    fits, needed
        Requests that fit there, and those of the plan's batch.
    """

    stage: int
    fits: int
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """
    Everything that starts a plan on an engine.

    Parameters
    ----------
    nodes
        In the order in which they are started; the first one answers requests.
    checkpoint
        The weights that it loads.
    settings
        What the plan became, by name of the engine's option.
    kv_cache
        What it holds.
    warnings
        What to know before running it.
    """

    nodes: tuple[NodeLaunch, ...]
    checkpoint: Checkpoint
    settings: Mapping[str, str | int | float]
    kv_cache: KvCache
    warnings: tuple[str, ...] = field(default=())


def script_name(position: int, launch: Launch) -> str:
    """File name of the script of a node."""
    return "launch.sh" if len(launch.nodes) == 1 else f"launch-{position}.sh"


def script(launch: Launch, position: int, title: str) -> str:
    """
    The bash script that starts a node.

    Parameters
    ----------
    launch
        The whole launch.
    position
        Of the node among its nodes, from 0.
    title
        One line on what is launched.
    """
    return "\n".join(_lines(launch, position, title)) + "\n"


def _lines(launch: Launch, position: int, title: str) -> Iterator[str]:
    node = launch.nodes[position]
    yield "#!/usr/bin/env bash"
    yield _comment(title)
    yield _comment(f"Node {position + 1} of {len(launch.nodes)}: {node.name}.")
    yield from map(_comment, _stage_lines(node.stages))
    yield _comment(launch.checkpoint.text)
    yield "set -euo pipefail"
    words = {word for command in node.commands for word in command}
    if CHECKPOINT in words:
        yield _checkpoint_line(launch)
    if any(HEAD_ADDRESS in word for word in words):
        head = shlex.quote(f"set it to the address of node {launch.nodes[0].name}")
        yield f": ${{HEAD_ADDRESS:?{head}}}"
    for name, value in node.environment.items():
        yield f"export {name}={shlex.quote(value)}"
    *first, last = node.commands
    yield from map(_command, first)
    yield f'exec {_command(last)} \\\n  "$@"'


def _checkpoint_line(launch: Launch) -> str:
    if launch.checkpoint.folder:
        return f"CHECKPOINT=${{CHECKPOINT:-{shlex.quote(launch.checkpoint.folder)}}}"
    wanted = shlex.quote(f"set it to the folder or repository of {launch.settings[_MODEL_NAME]}")
    return f": ${{CHECKPOINT:?{wanted}}}"


def _stage_lines(stages: Sequence[LaunchStage]) -> Iterator[str]:
    for stage in stages:
        last = stage.first_layer + len(stage.formats) - 1
        yield (
            f"Stage {stage.number}: layers {stage.first_layer}-{last} on {stage.gpu.name} "
            f"#{','.join(map(str, stage.gpu_numbers))} = CUDA device "
            f"{','.join(map(str, stage.devices))} of nvidia-smi's list."
        )


def _comment(text: str) -> str:
    return "# " + " ".join(text.split())


def _command(words: Sequence[str]) -> str:
    """A command with every long option on a line of its own."""
    return " ".join(
        f"\\\n  {_quoted(word)}" if word.startswith("--") else _quoted(word) for word in words
    )


def _quoted(word: str) -> str:
    """A word for the shell: variables stay what they are, all else is quoted."""
    for variable in _VARIABLES:
        if word.startswith(variable):
            return f'"{variable}"{shlex.quote(word[len(variable) :])}'.removesuffix("''")
    return shlex.quote(word)
