"""
Coefficients of the engine LLM-PQ ran on in 2023, from its published OPT-30b layers.

They ship with hetplan as measured rows, so this needs no folder of measurements.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from statistics import geometric_mean

import numpy as np
import pandas as pd

from benchmarks.calibration.errors import (
    FEW_POINTS,
    PhaseErrors,
    Split,
    held_out,
    with_errors,
    with_intervals,
)
from benchmarks.calibration.fitting import Prior, fit, predicted_s
from benchmarks.calibration.points import Points, layer_points
from benchmarks.calibration.starts import MAT_VEC, OLD_INT8, OLD_LAYER, start
from benchmarks.calibration.transfer import NOT_HELD_OUT, shipped_pairs
from cost_model.lookup import shipped_measurements
from profiles.coefficients import Coefficients
from profiles.gpus import Gpu, find_gpu
from profiles.models import find_model

__all__ = ["engine_2023"]

ENGINE = "llm-pq-2023"
# PyTorch launches kernel by kernel: 0.65-0.95 ms a layer in transformers.
HOST_FLOOR_S = 650e-6
PRIORS = {"w16a16": OLD_LAYER, "llm-int8": OLD_INT8, "w4a16": MAT_VEC, "w3a16": MAT_VEC}
FORMATS = {(16, 16): "w16a16", (8, 8): "llm-int8", (4, 16): "w4a16", (3, 16): "w3a16"}
MIN_POINTS_TO_JUDGE = 6
SIBLINGS = {"P100-16G": "P100-12G", "V100-16G": "V100-32G"}

Key = tuple[str, str]  # GPU and format


def engine_2023(full_vllm: Mapping[str, Coefficients]) -> list[Coefficients]:
    """
    The engine's coefficients on every GPU.

    Parameters
    ----------
    full_vllm
        vLLM's 16-bit kernels by GPU, to which unmeasured GPUs are scaled.
    """
    fitted = _fitted()
    ratios = {
        share: geometric_mean(
            getattr(fitted[gpu, "w16a16"], share) / getattr(full_vllm[gpu], share)
            for gpu in ("T4", "V100-32G")
        )
        for share in ("compute_share", "memory_share")
    }
    found: list[Coefficients] = []
    for gpu, kernel in shipped_pairs(ENGINE):
        key = (SIBLINGS.get(gpu.name, gpu.name), kernel.format)
        if key in fitted:
            found.append(_named(fitted[key], gpu))
        elif kernel.format == "w16a16":
            found.append(_full(full_vllm[gpu.name], ratios))
        elif kernel.format == "llm-int8":
            full = next(c for c in found if (c.gpu, c.format) == (gpu.name, "w16a16"))
            found.append(_int8(full, gpu, fitted))
        else:
            found.append(_mat_vec(gpu, kernel.format, fitted))
    return found


def _fitted() -> dict[Key, Coefficients]:
    rows = shipped_measurements().rows
    rows = rows[rows["engine"] == ENGINE].assign(
        format=[FORMATS[bits] for bits in zip(rows["weight_bits"], rows["act_bits"], strict=True)]
    )
    return {
        (str(gpu), str(form)): _fit(_with_shapes(own), str(gpu), str(form))
        for (gpu, form), own in rows.groupby(["gpu", "format"])
    }


def _with_shapes(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the shape of their model's layers, as `layer_points` wants it."""
    kinds = [find_model(name).kinds[0] for name in rows["model"]]
    return rows.assign(
        hidden=[kind.hidden for kind in kinds],
        ffn=[kind.ffn for kind in kinds],
        heads=[kind.heads for kind in kinds],
        kv_heads=[kind.kv_heads for kind in kinds],
        gated_ffn=[kind.gated for kind in kinds],
    )


def _fit(rows: pd.DataFrame, gpu: str, format_name: str) -> Coefficients:
    points = layer_points(rows)
    begin = start(gpu, ENGINE, str(rows["kernel"].iloc[0]), format_name)
    described = replace(
        begin.coefficients,
        host_floor_s=HOST_FLOOR_S,
        fitted_on="LLM-PQ's published OPT-30b layers, prompt 512",
    )
    priors: Mapping[str, Prior] = PRIORS[format_name]
    if priors is MAT_VEC:
        # Row by row: half a batch costs half, with a sharp corner.
        described = replace(
            described, half_tokens=0.0, wave_share=0.0, narrow_factor=0.0, sharpness=4.0
        )
    begin = replace(begin, coefficients=described)
    fitted = partial(fit, start=begin, priors=priors, joint_share=False)
    found = fitted(points)
    if len(points) >= MIN_POINTS_TO_JUDGE:
        errors = held_out(points, _one_out(points), fitted)
        return with_errors(found.coefficients, len(points), errors)
    ratios = points.seconds / predicted_s(points, found)
    fit_to = PhaseErrors(ratios, points.is_decode, np.zeros(len(points), dtype=np.int64))
    return with_intervals(
        replace(found.coefficients, num_points=len(points)),
        fit_to.wide(decode=True),
        fit_to.wide(decode=False),
        FEW_POINTS,
    )


def _one_out(points: Points) -> Split:
    for index in range(len(points)):
        out = np.arange(len(points)) == index
        yield ~out, out


def _carried(coefficients: Coefficients, gpu: Gpu, basis: str, **changes: float) -> Coefficients:
    return replace(
        coefficients,
        gpu=gpu.name,
        num_points=0,
        decode_mape=None,
        prefill_mape=None,
        decode_p90=None,
        prefill_p90=None,
        interval_basis=NOT_HELD_OUT,
        basis=basis,
        **changes,  # type: ignore[arg-type]
    )


def _named(fitted: Coefficients, gpu: Gpu) -> Coefficients:
    same = fitted.gpu == gpu.name
    return fitted if same else _carried(fitted, gpu, f"scaled from {fitted.gpu}")


def _full(vllm: Coefficients, ratios: Mapping[str, float]) -> Coefficients:
    basis = "vllm on the same GPU, scaled as T4 and V100 between the engines"
    shares = {name: min(getattr(vllm, name) * ratio, 1.0) for name, ratio in ratios.items()}
    carried = _carried(vllm, find_gpu(vllm.gpu), basis, host_floor_s=HOST_FLOOR_S, **shares)
    return replace(carried, engine=ENGINE)


def _int8(full: Coefficients, gpu: Gpu, fitted: Mapping[Key, Coefficients]) -> Coefficients:
    """As on the T4 where there are int8 tensor cores, else as on the V100."""
    like = "V100-32G" if gpu.int8_ops is None else "T4"
    low, high = fitted[like, "llm-int8"], fitted[like, "w16a16"]
    carried = _carried(
        full,
        gpu,
        f"w16a16 on the same GPU, scaled as on {like}",
        compute_share=min(full.compute_share * low.compute_share / high.compute_share, 1.0),
        memory_share=min(full.memory_share * low.memory_share / high.memory_share, 1.0),
        layer_overhead_s=low.layer_overhead_s,
    )
    return replace(carried, kernel=low.kernel, format=low.format)


def _mat_vec(gpu: Gpu, format_name: str, fitted: Mapping[Key, Coefficients]) -> Coefficients:
    """Mat-vec kernels have no use for tensor cores: their speed goes with the bandwidth."""
    like = "V100-32G" if gpu.compute_capability in (60, 80, 90) else "T4"
    low, reference = fitted[like, format_name], find_gpu(like)
    bandwidths = gpu.memory_bytes_per_s / reference.memory_bytes_per_s
    peaks = gpu.fp16_flops / reference.fp16_flops
    basis = f"scaled from {like} by memory bandwidth"
    return _carried(low, gpu, basis, compute_share=low.compute_share * bandwidths / peaks)
