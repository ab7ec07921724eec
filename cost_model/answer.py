"""How a question about latency is answered: by a table, else by the model, else not at all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from cost_model.lookup import CostTables, Phase, TableKey
from cost_model.roofline import roofline_s
from cost_model.source import Source
from cost_model.work import LayerWork
from profiles.coefficients import Coefficients, coefficients_for
from profiles.errors import MissingProfileError
from profiles.formats import Format, find_format
from profiles.gpus import Gpu
from profiles.kernels import Kernel, default_kernel

__all__ = [
    "FULL_BITS",
    "LayerLatency",
    "calibrated",
    "full_kernel",
    "modelled_s",
    "needed_full_kernel",
    "table_key",
    "table_or_model",
]

FULL_BITS = 16


class LayerLatency(NamedTuple):
    """
    Seconds and where they come from.

    Parameters
    ----------
    seconds
        Of each micro-batch size, shape (M,).
    sources
        The `Source` of each of them, shape (M,).
    num_own
        How many of them come from tables of the request.
    """

    seconds: FloatArray
    sources: IntArray
    num_own: int = 0

    @property
    def source(self) -> Source:
        """The weakest source among them."""
        return Source(int(self.sources.max()))


def table_or_model(
    tables: CostTables,
    key: TableKey,
    batch: IntArray,
    tokens: float,
    modelled: Callable[[], FloatArray],
) -> LayerLatency:
    """The table's answer where it has one, and the model's elsewhere."""
    found = tables.at(key, batch, tokens)
    if found is None:
        seconds = modelled()
        return LayerLatency(seconds, np.full(seconds.shape, Source.ANALYTIC, dtype=np.int64))
    seconds, sources, is_own = found
    outside = np.isnan(seconds)
    if outside.any():
        seconds = np.where(outside, modelled(), seconds)
        sources = np.where(outside, Source.ANALYTIC, sources)
    return LayerLatency(seconds, sources, int((~outside).sum()) if is_own else 0)


def table_key(
    layer_kind: str,
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
    tp: int,
    phase: Phase,
    kv_bits: int = FULL_BITS,
) -> TableKey:
    """The key of a cost table for what runs a layer."""
    return TableKey(
        gpu=gpu.name,
        engine=engine,
        layer_kind=layer_kind,
        kernel=kernel.kernel,
        format=format,
        kv_bits=kv_bits,
        tp=tp,
        phase=phase,
    )


def modelled_s(
    work: LayerWork,
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
) -> FloatArray:
    """Seconds by the calibrated model, without all-reduces."""
    return roofline_s(work, gpu, format, calibrated(gpu, engine, kernel, format))


def calibrated(
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
) -> Coefficients:
    """
    The coefficients of a kernel on a GPU.

    Raises
    ------
    MissingProfileError
        When it was never calibrated.
    """
    found = coefficients_for(gpu.name, engine, kernel.kernel, format.name)
    if found is None:
        raise MissingProfileError(
            f"No profile of kernel {kernel.kernel!r} ({engine}, {format.name}) on {gpu.name!r}: "
            "no row of a cost table answers and the latency model has no coefficients. "
            "Add the rows to a cost table, or leave out this format or GPU."
        )
    return found


def full_kernel(engine: str, gpu: Gpu) -> tuple[Kernel, Format] | None:
    """The 16-bit kernel of an engine on a GPU, and its format; None where it has none."""
    full = find_format("w16a16")
    kernel = default_kernel(engine, full, gpu)
    return None if kernel is None else (kernel, full)


def needed_full_kernel(engine: str, gpu: Gpu) -> tuple[Kernel, Format]:
    """
    The 16-bit kernel that embedding and LM head need.

    Raises
    ------
    MissingProfileError
        When the engine has none on this GPU.
    """
    found = full_kernel(engine, gpu)
    if found is None:
        raise MissingProfileError(
            f"Engine {engine!r} has no 16-bit kernel on {gpu.name!r} "
            f"(sm{gpu.compute_capability}), which embedding and LM head need; "
            "leave this GPU out or choose another engine."
        )
    return found
