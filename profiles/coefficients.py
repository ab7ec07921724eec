"""Coefficients of the calibrated latency model, per GPU, engine, kernel and format."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from profiles.catalogue import optional_float, read_rows
from profiles.errors import InputError
from profiles.units import US

__all__ = ["Coefficients", "coefficients_for", "load_coefficients", "load_coefficients_alone"]

_SHARES = ("compute_share", "memory_share", "cache_share", "attention_share")
_POSITIVE = (*_SHARES, "sharpness", "host_sharpness")
_NOT_NEGATIVE = (
    "group_penalty",
    "attention_half_tokens",
    "activation_factor",
    "half_tokens",
    "wave_share",
    "narrow_factor",
    "step_rows",
    "step_share",
    "input_factor",
    "layer_overhead_s",
    "host_floor_s",
    "gate_host_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """
    How much of its datasheet a GPU reaches with one kernel, and how well that is known.

    `cost_model.roofline` states the formula in which these numbers stand.

    Parameters
    ----------
    gpu, engine, kernel, format
        What the numbers are for: names of the catalogues.
    compute_share
        Reachable share of the peak FLOP/s (of int8 operations for 8-bit activations), in (0, 1].
    memory_share
        Reachable share of the memory bandwidth while weights are read, in (0, 1].
    cache_share
        The same for the KV cache and for activations, in (0, 1].
    group_penalty
        Exponent: KV traffic grows by (heads / KV heads) to this power, 0 for kernels that read
        the KV heads once for all the query heads that share them.
    attention_share
        Reachable share of the fp16 peak in prefill attention over long prompts, in (0, 1].
    attention_half_tokens
        Prompt length at which prefill attention reaches half of that share.
    activation_factor
        16-bit values of width ``hidden`` that are moved per token beside weights and KV cache.
    half_tokens
        Rows of a matrix product at which its compute reaches half of its share.
    wave_share
        How far a product pays for whole waves of whole tiles, an exponent from 0 to 1.
    narrow_factor
        How much more slowly narrow matrices are read, whose tiles leave multiprocessors idle.
    step_rows, step_share
        Rows of a product up to which the kernels of small batches run; how much more slowly the
        next ones read weights.
    input_factor
        16-bit values moved per input of each product, such as to quantise activations.
    sharpness
        How sharp the corner between memory-bound and compute-bound is; infinity is a maximum.
    layer_overhead_s
        Seconds a layer takes beyond that, such as the launches of its kernels.
    host_floor_s, host_sharpness
        Seconds the host needs to launch a layer, a floor rather than a sum, and the sharpness of
        that corner.
    gate_host_s
        What gated layers need beside that floor: they come with norms and rotary embeddings of
        several launches each.
    fitted_on
        Which measurements the numbers rest on.
    num_points
        How many of those there are; 0 where the numbers were carried over from another GPU.
    decode_mape, prefill_mape, decode_p90, prefill_p90
        Relative error on points kept out of the fit, mean and 90th percentile; None where there
        are no such points.
    decode_low, decode_high, prefill_low, prefill_high
        90 % prediction interval: measured over predicted time lies between these factors.
    interval_basis
        What the interval rests on: ``held-out points``, or what was judged in their stead.
    basis
        ``fit``, or how the numbers were carried over, such as ``scaled from A100-80G-SXM``.
    """

    gpu: str
    engine: str
    kernel: str
    format: str
    compute_share: float
    memory_share: float
    cache_share: float
    group_penalty: float
    attention_share: float
    attention_half_tokens: float
    activation_factor: float
    half_tokens: float
    wave_share: float
    narrow_factor: float
    step_rows: float
    step_share: float
    input_factor: float
    sharpness: float
    layer_overhead_s: float
    host_floor_s: float
    host_sharpness: float
    gate_host_s: float
    fitted_on: str
    num_points: int
    decode_mape: float | None
    prefill_mape: float | None
    decode_p90: float | None
    prefill_p90: float | None
    decode_low: float
    decode_high: float
    prefill_low: float
    prefill_high: float
    interval_basis: str
    basis: str

    def __post_init__(self) -> None:
        """Refuse shares and times that no kernel can have."""
        where = f"of {self.kernel!r} on {self.gpu!r}"
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"{name} {where} is {getattr(self, name)}; it must be positive.")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise InputError(f"{name} {where} is {getattr(self, name)}; it must be at most 1.")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} {where} is {getattr(self, name)}; it must be >= 0.")
        for phase in ("decode", "prefill"):
            low, high = getattr(self, f"{phase}_low"), getattr(self, f"{phase}_high")
            if not 0 < low <= high:
                raise InputError(
                    f"{phase}_low and {phase}_high {where} are {low} and {high}; they must be "
                    "positive factors in this order."
                )


def _coefficients(row: Mapping[str, str]) -> Coefficients:
    return Coefficients(
        gpu=row["gpu"],
        engine=row["engine"],
        kernel=row["kernel"],
        format=row["format"],
        compute_share=float(row["compute_share"]),
        memory_share=float(row["memory_share"]),
        cache_share=float(row["cache_share"]),
        group_penalty=float(row["group_penalty"]),
        attention_share=float(row["attention_share"]),
        attention_half_tokens=float(row["attention_half_tokens"]),
        activation_factor=float(row["activation_factor"]),
        half_tokens=float(row["half_tokens"]),
        wave_share=float(row["wave_share"]),
        narrow_factor=float(row["narrow_factor"]),
        step_rows=float(row["step_rows"]),
        step_share=float(row["step_share"]),
        input_factor=float(row["input_factor"]),
        sharpness=float(row["sharpness"]),
        layer_overhead_s=float(row["layer_overhead_us"]) * US,
        host_floor_s=float(row["host_floor_us"]) * US,
        host_sharpness=float(row["host_sharpness"]),
        gate_host_s=float(row["gate_host_us"]) * US,
        fitted_on=row["fitted_on"],
        num_points=int(row["num_points"]),
        decode_mape=optional_float(row["decode_mape"]),
        prefill_mape=optional_float(row["prefill_mape"]),
        decode_p90=optional_float(row["decode_p90"]),
        prefill_p90=optional_float(row["prefill_p90"]),
        decode_low=float(row["decode_low"]),
        decode_high=float(row["decode_high"]),
        prefill_low=float(row["prefill_low"]),
        prefill_high=float(row["prefill_high"]),
        interval_basis=row["interval_basis"],
        basis=row["basis"],
    )


@cache
def load_coefficients() -> Mapping[tuple[str, str, str, str], Coefficients]:
    """All shipped coefficients by (GPU, engine, kernel, format)."""
    return _by_key("coefficients.csv")


@cache
def load_coefficients_alone() -> Mapping[tuple[str, str, str, str], Coefficients]:
    """
    Coefficients of kernels that were timed alone, by (GPU, engine, kernel, format).

    Matrix products, and layers without their attention; in a whole layer a kernel reaches less.
    """
    return _by_key("coefficients_alone.csv")


def _by_key(file_name: str) -> Mapping[tuple[str, str, str, str], Coefficients]:
    entries = (_coefficients(row) for row in read_rows(file_name))
    return {(entry.gpu, entry.engine, entry.kernel, entry.format): entry for entry in entries}


def coefficients_for(
    gpu_name: str, engine: str, kernel_name: str, format_name: str
) -> Coefficients | None:
    """
    The coefficients of a kernel on a GPU; None where it was never calibrated.

    One kernel may serve several formats at different speeds, hence the name of the format.
    """
    return load_coefficients().get((gpu_name, engine, kernel_name, format_name))
