"""The columns of a cost table and what each may hold."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from profiles.errors import InputError
from profiles.formats import find_format
from profiles.gpus import Gpu, OwnGpus, find_gpu, load_gpus
from profiles.kernels import Kernel, engines, load_kernels
from profiles.models import load_models, model_aliases

__all__ = ["COLUMNS", "KEY_COLUMNS", "PHASES", "PROVENANCES", "Value", "check_kernel", "gpu_of"]

Value = str | int | float | None
Parser = Callable[[str], Value]

_LARGEST = 10**9

PHASES = ("prefill", "decode")
PROVENANCES = ("measured", "interpolated", "analytic")


def _needed(text: str) -> str:
    if not text:
        raise InputError("is empty; fill it in")
    return text


def _number(text: str, what: str) -> float:
    try:
        return float(_needed(text))
    except ValueError:
        raise InputError(f"is {text!r}; it must be {what}") from None


def _whole(text: str, *, one_of: Sequence[int] | None = None) -> int:
    number = _number(text, "a whole number")
    if not number.is_integer():
        raise InputError(f"is {text!r}; it must be a whole number")
    value = int(number)
    if one_of is not None and value not in one_of:
        raise InputError(f"is {value}; it must be one of {', '.join(map(str, one_of))}")
    if not 1 <= value <= _LARGEST:
        raise InputError(f"is {text}; it must lie between 1 and {_LARGEST}")
    return value


def _positive(text: str) -> float:
    value = _number(text, "a number")
    if not 0 < value < math.inf:
        raise InputError(f"is {text}; it must be positive and finite")
    return value


def _word(text: str, one_of: Sequence[str]) -> str:
    if _needed(text) not in one_of:
        raise InputError(f"is {text!r}; it must be one of {', '.join(one_of)}")
    return text


def gpu_of(text: str, own: OwnGpus) -> Gpu:
    """
    The GPU that a cell names.

    Raises
    ------
    InputError
        When it is neither in the catalogue nor one of the user's own.
    """
    try:
        return find_gpu(_needed(text), own=own)
    except InputError:
        known = ", ".join((*load_gpus(), *own))
        raise InputError(
            f"is {text!r}; it must be one of {known}, or one that the request states in "
            "cluster.own_gpus"
        ) from None


@cache
def _model_name(text: str) -> str:
    """The catalogue's name of a model it knows, else the text itself."""
    lowered = _needed(text).lower()
    by_lower = {name.lower(): name for name in load_models()} | dict(model_aliases())
    return by_lower.get(lowered, text)


COLUMNS: Mapping[str, Parser] = {
    "gpu": _needed,
    "engine": lambda text: _word(text, engines()),
    "model": _model_name,
    "layer_kind": _needed,
    "kernel": _needed,
    "weight_bits": _whole,
    "act_bits": _whole,
    "kv_bits": lambda text: _whole(text, one_of=(8, 16)) if text else None,
    "group_size": lambda text: _whole(text) if text else None,
    "tp": lambda text: _whole(text, one_of=(1, 2, 4, 8)),
    "phase": lambda text: _word(text, PHASES),
    "batch": _whole,
    "tokens": _whole,
    "latency_us": _positive,
    "source": _needed,
    "provenance": lambda text: _word(text, PROVENANCES),
}

# What a row is about; rows that agree in these must agree in their latency.
KEY_COLUMNS = tuple(name for name in COLUMNS if name not in ("latency_us", "source", "provenance"))


@cache
def check_kernel(gpu: Gpu, engine: str, kernel: str, weight_bits: int, act_bits: int) -> None:
    """
    Refuse a kernel that the engine lacks, or that cannot run these bits on this GPU.

    Raises
    ------
    InputError
        With what the engine has instead.
    """
    of_engine = [each for each in load_kernels() if each.engine == engine]
    rows = [each for each in of_engine if each.kernel == kernel]
    if not rows:
        known = ", ".join(dict.fromkeys(each.kernel for each in of_engine))
        raise InputError(f"kernel {kernel!r} is not one of {engine}'s: {known}")
    fitting = [row for row in rows if _bits(row) == (weight_bits, act_bits)]
    if not fitting:
        known = ", ".join("w{}a{}".format(*bits) for bits in dict.fromkeys(map(_bits, rows)))
        raise InputError(f"kernel {kernel!r} does not run w{weight_bits}a{act_bits}, only {known}")
    if not any(row.runs_on(gpu) for row in fitting):
        raise InputError(
            f"{engine} has no kernel {kernel!r} for w{weight_bits}a{act_bits} on {gpu.name} "
            f"(sm{gpu.compute_capability})"
        )


def _bits(kernel: Kernel) -> tuple[int, int]:
    format_ = find_format(kernel.format)
    return format_.weight_bits, format_.act_bits
