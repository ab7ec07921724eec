"""
Changes to a problem that may be worth their price, and changes that may cost nothing.

A change that gives (GPUs, memory, bandwidth, formats, room within a limit) keeps every plan and
makes none worse; several together therefore gain at least what each gains alone, so that a bound
on all of them bounds each. A change that takes keeps no plan that was not there before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import combinations
from math import expm1, log1p
from typing import Any

import numpy as np

from profiles.errors import InputError
from profiles.units import GIB
from solver.check import evaluate
from solver.objective import Limits
from solver.problem import AXES, BoolArray, FloatArray, PipelineProblem
from solver.result import Evaluation, Plan

__all__ = [
    "Change",
    "ChangeKind",
    "Question",
    "allow_format",
    "carry_over",
    "device_keys",
    "gpus_used",
    "one_more_gpu",
    "possible_changes",
    "possible_returns",
    "possible_uses",
]

_MORE = 1.1
"""Limits on times and price are loosened by a tenth."""
_POINTS = 0.005
"""The limit on quality by half a percentage point of perplexity."""
_MOST_PAIRS = 6
_LOOSER = {
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "latency_s": "latency",
    "price_usd_per_hour": "price",
}


class ChangeKind(StrEnum):
    """What a change gives, or takes."""

    MORE_GPUS = "more_gpus"
    MORE_MEMORY = "more_memory"
    FASTER_LINK = "faster_link"
    MORE_FORMATS = "more_formats"
    LOOSER_LIMIT = "looser_limit"
    FEWER_GPUS = "fewer_gpus"
    FORCED_GPUS = "forced_gpus"

    @property
    def takes(self) -> bool:
        """Whether the change can only lose."""
        return self in (ChangeKind.FEWER_GPUS, ChangeKind.FORCED_GPUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A problem and what its plans must keep to."""

    problem: PipelineProblem
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """
    One change.

    Parameters
    ----------
    kind, subject
        What changes: a device class, a GPU type, two nodes, a format, the name of a limit.
    text
        For people.
    edit
        The question, changed.
    count
        GPUs given or taken; 0 where the change is of another kind.
    is_alone
        Whether it cannot be made together with others.
    """

    kind: ChangeKind
    subject: str
    text: str
    edit: Callable[[Question], Question]
    count: int = 0
    is_alone: bool = False


def possible_changes(
    problem: PipelineProblem, limits: Limits, gpu_names: Sequence[str] | None = None
) -> tuple[Change, ...]:
    """
    What may be gained: a GPU, a GiB, a faster network, a format, a looser limit.

    Parameters
    ----------
    problem, limits
        What was solved.
    gpu_names
        GPU type of every device class, for memory by type; None takes every class by itself.
    """
    names = [device.name for device in problem.devices] if gpu_names is None else gpu_names
    return (
        *(one_more_gpu(problem, device) for device in range(len(problem.devices))),
        *_more_memory(names),
        *_faster_links(problem),
        *_formats_everywhere(problem),
        *_looser_limits(problem, limits),
    )


def possible_returns(problem: PipelineProblem, evaluation: Evaluation) -> tuple[Change, ...]:
    """
    GPUs that a plan might do without: all that it leaves free, and else one of each class.

    Classes of which the request asks for more than would be left are passed over.
    """
    found = []
    for index, (device, used) in enumerate(
        zip(problem.devices, gpus_used(problem, evaluation), strict=True)
    ):
        fewer = device.count - used or 1
        if device.min_used <= device.count - fewer:
            gpus = "1 GPU" if fewer == 1 else f"{fewer} GPUs"
            found.append(
                Change(
                    kind=ChangeKind.FEWER_GPUS,
                    subject=device.name,
                    text=f"{gpus} fewer of {device.name}",
                    edit=partial(_fewer_gpus, device=index, fewer=fewer),
                    count=fewer,
                )
            )
    return tuple(found)


def possible_uses(problem: PipelineProblem, evaluation: Evaluation) -> tuple[Change, ...]:
    """One GPU forced in of every class that a plan leaves out although it could hold layers."""
    return tuple(
        Change(
            kind=ChangeKind.FORCED_GPUS,
            subject=device.name,
            text=f"1 GPU of {device.name} forced in",
            edit=partial(_force, device=index, least=1),
            count=1,
        )
        for index, (device, used) in enumerate(
            zip(problem.devices, gpus_used(problem, evaluation), strict=True)
        )
        if not used and _runs_layers(problem, index)
    )


def _runs_layers(problem: PipelineProblem, device: int) -> bool:
    groups = [index for index, group in enumerate(problem.groups) if group.device == device]
    return bool(problem.group_formats[groups].any())


def gpus_used(problem: PipelineProblem, evaluation: Evaluation) -> list[int]:
    """GPUs that a plan uses of every device class."""
    used = [0] * len(problem.devices)
    for stage in evaluation.stages:
        used[stage.device] += stage.tensor_parallel
    return used


def carry_over(plan: Plan, before: PipelineProblem, after: PipelineProblem) -> Plan | None:
    """The plan of one problem as a plan of another; None where it does not fit."""
    groups = {key: index for index, key in enumerate(_group_keys(after))}
    old = _group_keys(before)
    formats = [_index(name, after.format_names) for name in before.format_names]
    try:
        stages = tuple(
            replace(
                stage,
                group=groups[old[stage.group]],
                formats=tuple(formats[f] for f in stage.formats),
            )
            for stage in plan.stages
        )
        carried = replace(plan, stages=stages)
        evaluate(after, carried)
    except (KeyError, InputError):
        return None
    return carried


def _index(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else -1


def device_keys(problem: PipelineProblem) -> list[tuple[str, int]]:
    """Every device class by name, and which of that name: the same in changed problems."""
    names = [device.name for device in problem.devices]
    return [(name, names[:index].count(name)) for index, name in enumerate(names)]


def _group_keys(problem: PipelineProblem) -> list[tuple[tuple[str, int], int]]:
    """Every stage group by its device class and its GPUs."""
    keys = device_keys(problem)
    return [(keys[group.device], group.tensor_parallel) for group in problem.groups]


# -- what may be given --------------------------------------------------------------------------


def one_more_gpu(
    problem: PipelineProblem, device: int, wider: PipelineProblem | None = None
) -> Change:
    """
    One more GPU of a device class.

    Parameters
    ----------
    problem, device
        The problem, and the index of the class.
    wider
        The changed problem where it has stage groups that this one lacks.
    """
    name = problem.devices[device].name
    edit = partial(_more_gpus, device=device) if wider is None else partial(_other, problem=wider)
    return Change(
        kind=ChangeKind.MORE_GPUS,
        subject=name,
        text=f"1 GPU more of {name}",
        edit=edit,
        count=1,
        is_alone=wider is not None,
    )


def allow_format(name: str, index: int, layers: BoolArray, groups: BoolArray) -> Change:
    """
    A format allowed.

    Parameters
    ----------
    name, index
        The format.
    layers, groups
        Shapes (L,) and (G,): where it is then allowed.
    """
    return Change(
        kind=ChangeKind.MORE_FORMATS,
        subject=name,
        text=f"format {name} allowed",
        edit=partial(_allow, index=index, layers=layers, groups=groups),
    )


def _more_memory(names: Sequence[str]) -> Iterator[Change]:
    for name in dict.fromkeys(names):
        devices = tuple(index for index, each in enumerate(names) if each == name)
        yield Change(
            kind=ChangeKind.MORE_MEMORY,
            subject=name,
            text=f"1 GiB more on every {name}",
            edit=partial(_memory, devices=devices),
        )


def _faster_links(problem: PipelineProblem) -> Iterator[Change]:
    """The network between all nodes; between two nodes, where there are several but few pairs."""
    pairs = list(combinations(range(len(problem.node_names)), 2))
    if not pairs:
        return
    yield Change(
        kind=ChangeKind.FASTER_LINK,
        subject="network",
        text="network between nodes 2x as fast",
        edit=partial(_faster, pairs=pairs),
    )
    for u, v in pairs if 1 < len(pairs) <= _MOST_PAIRS else ():
        names = f"{problem.node_names[u]} - {problem.node_names[v]}"
        yield Change(
            kind=ChangeKind.FASTER_LINK,
            subject=names,
            text=f"link {names} 2x as fast",
            edit=partial(_faster, pairs=[(u, v)]),
        )


def _formats_everywhere(problem: PipelineProblem) -> Iterator[Change]:
    """Formats that some layers may not take, although they may elsewhere."""
    everywhere = np.ones(problem.num_layers, dtype=bool)
    for index, name in enumerate(problem.format_names):
        some, groups = problem.layer_formats[:, index], problem.group_formats[:, index]
        if some.any() and not some.all() and groups.any():
            yield replace(
                allow_format(name, index, everywhere, groups),
                text=f"format {name} allowed for every layer",
            )


def _looser_limits(problem: PipelineProblem, limits: Limits) -> Iterator[Change]:
    def looser(name: str, value: float, text: str) -> Change:
        return Change(
            kind=ChangeKind.LOOSER_LIMIT,
            subject=name,
            text=text,
            edit=partial(_loosen, name=name, value=value),
        )

    for name, words in _LOOSER.items():
        if (asked := getattr(limits, name)) is not None:
            yield looser(name, asked * _MORE, f"limit on {words} 10 % looser")
    if limits.loss_nats is not None:
        nats = log1p(expm1(limits.loss_nats) + _POINTS)
        yield looser("loss_nats", nats, "0.5 points more perplexity allowed")
    for name, words in (("gpus", "1 GPU more"), ("stages", "1 stage more")):
        if (most := getattr(limits, name)) is not None:
            yield looser(name, most + 1, f"{words} allowed")
    if limits.min_stages > 1:
        yield looser("min_stages", limits.min_stages - 1, "1 stage fewer asked for")
    for index, device in enumerate(problem.devices):
        if device.min_used:
            yield Change(
                kind=ChangeKind.LOOSER_LIMIT,
                subject="min_used",
                text=f"no GPU of {device.name} forced",
                edit=partial(_force, device=index, least=0),
            )


# -- edits --------------------------------------------------------------------------------------


def _edit_device(question: Question, index: int, **changes: float) -> Question:
    devices = list(question.problem.devices)
    devices[index] = replace(devices[index], **changes)  # type: ignore[arg-type]
    return replace(question, problem=replace(question.problem, devices=tuple(devices)))


def _other(question: Question, *, problem: PipelineProblem) -> Question:
    return replace(question, problem=problem)


def _more_gpus(question: Question, *, device: int) -> Question:
    return _edit_device(question, device, count=question.problem.devices[device].count + 1)


def _fewer_gpus(question: Question, *, device: int, fewer: int) -> Question:
    """Fewer GPUs, and only the stage groups that they can form; the last one is shut off."""
    problem = question.problem
    left = problem.devices[device].count - fewer
    is_of = np.array([group.device == device for group in problem.groups])
    sizes = np.array([group.tensor_parallel for group in problem.groups])
    if not left or not (~is_of | (sizes <= left)).any():
        formats = problem.group_formats & ~is_of[:, None]
        return replace(question, problem=replace(problem, group_formats=formats))
    kept = np.flatnonzero(~is_of | (sizes <= left))
    arrays = {name: getattr(problem, name)[kept] for name in _of_groups()}
    smaller = replace(problem, groups=tuple(problem.groups[g] for g in kept), **arrays)
    return _edit_device(replace(question, problem=smaller), device, count=left)


def _of_groups() -> Iterator[str]:
    """Arrays of a problem whose first axis runs over stage groups."""
    return (name for name, axes in AXES.items() if axes.startswith("G"))


def _memory(question: Question, *, devices: Sequence[int]) -> Question:
    for device in devices:
        room = question.problem.devices[device].memory_bytes + GIB
        question = _edit_device(question, device, memory_bytes=room)
    return question


def _faster(question: Question, *, pairs: Sequence[tuple[int, int]]) -> Question:
    """Half the time that a transfer keeps its link busy; latency stays."""
    problem, arrays = question.problem, dict[str, Any]()
    rows, columns = np.array([(u, v) for pair in pairs for u, v in (pair, pair[::-1])]).T
    for phase in ("prefill", "decode", "return"):
        link = getattr(problem, f"{phase}_link_s").copy()
        busy = getattr(problem, f"{phase}_occupancy_s").copy()
        link[rows, columns] -= _moving(link[rows, columns], busy[rows, columns]) / 2
        busy[rows, columns] /= 2
        arrays |= {f"{phase}_link_s": link, f"{phase}_occupancy_s": busy}
    return replace(question, problem=replace(problem, **arrays))


def _moving(link: FloatArray, busy: FloatArray) -> FloatArray:
    """Seconds of a transfer that bandwidth shortens; all of them where occupancy is not stated."""
    return np.where(busy > 0, np.minimum(busy, link), link)


def _allow(question: Question, *, index: int, layers: BoolArray, groups: BoolArray) -> Question:
    problem = question.problem
    by_layer, by_group = problem.layer_formats.copy(), problem.group_formats.copy()
    by_layer[:, index], by_group[:, index] = layers, groups
    allowed = replace(problem, layer_formats=by_layer, group_formats=by_group)
    return replace(question, problem=allowed)


def _loosen(question: Question, *, name: str, value: float) -> Question:
    return replace(question, limits=question.limits.but(name, value))


def _force(question: Question, *, device: int, least: int) -> Question:
    return _edit_device(question, device, min_used=least)
