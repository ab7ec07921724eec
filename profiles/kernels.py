"""Which kernels of which engine run a format on a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from profiles.catalogue import read_rows
from profiles.errors import InputError, unknown_name
from profiles.formats import Format
from profiles.gpus import Gpu

__all__ = [
    "Kernel",
    "default_kernel",
    "engines",
    "find_kernel",
    "formats_of",
    "kernels_for",
    "load_kernels",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """
    A kernel of an engine for one format, and the GPUs that can run it.

    Parameters
    ----------
    engine, format, kernel
        Names; a kernel may serve several formats and ranges of GPUs, one row each.
    min_capability, max_capability
        Compute capabilities, inclusive (75 is sm75); None means no upper end.
    priority
        1 is preferred among the kernels that can run.
    note, source
        What to know about it, and where that comes from.
    """

    engine: str
    format: str
    kernel: str
    min_capability: int
    max_capability: int | None
    priority: int
    note: str
    source: str

    def runs_on(self, gpu: Gpu) -> bool:
        """Whether the GPU's compute capability lies in the kernel's range."""
        at_most = self.max_capability is None or gpu.compute_capability <= self.max_capability
        return self.min_capability <= gpu.compute_capability and at_most


def _kernel(row: Mapping[str, str]) -> Kernel:
    return Kernel(
        engine=row["engine"],
        format=row["format"],
        kernel=row["kernel"],
        min_capability=int(row["min_capability"]),
        max_capability=int(row["max_capability"]) if row["max_capability"] else None,
        priority=int(row["priority"]),
        note=row["note"],
        source=row["source"],
    )


@cache
def load_kernels() -> tuple[Kernel, ...]:
    """All kernels, in the order of the catalogue."""
    return tuple(_kernel(row) for row in read_rows("kernels.csv"))


@cache
def engines() -> tuple[str, ...]:
    """Names of the engines, the default one first."""
    return tuple(dict.fromkeys(kernel.engine for kernel in load_kernels()))


def _of_engine(engine: str, pointer: str = "") -> list[Kernel]:
    if engine not in engines():
        raise unknown_name("engine", engine, engines(), pointer=pointer)
    return [kernel for kernel in load_kernels() if kernel.engine == engine]


def formats_of(engine: str, pointer: str = "") -> tuple[str, ...]:
    """Names of the formats an engine has kernels for, in the order of the catalogue."""
    return tuple(dict.fromkeys(kernel.format for kernel in _of_engine(engine, pointer)))


def kernels_for(engine: str, format: Format, gpu: Gpu) -> tuple[Kernel, ...]:  # noqa: A002
    """
    Kernels of an engine that run a format on a GPU, the preferred one first.

    Raises
    ------
    InputError
        When there is no such engine.
    """
    kernels = _of_engine(engine)
    fitting = [k for k in kernels if k.format == format.name and k.runs_on(gpu)]
    return tuple(sorted(fitting, key=lambda kernel: kernel.priority))


def default_kernel(engine: str, format: Format, gpu: Gpu) -> Kernel | None:  # noqa: A002
    """The kernel an engine uses for a format on a GPU; None when it has none."""
    return next(iter(kernels_for(engine, format, gpu)), None)


def find_kernel(
    engine: str,
    format: Format,  # noqa: A002
    gpu: Gpu,
    name: str,
    pointer: str = "",
) -> Kernel:
    """
    The kernel of this name for a format on a GPU.

    Raises
    ------
    InputError
        When the engine has no such kernel there; the text lists those it has.
    """
    fitting = kernels_for(engine, format, gpu)
    for kernel in fitting:
        if kernel.kernel == name:
            return kernel
    has = ", ".join(kernel.kernel for kernel in fitting) or "none"
    raise InputError(
        f"{engine} has no kernel {name!r} for {format.name} on {gpu.name} "
        f"(sm{gpu.compute_capability}); it has: {has}.",
        pointer=pointer,
    )
