"""
How far predicted times may be off, as random factors that whole groups of times share.

Errors are log-normal: true time = predicted time * exp(sigma z) with z a standard normal variable.
One z belongs to a GPU type, kernel, format and phase, and is common to all its layers, sizes and
lengths, for what is off is a reachable share of peak rather than a single point. Numbers that were
carried over from the 16-bit kernel of the same GPU, and compared with nothing, share that kernel's
z and have another of their own for what the carrying over adds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from cost_model.answer import FULL_BITS, full_kernel
from cost_model.lookup import Phase
from cost_model.stages import StageType
from profiles.coefficients import coefficients_for
from profiles.formats import Format
from profiles.gpus import Gpu
from profiles.kernels import Kernel

__all__ = ["ErrorTerm", "TimeError", "error_of", "error_terms"]

_PHASES: tuple[Phase, ...] = ("prefill", "decode")
_SAME_GPU = "on the same GPU"

# Mean absolute error of numbers that nobody compared with a measurement, by phase: what class
# coefficients are asked to reach with a GPU left out.
_ASSUMED_MAPE: dict[Phase, float] = {"prefill": 0.25, "decode": 0.15}
# Mean of |z| is sqrt(2 / pi).
_SIGMA_PER_MAPE = sqrt(pi / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeError:
    """
    Error of the times of one kernel on one GPU.

    Parameters
    ----------
    sigma
        Standard deviation of ln(true / predicted); a 90 % interval is exp(± 1.645 sigma).
    is_known
        Whether it was found on points kept out of a fit; else it is assumed.
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
) -> TimeError:
    """
    How far the times of a kernel on a GPU may be off.

    From the mean absolute error on points kept out of the fit (`profiles.coefficients`); assumed
    where there were none: 25 % in prefill and 15 % in decode.
    """
    known = coefficients_for(gpu.name, engine, kernel.kernel, format.name)
    mape = None if known is None else getattr(known, f"{phase}_mape")
    is_full = format.weight_bits == format.act_bits == FULL_BITS
    return TimeError(
        sigma=_SIGMA_PER_MAPE * (_ASSUMED_MAPE[phase] if mape is None else mape),
        is_known=mape is not None,
        shares_full=is_full or (known is not None and mape is None and _SAME_GPU in known.basis),
    )


def error_terms(
    stages: Sequence[StageType], formats: Sequence[Format], engine: str
) -> tuple[ErrorTerm, ...]:
    """
    The random factors of a problem's times, independent of each other.

    Parameters
    ----------
    stages, formats
        G stage types and F formats, as for `cost_model.stages.stage_times`.
    engine
        Name of the engine.
    """
    gpus = {stage.gpu.name: stage.gpu for stage in stages}
    return tuple(
        term
        for gpu in gpus.values()
        for phase in _PHASES
        for term in _terms_of(gpu, stages, formats, engine, phase)
    )


def _terms_of(
    gpu: Gpu, stages: Sequence[StageType], formats: Sequence[Format], engine: str, phase: Phase
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
    full, is_full_known = _full_sigma(gpu, engine, phase)
    for f, each in enumerate(formats):
        if each.name not in kernels:
            continue
        error = error_of(gpu, engine, kernels[each.name], each, phase)
        shared[f] = error.shares_full
        rest = sqrt(max(error.sigma**2 - full**2, 0.0)) if shared[f] else error.sigma
        own.append((f, rest, error.is_known))
    name = f"{gpu.name} {{}} {phase}"
    yield _term(name.format("16 bits"), phase, full, is_full_known, runs & shared, on_gpu)
    for f, sigma, is_known in own:
        if sigma > 0:
            only = np.arange(len(formats)) == f
            title = name.format(formats[f].name)
            yield _term(title, phase, sigma, is_known, runs & only, np.zeros_like(on_gpu))


def _full_sigma(gpu: Gpu, engine: str, phase: Phase) -> tuple[float, bool]:
    full = full_kernel(engine, gpu)
    if full is None:
        return 0.0, False
    error = error_of(gpu, engine, *full, phase)
    return error.sigma, error.is_known


def _term(
    name: str,
    phase: Phase,
    sigma: float,
    is_known: bool,
    cells: NDArray[np.bool_],
    ends: NDArray[np.bool_],
) -> ErrorTerm:
    return ErrorTerm(name=name, phase=phase, sigma=sigma, is_known=is_known, cells=cells, ends=ends)
