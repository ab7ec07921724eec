"""From a folder of measurements to the coefficients that ship."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd

from benchmarks.calibration.classes import judge_classes
from benchmarks.calibration.engine_2023 import engine_2023
from benchmarks.calibration.errors import PhaseErrors
from benchmarks.calibration.fitted import (
    Judged,
    attention_fit,
    gemm_fit,
    layer_fits,
    linear_fits,
)
from benchmarks.calibration.intervals import completed_intervals
from benchmarks.calibration.points import read_rows
from benchmarks.calibration.transfer import (
    KernelRatio,
    full_kernels,
    low_bit_kernels,
    pascal_kernels,
    shipped_pairs,
)
from benchmarks.calibration.whole_models import EngineFactor, engine_factors, engine_row
from profiles.coefficients import Coefficients
from profiles.units import US

__all__ = [
    "Calibration",
    "calibrate",
    "coefficient_rows",
    "factor_rows",
    "judge_layers",
    "rows_alone",
]

FullCoefficients = Mapping[str, Coefficients]
Ratios = Mapping[tuple[str, str], KernelRatio]
_TRT = "TRT-LLM 1.0.0"
_TORCH = "torch / marlin (2024-02)"
_VLLM = "vLLM 0.14.0"
# Matrix products by (GPU, kernel, format): the engine and method under which they were timed.
PRODUCTS = {
    ("A100-80G-SXM", "cublas", "w16a16"): (_TRT, "none"),
    ("A100-80G-SXM", "marlin", "w4a16"): (_TRT, "int4 weight-only (TRT-LLM)"),
    ("A100-80G-SXM", "marlin", "w8a16"): (_TRT, "int8 weight-only (TRT-LLM)"),
    ("A100-80G-SXM", "cutlass-int8", "w8a8"): (_TRT, "W8A8 SmoothQuant (TRT-LLM)"),
    ("L40S", "cublas", "w16a16"): (_TRT, "none"),
    ("L40S", "marlin", "w4a16"): (_TRT, "int4 weight-only (TRT-LLM)"),
    ("L40S", "marlin", "w8a16"): (_TRT, "int8 weight-only (TRT-LLM)"),
    ("L40S", "cutlass-int8", "w8a8"): (_TRT, "W8A8 SmoothQuant (TRT-LLM)"),
    ("A10", "cublas", "w16a16"): (_TORCH, "none"),
    ("A10", "marlin", "w4a16"): (_TORCH, "gptq-marlin g128"),
    ("H100-SXM", "cublas", "w16a16"): (_VLLM, "none"),
    ("H100-SXM", "cutlass-fp8", "fp8"): (_VLLM, "fp8 W8A8"),
    ("H200", "cublas", "w16a16"): (_VLLM, "none"),
}
TODAY = "vllm-0.33"
VIDUR = "sarathi/vllm kernels (Vidur)"  # layers without attention
ATTENTION_GPUS = ("A100-80G-SXM", "H100-SXM", "H200", "L40S")


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    Everything fitted.

    Parameters
    ----------
    layers, linear, products
        Fits with their errors, by GPU or by (GPU, format).
    classes
        Errors of class coefficients on each GPU of ``layers`` and ``linear`` when left out.
    engines
        Factors of other engines to vLLM.
    coefficients
        Of every shipped GPU and kernel.
    """

    layers: dict[str, Judged]
    linear: dict[str, Judged]
    products: dict[tuple[str, str], Judged]
    classes: dict[str, PhaseErrors]
    engines: list[EngineFactor]
    coefficients: list[Coefficients]


def judge_layers(folder: Path) -> tuple[dict[str, Judged], dict[str, Judged]]:
    """
    Fits to layers and to layers without attention, by GPU.

    Parameters
    ----------
    folder
        Holds ``layers.csv``, with rows of whatever GPUs and models; ``ops.csv`` may be missing.
    """
    layers = read_rows(folder, "layers.csv")
    has_ops = (folder / "ops.csv").is_file()
    ops = read_rows(folder, "ops.csv") if has_ops else None
    attention = {
        gpu: found
        for gpu in ATTENTION_GPUS
        if ops is not None and (found := attention_fit(ops, gpu)) is not None
    }
    return layer_fits(layers), linear_fits(layers, attention)


def calibrate(folder: Path, tell: Callable[[str], None] | None = None) -> Calibration:
    """
    Fit all there is and carry it over to the rest.

    Parameters
    ----------
    folder
        Holds ``layers.csv``, ``ops.csv`` and ``ops_no_licence.csv``.
    tell
        Hears of each step.
    """
    tell = tell or _quietly
    tell("fitting layers")
    layers, linear = judge_layers(folder)
    tell("fitting matrix products")
    ops = read_rows(folder, "ops.csv", "ops_no_licence.csv")
    products = {(gpu, form): _product_fit(ops, gpu, kernel, form) for gpu, kernel, form in PRODUCTS}
    attention = {
        gpu: found.coefficients
        for gpu in ("H200", "L40S")
        if (found := attention_fit(ops, gpu)) is not None
    }
    full = full_kernels(
        {gpu: judged.coefficients for gpu, judged in (layers | linear).items()},
        {gpu: j.coefficients for (gpu, form), j in products.items() if form == "w16a16"},
        attention,
    )
    old = engine_2023(full)
    full |= pascal_kernels(full, old)
    ratios = _ratios(products)
    rows = read_rows(folder, "layers.csv", "layers_no_licence.csv")
    tell("fitting whole models of other engines")
    factors = engine_factors(rows, full)
    found = [
        *full.values(),
        *low_bit_kernels(full, ratios, shipped_pairs("vllm")),
        *today(full, ratios),
        *old,
        *engine_kernels(full, ratios, factors),
    ]
    classes = judge_classes(layers | linear)
    coefficients = completed_intervals(found, classes, products)
    coefficients.sort(key=lambda c: (c.engine, c.gpu, c.format, c.kernel))
    return Calibration(layers, linear, products, classes, factors, coefficients)


def _quietly(_step: str) -> None:
    """Where nobody listens."""


def today(full: FullCoefficients, ratios: Ratios) -> list[Coefficients]:
    """The kernels that vLLM has today, at the times of those it had before."""
    gpus = {gpu.name for gpu, _ in shipped_pairs(TODAY)}
    own = [replace(each, engine=TODAY) for name, each in full.items() if name in gpus]
    return own + low_bit_kernels(full, ratios, shipped_pairs(TODAY))


def engine_kernels(
    full: FullCoefficients, ratios: Ratios, factors: Sequence[EngineFactor]
) -> list[Coefficients]:
    """The kernels of other engines; low-bit ones that were not timed there, from 16-bit ones."""
    found = []
    for engine in dict.fromkeys(factor.engine for factor in factors):
        own = [factor for factor in factors if factor.engine == engine]
        timed = {(each.kernel, each.format) for each in own}
        halves = {gpu: engine_row(own, full[gpu], "w16a16") for gpu in full}
        pairs = shipped_pairs(engine)
        untimed = [(g, k) for g, k in pairs if (k.kernel, k.format) not in timed]
        found += low_bit_kernels(halves, ratios, untimed)
        found += [
            engine_row(own, full[gpu.name], kernel.format, kernel.kernel)
            for gpu, kernel in pairs
            if (kernel.kernel, kernel.format) in timed
        ]
    return found


def _product_fit(ops: pd.DataFrame, gpu: str, kernel: str, format_name: str) -> Judged:
    engine, method = PRODUCTS[gpu, kernel, format_name]
    chosen = (ops["engine"] == engine) & (ops["quant_method"].fillna("none") == method)
    return gemm_fit(ops[chosen], gpu, kernel, format_name, f"{engine}, {method}")


def _ratios(products: dict[tuple[str, str], Judged]) -> dict[tuple[str, str], KernelRatio]:
    return {
        (gpu, form): KernelRatio.between(
            judged.coefficients,
            products[gpu, "w16a16"].coefficients,
            f"matrix products ({judged.coefficients.fitted_on})",
        )
        for (gpu, form), judged in products.items()
        if form != "w16a16"
    }


def rows_alone(found: Calibration) -> list[Coefficients]:
    """Coefficients of kernels timed alone, under the engine that timed them."""
    rows = [replace(judged.alone, engine=VIDUR) for judged in found.linear.values()]
    for judged in found.products.values():
        engine = judged.alone.fitted_on.partition(",")[0]
        rows.append(replace(judged.alone, engine=engine))
    return sorted(rows, key=lambda c: (c.engine, c.gpu, c.format))


def factor_rows(factors: Sequence[EngineFactor]) -> pd.DataFrame:
    """The table of engines: what their kernels reach beside vLLM's 16-bit layers."""
    rows = [
        {
            "engine": f.engine,
            "kernel": f.kernel,
            "format": f.format,
            "gpu": f.gpu or "any",
            "compute_ratio": _rounded(f.compute),
            "memory_ratio": _rounded(f.memory),
            "host_floor_us": _rounded(f.host_floor_s / US),
            "gate_host_us": _rounded(f.gate_host_s / US),
            "timed_on": " ".join(f.timed_on),
            "num_points": len(f.models),
        }
        for f in factors
    ]
    return pd.DataFrame(rows)


def coefficient_rows(coefficients: list[Coefficients]) -> pd.DataFrame:
    """The table that ships: one row per GPU and kernel, times in microseconds."""
    rows = [{f.name: getattr(c, f.name) for f in fields(Coefficients)} for c in coefficients]
    frame = pd.DataFrame(rows)
    for name in ("layer_overhead", "host_floor", "gate_host"):
        frame[f"{name}_s"] /= US
        frame = frame.rename(columns={f"{name}_s": f"{name}_us"})
    numbers = frame.select_dtypes("float").columns
    return frame.assign(**{name: frame[name].map(_rounded) for name in numbers})


def _rounded(value: float) -> float | None:
    """Four significant digits: beyond them two runs of the fit may differ."""
    return None if pd.isna(value) else float(f"{value:.4g}")
