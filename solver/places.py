"""Which GPUs of a cluster can run which formats: from names to device classes and stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cost_model.latency import tp_allowed
from cost_model.stages import StageType
from profiles.architecture import Model
from profiles.cluster import Cluster, EngineSettings, GpuGroup
from profiles.errors import InputError
from profiles.formats import Format, find_format
from profiles.kernels import Kernel, default_kernel, find_kernel
from solver.problem import BoolArray, DeviceClass

__all__ = ["FormatChoice", "Place", "find_places", "layer_formats", "stage_types"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatChoice:
    """
    Formats that layers may take, by name.

    Parameters
    ----------
    default
        For every layer and GPU.
    per_gpu
        Instead of the default on GPUs of this type.
    per_layer
        Instead of the default for this layer (from 0); the GPU must allow the format too.
    """

    default: tuple[str, ...]
    per_gpu: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    per_layer: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every format that may be used anywhere, in order of first mention."""
        exceptions = (*self.per_gpu.values(), *self.per_layer.values())
        return tuple(dict.fromkeys((*self.default, *(name for e in exceptions for name in e))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Equal GPUs of a node that run at least one format, and the kernels that do."""

    node: int
    group: GpuGroup
    kernels: Mapping[str, Kernel]

    def device(self, cluster: Cluster, engine: EngineSettings) -> DeviceClass:
        """The device class, with the memory that the engine leaves to a plan."""
        node, gpu = cluster.nodes[self.node], self.group.gpu
        memory = engine.memory_fraction * gpu.memory_bytes - engine.reserve_bytes
        price = None if node.price_usd_per_hour is not None else self.group.price_usd_per_hour
        return DeviceClass(
            name=f"{node.name}/{gpu.name}",
            node=self.node,
            count=self.group.usable,
            memory_bytes=max(memory, 0.0),
            price_usd_per_hour=price or 0.0,
            min_used=self.group.min_used,
        )


def find_places(
    cluster: Cluster, engine: EngineSettings, choice: FormatChoice
) -> tuple[list[Place], list[str]]:
    """
    Device classes that can run something, and a warning for each that cannot.

    Raises
    ------
    InputError
        When there is none, or one that must be used can run nothing.
    """
    places, warnings = [], []
    for index, node in enumerate(cluster.nodes):
        for group in node.groups:
            kernels = _kernels(engine, choice, group)
            names = ", ".join(_names(choice, group))
            if kernels and group.usable:
                places.append(Place(node=index, group=group, kernels=kernels))
            elif group.min_used:
                raise InputError(
                    f"{group.min_used} of {node.name}/{group.gpu.name} must be used, but "
                    f"{engine.name} has no kernel there for {names}; drop min_used or allow "
                    "other formats.",
                    pointer=f"/cluster/nodes/{index}",
                )
            elif group.usable:
                warnings.append(
                    f"{engine.name} has no kernel for {names} on {group.gpu.name}, which stays "
                    "unused."
                )
    if not places:
        raise InputError(
            f"No GPU of the cluster can run any of the formats {', '.join(choice.names)} with "
            f"{engine.name}; allow other formats, GPUs or another engine.",
            pointer="/formats",
        )
    return places, warnings


def _names(choice: FormatChoice, group: GpuGroup) -> tuple[str, ...]:
    """Formats that layers may take on a GPU, those given for single layers included."""
    own = choice.per_gpu.get(group.gpu.name)
    if own is not None:
        return own
    single = (name for names in choice.per_layer.values() for name in names)
    return tuple(dict.fromkeys((*choice.default, *single)))


def _kernels(engine: EngineSettings, choice: FormatChoice, group: GpuGroup) -> dict[str, Kernel]:
    found = {}
    for name in _names(choice, group):
        layer_format = find_format(name)
        wanted = engine.kernels.get((group.gpu.name, name))
        kernel = (
            default_kernel(engine.name, layer_format, group.gpu)
            if wanted is None
            else find_kernel(engine.name, layer_format, group.gpu, wanted, "/engine/kernels")
        )
        if kernel is not None:
            found[name] = kernel
    return found


def stage_types(
    model: Model, cluster: Cluster, formats: tuple[Format, ...], places: list[Place]
) -> list[tuple[int, StageType]]:
    """Every stage that some GPUs of a place can form, with the index of the place."""
    stages = []
    for index, place in enumerate(places):
        for tp in cluster.tensor_parallel:
            allowed = _formats_of(model, formats, place, tp)
            if tp <= place.group.usable and allowed.any():
                stage = StageType(
                    gpu=place.group.gpu,
                    tp=tp,
                    link=cluster.nodes[place.node].link,
                    kernels=place.kernels,
                    formats=allowed,
                )
                stages.append((index, stage))
    return stages


def _formats_of(model: Model, formats: tuple[Format, ...], place: Place, tp: int) -> BoolArray:
    """Shape (F,): formats with a kernel that every kind of layer can be split in."""
    return np.array(
        [
            f.name in place.kernels and all(tp_allowed(kind, f, tp) for kind in model.kinds)
            for f in formats
        ]
    )


def layer_formats(choice: FormatChoice, num_layers: int) -> BoolArray:
    """Shape (L, F): a layer's own formats, or any that some GPU may run; see `stage_types`."""
    per_gpu = (name for names in choice.per_gpu.values() for name in names)
    anywhere = (*choice.default, *per_gpu)
    return np.array(
        [
            [name in choice.per_layer.get(layer, anywhere) for name in choice.names]
            for layer in range(num_layers)
        ]
    )
