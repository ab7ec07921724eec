"""The catalogue of GPUs, and those of the user's own: what each can hold, move and compute."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from profiles.catalogue import look_up, optional_float, read_rows
from profiles.errors import InputError
from profiles.units import GB, GIB, TERA

__all__ = ["NO_OWN_GPUS", "Gpu", "OwnGpus", "find_gpu", "gpu_aliases", "load_gpus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """
    A type of GPU, by its datasheet.

    Parameters
    ----------
    name
        Unique within the catalogue.
    architecture
        NVIDIA's name of the generation.
    compute_capability
        Ten times the CUDA compute capability: 75 is sm75; 0 for what is no CUDA GPU.
    memory_bytes
        Memory that CUDA reports, which is less than the card's nominal size.
    memory_bytes_per_s
        Peak bandwidth of that memory.
    fp16_flops
        Peak dense FLOP/s in 16 bits, on tensor cores where there are any.
    int8_ops
        Peak dense operations per second in int8 on tensor cores; None without such cores.
    multiprocessors
        Streaming multiprocessors.
    link
        Name of the link that usually joins GPUs of this type inside a node.
    source
        Where the figures come from.
    """

    name: str
    architecture: str
    compute_capability: int
    memory_bytes: int
    memory_bytes_per_s: float
    fp16_flops: float
    int8_ops: float | None
    multiprocessors: int
    link: str
    source: str

    def __post_init__(self) -> None:
        """Refuse a GPU that could hold or do nothing."""
        for field in ("memory_bytes", "memory_bytes_per_s", "fp16_flops", "multiprocessors"):
            value = getattr(self, field)
            if not value > 0:
                raise InputError(f"{field} of GPU {self.name!r} is {value}; it must be positive.")


OwnGpus = Mapping[str, Gpu]
"""GPUs, or CPUs, of the user's own by name: they stand beside the catalogue."""
NO_OWN_GPUS: OwnGpus = MappingProxyType({})


def _gpu(row: Mapping[str, str]) -> Gpu:
    int8_tops = optional_float(row["int8_tops"])
    return Gpu(
        name=row["name"],
        architecture=row["architecture"],
        compute_capability=int(row["compute_capability"]),
        memory_bytes=round(float(row["memory_gib"]) * GIB),
        memory_bytes_per_s=float(row["memory_gb_per_s"]) * GB,
        fp16_flops=float(row["fp16_tflops"]) * TERA,
        int8_ops=None if int8_tops is None else int8_tops * TERA,
        multiprocessors=int(row["multiprocessors"]),
        link=row["link"],
        source=row["source"],
    )


@cache
def load_gpus() -> Mapping[str, Gpu]:
    """All GPUs of the catalogue by name."""
    return {row["name"]: _gpu(row) for row in read_rows("gpus.csv")}


@cache
def gpu_aliases() -> Mapping[str, str]:
    """Usual short names, in lower case, to names of the catalogue: ``a100`` is A100-40G-SXM."""
    rows = read_rows("gpus.csv")
    return {alias.lower(): row["name"] for row in rows for alias in row["aliases"].split()}


def find_gpu(name: str, pointer: str = "", own: OwnGpus = NO_OWN_GPUS) -> Gpu:
    """
    The GPU of this name or alias, whatever its case.

    Parameters
    ----------
    name, pointer
        What the user wrote, and where it stood.
    own
        Further GPUs, by their exact names.

    Raises
    ------
    InputError
        When there is no such GPU.
    """
    known = dict(load_gpus()) | dict(own)
    return look_up(known, gpu_aliases(), name, kind="GPU", pointer=pointer)
