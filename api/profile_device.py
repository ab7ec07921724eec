"""The device that a profile is of: found through PyTorch, named as plans are to know it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from profiles.errors import InputError
from profiles.gpus import NO_OWN_GPUS, Gpu, OwnGpus, find_gpu, load_gpus
from profiles.links import pcie_of

if TYPE_CHECKING:
    from cost_model.profiler.torch_devices import CpuDevice, CudaDevice

__all__ = ["gpu_of_device", "needing_torch", "own_gpus_with"]

_MEMORY_TOLERANCE = 0.08
_CPU = "CPU"


@contextmanager
def needing_torch() -> Iterator[None]:
    """Turn a missing PyTorch into an error that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError(
            "The profiler needs PyTorch, which is not installed. Install hetplan with its extra: "
            "pip install 'hetplan[torch]'."
        ) from None


def gpu_of_device(device: "CpuDevice | CudaDevice", name: str | None) -> Gpu:
    """
    The GPU that a device is to plans: the catalogue's, or one of the user's own.

    Parameters
    ----------
    device
        Found on the machine.
    name
        What the user calls it; None takes the catalogue's name where one fits, else its own.

    Raises
    ------
    InputError
        When the name is that of another GPU of the catalogue.
    """
    known = _in_catalogue(device)
    if known is not None and name is None:
        return known
    own = name or (device.name if device.compute_capability else _CPU)
    try:
        named = find_gpu(own)
    except InputError:
        return Gpu(
            name=own,
            architecture=device.name,
            compute_capability=device.compute_capability,
            memory_bytes=device.memory_bytes,
            memory_bytes_per_s=1.0,  # not asked for: nothing here is priced by the model
            fp16_flops=1.0,
            multiprocessors=1,
            int8_ops=None,
            link=pcie_of(device.compute_capability).name,
            source="this machine",
        )
    if named.compute_capability != device.compute_capability:
        raise InputError(
            f"--gpu is {own!r}, which is {named.name} of the catalogue, but the device is "
            f"{device.name}; choose another name."
        )
    return named


def own_gpus_with(gpu: Gpu) -> OwnGpus:
    """The GPU by its name where the catalogue has none of that name, else nothing."""
    return NO_OWN_GPUS if gpu.name in load_gpus() else {gpu.name: gpu}


def _in_catalogue(device: "CpuDevice | CudaDevice") -> Gpu | None:
    """The only GPU whose name is part of the device's and whose memory is about as large."""
    words = device.name.upper().replace("-", " ").split()
    fitting = [
        gpu
        for gpu in load_gpus().values()
        if gpu.compute_capability == device.compute_capability
        and gpu.name.split("-")[0].upper() in words
        and abs(gpu.memory_bytes / device.memory_bytes - 1) < _MEMORY_TOLERANCE
    ]
    if len(fitting) > 1:
        is_pcie = "PCIE" in words
        fitting = [gpu for gpu in fitting if gpu.name.endswith("PCIe") is is_pcie]
    return fitting[0] if len(fitting) == 1 else None
