"""
How far predicted times may be off, as random factors that whole groups of times share.

Errors are log-normal: true time = predicted time * exp(sigma z) with z a standard normal variable.
One z belongs to a GPU type, kernel, format and phase, and is common to all its layers, sizes and
lengths, for what is off is a reachable share of peak rather than a single point. Numbers that were
carried over from the 16-bit kernel of the same GPU, and compared with nothing, share that kernel's
z and have another of their own for what the carrying over adds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from cost_model.answer import FULL_BITS, full_kernel
from cost_model.intervals import TABLES, time_interval
from cost_model.lookup import Phase
from cost_model.stages import StageType
from profiles.calibration import Calibration, FactorKey
from profiles.coefficients import coefficients_for
from profiles.formats import Format
from profiles.gpus import Gpu
from profiles.kernels import Kernel

__all__ = ["ErrorTerm", "TimeError", "error_of", "error_terms"]

_PHASES: tuple[Phase, ...] = ("prefill", "decode")
_SAME_GPU = "on the same GPU"

# Intervals that rest on nothing measured are said to be so by these words of theirs.
_ASSUMED = ("assumed", "half to twice")
_QUANTILE_90 = 1.6448536


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeError:
    """
    Error of the times of one kernel on one GPU.

    Parameters
    ----------
    sigma
        Standard deviation of ln(true / predicted); a 90 % interval is exp(± 1.645 sigma).
    is_known
        Whether it rests on measured times; else it is assumed.
    shares_full
        Whether the numbers are those of the 16-bit kernel of the same GPU, or were carried over
        from it and compared with nothing.
    """

    sigma: float
    is_known: bool
    shares_full: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ErrorTerm:
    """
    One random factor, exp(sigma z), and the times of a phase that it multiplies.

    Parameters
    ----------
    name
        For people, such as ``A10 w8a8 decode``.
    phase, sigma
        Of which times, and how far they vary.
    is_known
        See `TimeError`.
    cells
        Shape (G, F): stage types and formats whose layers it multiplies.
    ends
        Shape (G,): stage types whose embedding and head it multiplies.
    """

    name: str
    phase: Phase
    sigma: float
    is_known: bool
    cells: NDArray[np.bool_]
    ends: NDArray[np.bool_]


def error_of(
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
    phase: Phase,
    calibration: Calibration | None = None,
) -> TimeError:
    """
    How far the times of a kernel on a GPU may be off.

    From the 90 % interval of its factor where a calibration identified it; else from that of the
    model (`cost_model.intervals`), or of tables where there is no model.
    """
    known = coefficients_for(gpu.name, engine, kernel.kernel, format.name)
    interval = TABLES
    if known is not None:
        interval = time_interval(gpu, engine, kernel, format, phase)
    is_known = not interval.basis.startswith(_ASSUMED)
    is_full = format.weight_bits == format.act_bits == FULL_BITS
    key = FactorKey(gpu.name, kernel.kernel, format.name, phase)
    factor = None if calibration is None else calibration.factors.get(key)
    if factor is not None and factor.is_identified:
        sigma = log(factor.high / factor.low) / (2 * _QUANTILE_90)
        return TimeError(sigma=sigma, is_known=True, shares_full=is_full)
    return TimeError(
        sigma=log(interval.high / interval.low) / (2 * _QUANTILE_90),
        is_known=is_known,
        shares_full=is_full or (known is not None and not is_known and _SAME_GPU in known.basis),
    )


def error_terms(
    stages: Sequence[StageType],
    formats: Sequence[Format],
    engine: str,
    calibration: Calibration | None = None,
) -> tuple[ErrorTerm, ...]:
    """
    The random factors of a problem's times, independent of each other.

    Parameters
    ----------
    stages, formats
        G stage types and F formats, as for `cost_model.stages.stage_times`.
    engine
        Name of the engine.
    calibration
        Factors that the times were multiplied by, with their intervals.
    """

    def error(gpu: Gpu, kernel: Kernel, each: Format, phase: Phase) -> TimeError:
        return error_of(gpu, engine, kernel, each, phase, calibration)

    gpus = {stage.gpu.name: stage.gpu for stage in stages}
    return tuple(
        term
        for gpu in gpus.values()
        for phase in _PHASES
        for term in _terms_of(gpu, stages, formats, phase, full_kernel(engine, gpu), error)
    )


def _terms_of(
    gpu: Gpu,
    stages: Sequence[StageType],
    formats: Sequence[Format],
    phase: Phase,
    full: tuple[Kernel, Format] | None,
    error_on: Callable[[Gpu, Kernel, Format, Phase], TimeError],
) -> Iterator[ErrorTerm]:
    """Those of one GPU type: first of its 16-bit kernel, then of each format."""
    on_gpu = np.array([stage.gpu.name == gpu.name for stage in stages])
    runs = np.array([stage.formats for stage in stages]) & on_gpu[:, None]
    kernels = {
        name: kernel
        for stage in stages
        if stage.gpu.name == gpu.name
        for name, kernel in stage.kernels.items()
    }
    shared = np.zeros(len(formats), dtype=bool)
    own: list[tuple[int, float, bool]] = []
    common = TimeError(sigma=0.0, is_known=False, shares_full=True)
    if full is not None:
        common = error_on(gpu, *full, phase)
    for f, each in enumerate(formats):
        if each.name not in kernels:
            continue
        error = error_on(gpu, kernels[each.name], each, phase)
        shared[f] = error.shares_full
        rest = sqrt(max(error.sigma**2 - common.sigma**2, 0.0)) if shared[f] else error.sigma
        own.append((f, rest, error.is_known))
    name = f"{gpu.name} {{}} {phase}"
    title = name.format("16 bits")
    yield _term(title, phase, common.sigma, common.is_known, runs & shared, on_gpu)
    for f, sigma, is_known in own:
        if sigma > 0:
            only = np.arange(len(formats)) == f
            title = name.format(formats[f].name)
            yield _term(title, phase, sigma, is_known, runs & only, np.zeros_like(on_gpu))


def _term(
    name: str,
    phase: Phase,
    sigma: float,
    is_known: bool,
    cells: NDArray[np.bool_],
    ends: NDArray[np.bool_],
) -> ErrorTerm:
    return ErrorTerm(name=name, phase=phase, sigma=sigma, is_known=is_known, cells=cells, ends=ends)
