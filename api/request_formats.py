"""Formats, kernels and quality figures of a request, checked against engine and cluster."""

import re
from collections.abc import Iterator, Mapping, Sequence

from api.problems import ProblemList, pointer_to
from api.schemas.serving import EngineSpec, FormatsSpec
from profiles.cluster import Cluster, EngineSettings
from profiles.errors import InputError, unknown_name
from profiles.formats import Format, find_format
from profiles.gpus import NO_OWN_GPUS, Gpu, OwnGpus, find_gpu
from profiles.kernels import default_kernel, engines, find_kernel, formats_of
from profiles.units import GIB
from solver.build import FormatChoice

__all__ = ["engine_of", "formats_of_request"]

MIN_DEFAULT_BITS = 3
_LAYERS = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def engine_of(choice: str | EngineSpec, own_gpus: OwnGpus = NO_OWN_GPUS) -> EngineSettings:
    """
    The engine with its settings.

    Parameters
    ----------
    choice
        As in the request.
    own_gpus
        GPUs of the user's own that ``kernels`` may name.

    Raises
    ------
    InvalidRequestError
        When the engine, or a GPU, format or kernel in ``kernels``, is unknown.
    """
    if isinstance(choice, str):
        _check_engine(choice, "/engine")
        return EngineSettings(name=choice)
    _check_engine(choice.name, "/engine/name")
    problems = ProblemList()
    kernels: dict[tuple[str, str], str] = {}
    for gpu_name, by_format in choice.kernels.items():
        for format_name, kernel in by_format.items():
            pointer = pointer_to("engine", "kernels", gpu_name, format_name)
            with problems.catching(pointer):
                gpu = find_gpu(gpu_name, pointer_to("engine", "kernels", gpu_name), own_gpus)
                layer_format = find_format(format_name, pointer)
                found = find_kernel(choice.name, layer_format, gpu, kernel, pointer)
                kernels[gpu.name, layer_format.name] = found.kernel
    problems.raise_if_any()
    return EngineSettings(
        name=choice.name,
        memory_fraction=choice.memory_fraction,
        reserve_bytes=round(choice.reserve_gib * GIB),
        kv_bits=choice.kv_cache_bits,
        kernels=kernels,
    )


def _check_engine(name: str, pointer: str) -> None:
    if name not in engines():
        raise unknown_name("engine", name, engines(), pointer=pointer)


def _gpus(cluster: Cluster) -> dict[str, Gpu]:
    return {group.gpu.name: group.gpu for node in cluster.nodes for group in node.groups}


def formats_of_request(
    choice: Sequence[str] | FormatsSpec | None, engine: str, cluster: Cluster, num_layers: int
) -> FormatChoice:
    """
    The formats that a request allows.

    Raises
    ------
    InvalidRequestError
        When a format is unknown or no GPU of the cluster has a kernel for it, a GPU type is not in
        the cluster, or a range of layers is not one of the model's; all are listed.
    """
    spec = choice if isinstance(choice, FormatsSpec) else FormatsSpec()
    at = "/formats/default" if isinstance(choice, FormatsSpec) else "/formats"
    names = spec.default if choice is None or isinstance(choice, FormatsSpec) else list(choice)
    gpus = _gpus(cluster)
    problems = ProblemList()
    with problems.catching("/formats"):
        default = (
            tuple(_every_format(engine, gpus))
            if names is None
            else _runnable(names, engine, list(gpus.values()), at)
        )
    per_gpu = dict(_per_gpu(spec.per_gpu, engine, gpus, problems))
    per_layer = dict(_per_layer(spec.per_layer, engine, gpus, num_layers, problems))
    problems.raise_if_any()
    return FormatChoice(default=default, per_gpu=per_gpu, per_layer=per_layer)


def _every_format(engine: str, gpus: Mapping[str, Gpu]) -> Iterator[str]:
    """Formats of the engine from 3 bits up that some GPU of the cluster runs."""
    found = False
    for name in formats_of(engine):
        layer_format = find_format(name)
        runs = any(default_kernel(engine, layer_format, gpu) for gpu in gpus.values())
        if runs and layer_format.weight_bits >= MIN_DEFAULT_BITS:
            found = True
            yield name
    if not found:
        raise InputError(
            f"Engine {engine!r} has no kernel for any of {', '.join(gpus)}; choose another engine "
            f"({', '.join(engines())}) or other GPUs.",
            pointer="/cluster/nodes",
        )


def _runnable(
    names: Sequence[str], engine: str, gpus: Sequence[Gpu], pointer: str
) -> tuple[str, ...]:
    """The formats of these names; each must run on one of the GPUs."""
    problems = ProblemList()
    formats: list[Format] = []
    for position, name in enumerate(names):
        with problems.catching():
            layer_format = find_format(name, f"{pointer}/{position}")
            if not any(default_kernel(engine, layer_format, gpu) for gpu in gpus):
                has = [
                    known
                    for known in formats_of(engine)
                    if any(default_kernel(engine, find_format(known), gpu) for gpu in gpus)
                ]
                raise InputError(
                    f"Engine {engine!r} has no kernel for {layer_format.name} on "
                    f"{', '.join(gpu.name for gpu in gpus)}; it has {', '.join(has) or 'none'}.",
                    pointer=f"{pointer}/{position}",
                )
            formats.append(layer_format)
    problems.raise_if_any()
    return tuple(dict.fromkeys(layer_format.name for layer_format in formats))


def _per_gpu(
    choice: Mapping[str, Sequence[str]],
    engine: str,
    gpus: Mapping[str, Gpu],
    problems: ProblemList,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, formats in choice.items():
        pointer = pointer_to("formats", "per_gpu", name)
        with problems.catching(pointer):
            gpu = find_gpu(name, pointer, gpus)
            if gpu.name not in gpus:
                raise unknown_name("GPU in this cluster", name, list(gpus), pointer=pointer)
            yield gpu.name, _runnable(formats, engine, [gpu], pointer)


def _per_layer(
    choice: Mapping[str, Sequence[str]],
    engine: str,
    gpus: Mapping[str, Gpu],
    num_layers: int,
    problems: ProblemList,
) -> Iterator[tuple[int, tuple[str, ...]]]:
    taken: set[int] = set()
    for text, formats in choice.items():
        pointer = pointer_to("formats", "per_layer", text)
        with problems.catching(pointer):
            layers = _layers(text, num_layers, pointer)
            if taken.intersection(layers):
                raise InputError(
                    f"Layers {text} overlap with another range; name every layer once.",
                    pointer=pointer,
                )
            taken.update(layers)
            names = _runnable(formats, engine, list(gpus.values()), pointer)
            yield from ((layer, names) for layer in layers)


def _layers(text: str, num_layers: int, pointer: str) -> range:
    match = _LAYERS.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f'Layers {text[:40]!r} cannot be read; write "7" or "0-3".', pointer=pointer
        )
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if not first <= last < num_layers:
        raise InputError(
            f"Layers {text} are not a range within the model's, 0 to {num_layers - 1}.",
            pointer=pointer,
        )
    return range(first, last + 1)
