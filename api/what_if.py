"""The what-if questions of a request: changes that need its catalogues, beside the solver's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from api.prepared import Asked
from profiles.cluster import Cluster
from profiles.formats import find_format
from profiles.kernels import default_kernel, formats_of
from solver import (
    BuiltProblem,
    Change,
    ChangeKind,
    FormatChoice,
    Limits,
    PipelineProblem,
    allow_format,
    device_keys,
    one_more_gpu,
    possible_changes,
)
from solver.problem import BoolArray

__all__ = ["Maker", "catalogue_questions"]

Build = Callable[[Cluster, FormatChoice], BuiltProblem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """
    How a request's problem is made.

    Parameters
    ----------
    engine, cluster, formats
        What it is made of.
    known_formats
        Formats with a quality loss; None where that of any format is known.
    build
        Makes the problem of another cluster and of other formats.

    Raises
    ------
    InputError
        By ``build``, where what-if makes the problem too large.
    """

    engine: str
    cluster: Cluster
    formats: FormatChoice
    known_formats: frozenset[str] | None
    build: Build


def catalogue_questions(maker: Maker, built: BuiltProblem, limits: Limits) -> Asked:
    """
    What to ask of a problem from the catalogues.

    Formats that the request does not allow are made part of the problem, and shut off until a
    change allows them; one more GPU may open a tensor-parallel size, which is a problem of its own.

    Parameters
    ----------
    maker, built, limits
        The problem, its making and its limits.
    """
    wide_formats = FormatChoice(default=(*maker.formats.names, *_others(maker)))
    wide = maker.build(maker.cluster, wide_formats)
    problem = _masked(wide.problem, built.problem)
    changes = [
        _with_new_sizes(change, maker, wide_formats, problem, built.problem)
        for change in possible_changes(problem, limits, wide.gpu_names)
        if change.kind is not ChangeKind.MORE_FORMATS
    ]
    return Asked(problem=problem, changes=(*changes, *_formats(wide.problem, problem)))


def _others(maker: Maker) -> Iterator[str]:
    """Formats that the engine runs on some GPU of the cluster and the request does not name."""
    gpus = [group.gpu for node in maker.cluster.nodes for group in node.groups]
    for name in formats_of(maker.engine):
        runs = any(default_kernel(maker.engine, find_format(name), gpu) for gpu in gpus)
        is_known = maker.known_formats is None or name in maker.known_formats
        if runs and is_known and name not in maker.formats.names:
            yield name


def _masked(wide: PipelineProblem, narrow: PipelineProblem) -> PipelineProblem:
    """The wide problem with the formats of the narrow one alone, which are its first."""
    num_formats = len(narrow.format_names)
    allowed: dict[tuple[str, int], BoolArray] = {}
    keys = device_keys(narrow)
    for group, formats in zip(narrow.groups, narrow.group_formats, strict=True):
        key = keys[group.device]
        allowed[key] = allowed.get(key, np.zeros(num_formats, dtype=bool)) | formats
    by_layer = np.zeros_like(wide.layer_formats)
    by_layer[:, :num_formats] = narrow.layer_formats
    by_group = np.zeros_like(wide.group_formats)
    keys = device_keys(wide)
    for index, group in enumerate(wide.groups):
        own = allowed.get(keys[group.device])
        if own is not None:
            by_group[index, :num_formats] = wide.group_formats[index, :num_formats] & own
    return replace(wide, layer_formats=by_layer, group_formats=by_group)


def _formats(wide: PipelineProblem, problem: PipelineProblem) -> Iterator[Change]:
    """Formats that the wide problem has in more places than the other."""
    everywhere = np.ones(wide.num_layers, dtype=bool)
    for index, name in enumerate(wide.format_names):
        groups = wide.group_formats[:, index]
        more_groups = groups & ~problem.group_formats[:, index]
        if more_groups.any() or (groups.any() and not problem.layer_formats[:, index].all()):
            change = allow_format(name, index, everywhere, groups)
            is_new = not problem.layer_formats[:, index].any()
            yield change if is_new else replace(change, text=f"{change.text} everywhere")


def _with_new_sizes(
    change: Change,
    maker: Maker,
    formats: FormatChoice,
    problem: PipelineProblem,
    narrow: PipelineProblem,
) -> Change:
    """One more GPU with the tensor-parallel size that it opens, if any; other changes as is."""
    if change.kind is not ChangeKind.MORE_GPUS:
        return change
    names = [device.name for device in problem.devices]
    device = names.index(change.subject)
    count = problem.devices[device].count + 1
    if count not in maker.cluster.tensor_parallel or names.count(change.subject) > 1:
        return change
    larger = maker.build(_with_one_more(maker.cluster, change.subject), formats)
    return one_more_gpu(problem, device, _masked(larger.problem, narrow))


def _with_one_more(cluster: Cluster, subject: str) -> Cluster:
    """The cluster with one more GPU that may be used in the group of this name."""
    nodes = tuple(
        replace(
            node,
            groups=tuple(
                replace(group, count=group.usable + 1, max_used=None)
                if f"{node.name}/{group.gpu.name}" == subject
                else group
                for group in node.groups
            ),
        )
        for node in cluster.nodes
    )
    return replace(cluster, nodes=nodes)
