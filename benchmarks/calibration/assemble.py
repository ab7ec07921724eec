"""From a folder of measurements to the coefficients that ship."""

from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from benchmarks.calibration.engine_2023 import engine_2023
from benchmarks.calibration.fitted import (
    Judged,
    attention_fit,
    gemm_fit,
    layer_fits,
    linear_fits,
)
from benchmarks.calibration.points import read_rows
from benchmarks.calibration.transfer import (
    KernelRatio,
    full_kernels,
    low_bit_kernels,
    pascal_kernels,
)
from profiles.coefficients import Coefficients
from profiles.units import US

__all__ = ["Calibration", "calibrate", "coefficient_rows", "judge_layers"]

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
}
ATTENTION_GPUS = ("A100-80G-SXM", "H100-SXM", "H200", "L40S")


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    Everything fitted.

    Parameters
    ----------
    layers, linear, products
        Fits with their errors, by GPU or by (GPU, format).
    coefficients
        Of every shipped GPU and kernel.
    """

    layers: dict[str, Judged]
    linear: dict[str, Judged]
    products: dict[tuple[str, str], Judged]
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


def calibrate(folder: Path) -> Calibration:
    """
    Fit all there is and carry it over to the rest.

    Parameters
    ----------
    folder
        Holds ``layers.csv``, ``ops.csv`` and ``ops_no_licence.csv``.
    """
    layers, linear = judge_layers(folder)
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
    coefficients = [*full.values(), *low_bit_kernels(full, _ratios(products)), *old]
    coefficients.sort(key=lambda c: (c.engine, c.gpu, c.format, c.kernel))
    return Calibration(layers, linear, products, coefficients)


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


def coefficient_rows(coefficients: list[Coefficients]) -> pd.DataFrame:
    """The table that ships: one row per GPU and kernel, times in microseconds."""
    rows = [{f.name: getattr(c, f.name) for f in fields(Coefficients)} for c in coefficients]
    frame = pd.DataFrame(rows)
    for name in ("layer_overhead", "host_floor"):
        frame[f"{name}_s"] /= US
        frame = frame.rename(columns={f"{name}_s": f"{name}_us"})
    numbers = frame.select_dtypes("float").columns
    return frame.assign(**{name: frame[name].map(_rounded) for name in numbers})


def _rounded(value: float) -> float | None:
    """Four significant digits: beyond them two runs of the fit may differ."""
    return None if pd.isna(value) else float(f"{value:.4g}")
