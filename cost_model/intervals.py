"""
How far predicted times may be off: 90 % prediction intervals, as factors of the prediction.

An error of the model is common to all layers, sizes and lengths of a GPU type, kernel, format and
phase, for what is off is a reachable share of peak rather than a single time. Errors of different
groups are taken to be independent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cost_model.answer import calibrated, full_kernel
from cost_model.lookup import Phase
from cost_model.source import Source
from cost_model.stages import StageType
from profiles.formats import Format
from profiles.gpus import Gpu
from profiles.kernels import Kernel

__all__ = ["TABLES", "TimeGroup", "TimeInterval", "time_groups", "time_interval"]

_PHASES: tuple[Phase, ...] = ("prefill", "decode")


class TimeInterval(NamedTuple):
    """
    Factors of a predicted time between which the measured one lies with a probability of 90 %.

    Parameters
    ----------
    low, high
        The factors.
    basis
        What they rest on, such as ``held-out points``.
    """

    low: float
    high: float
    basis: str


# Between every second point of published layers (T4, L4, V100, A100), log-log interpolation.
TABLES = TimeInterval(0.93, 1.06, "every second point of published tables")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeGroup:
    """
    Times that share one error.

    Parameters
    ----------
    name
        For people, such as ``A10 w4a16 decode``.
    phase, interval
        Of which times, and how far they may be off.
    cells
        Shape (G, F): stage types and formats whose layers belong to it.
    ends
        Shape (G,): stage types whose embedding and head belong to it.
    """

    name: str
    phase: Phase
    interval: TimeInterval
    cells: NDArray[np.bool_]
    ends: NDArray[np.bool_]


def time_interval(
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
    phase: Phase,
    source: Source = Source.ANALYTIC,
) -> TimeInterval:
    """
    The 90 % interval of the times of a kernel on a GPU.

    Parameters
    ----------
    gpu, engine, kernel, format, phase
        What runs.
    source
        The weakest source of the times: tables have an interval of their own.

    Raises
    ------
    MissingProfileError
        When the model is asked and was never calibrated.
    """
    if source is not Source.ANALYTIC:
        return TABLES
    known = calibrated(gpu, engine, kernel, format)
    low, high = getattr(known, f"{phase}_low"), getattr(known, f"{phase}_high")
    return TimeInterval(low, high, known.interval_basis)


def time_groups(
    stages: Sequence[StageType],
    formats: Sequence[Format],
    engine: str,
    weakest: Mapping[tuple[int, int, Phase], Source],
) -> tuple[TimeGroup, ...]:
    """
    All times of a problem, by the error they share.

    Parameters
    ----------
    stages, formats
        G stage types and F formats, as `cost_model.stages.stage_times` took them.
    engine
        Name of the engine.
    weakest
        The weakest source of the times by (stage type, format, phase).
    """
    gpus = {stage.gpu.name: stage.gpu for stage in stages}
    return tuple(
        group
        for gpu in gpus.values()
        for phase in _PHASES
        for group in _of_gpu(gpu, phase, stages, formats, engine, weakest)
    )


def _of_gpu(
    gpu: Gpu,
    phase: Phase,
    stages: Sequence[StageType],
    formats: Sequence[Format],
    engine: str,
    weakest: Mapping[tuple[int, int, Phase], Source],
) -> Iterator[TimeGroup]:
    """Those of a GPU type in a phase; embedding and head go with the 16-bit kernel."""
    on_gpu = np.array([stage.gpu.name == gpu.name for stage in stages])
    runs = np.array([stage.formats for stage in stages]) & on_gpu[:, None]
    full = full_kernel(engine, gpu)
    kernels = {} if full is None else {full[1].name: full}
    for stage in stages:
        if stage.gpu.name == gpu.name:
            kernels |= {
                f.name: (stage.kernels[f.name], f) for f in formats if f.name in stage.kernels
            }
    for name, (kernel, each) in kernels.items():
        cells = runs & np.array([f.name == name for f in formats])
        where = [(int(g), int(f), phase) for g, f in zip(*np.nonzero(cells), strict=True)]
        source = max((weakest[cell] for cell in where), default=Source.ANALYTIC)
        is_full = full is not None and name == full[1].name
        yield TimeGroup(
            name=f"{gpu.name} {name} {phase}",
            phase=phase,
            interval=time_interval(gpu, engine, kernel, each, phase, source),
            cells=cells,
            ends=on_gpu if is_full else np.zeros_like(on_gpu),
        )
