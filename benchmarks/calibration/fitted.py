"""Coefficients that rest on measurements of the GPU itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.calibration.errors import (
    PhaseErrors,
    Split,
    fifths_of_shapes,
    halves,
    held_out,
    leave_models_out,
    with_errors,
)
from benchmarks.calibration.fitting import Fit, Prior, fit
from benchmarks.calibration.points import Points, gemm_points, layer_points, linear_points
from benchmarks.calibration.starts import ATTENTION, GEMM, LAYER, LINEAR, start
from cost_model.work import LayerWork
from profiles.coefficients import Coefficients
from profiles.units import US

__all__ = ["Judged", "attention_fit", "gemm_fit", "layer_fits", "linear_fits"]

HOST_FLOOR_S = 30e-6  # serving engines: 30 to 50 us a layer, weakly identified
MIN_GEMM_WEIGHTS = 15e6
# Between these sizes a KV cache stays in the L2 cache from one repetition to the next.
CACHED_BYTES = (5e6, 200e6)


@dataclass(frozen=True, slots=True)
class Judged:
    """
    A fit to all points, and its errors on points kept out.

    Parameters
    ----------
    fit
        To all points; of whole layers, where kernels of attention complete it.
    errors
        On points kept out.
    points
        What was fitted.
    alone
        What was fitted to the points, without what completes it.
    """

    fit: Fit
    errors: PhaseErrors
    points: Points
    alone: Coefficients

    @property
    def coefficients(self) -> Coefficients:
        """The coefficients with their errors."""
        return self.fit.coefficients


def _judged(
    points: Points,
    begin: Fit,
    priors: Mapping[str, Prior],
    *,
    joint_share: bool,
    splits: Split,
) -> Judged:
    fitted = partial(fit, start=begin, priors=priors, joint_share=joint_share)
    errors = held_out(points, splits, fitted)
    found = fitted(points)
    coefficients = with_errors(found.coefficients, len(points), errors)
    return Judged(
        fit=replace(found, coefficients=coefficients),
        errors=errors,
        points=points,
        alone=coefficients,
    )


def layer_fits(layers: pd.DataFrame) -> dict[str, Judged]:
    """
    Fits to whole layers of Helix's vLLM worker, by GPU.

    Judged by leaving each model out, or where there is but one, on every second point.
    """
    rows = layers[(layers["source"] == "helix") & (layers["per"] == "layer")]
    found = {}
    for gpu, own in rows.groupby("gpu"):
        begin = start(str(gpu), "vllm", "cublas", "w16a16")
        begin = replace(
            begin,
            coefficients=replace(
                begin.coefficients,
                host_floor_s=HOST_FLOOR_S,
                fitted_on="Helix layer profiles (vLLM, Apache-2.0)",
            ),
        )
        points = layer_points(own)
        several = len(np.unique(points.model)) > 1
        splits = leave_models_out(points) if several else halves(points)
        found[str(gpu)] = _judged(points, begin, LAYER, joint_share=True, splits=splits)
    return found


def linear_fits(layers: pd.DataFrame, attention: Mapping[str, Fit]) -> dict[str, Judged]:
    """
    Fits to layers without attention (Vidur), by GPU; judged by leaving each model out.

    Parameters
    ----------
    layers
        Rows of ``layers.csv``.
    attention
        Fits of the attention kernels, by GPU; the A100's stand in where there is none.
    """
    rows = layers[layers["per"] == "layer_no_attention"]
    found = {}
    for gpu, own in rows.groupby("gpu"):
        begin = start(str(gpu), "vllm", "cublas", "w16a16")
        # Vidur times the kernels of one GPU, without the all-reduce.
        free = replace(begin.link, all_reduce_latency_s=0.0, all_reduce_bytes_per_s=np.inf)
        begin = replace(begin, link=free)
        kernels = attention.get(str(gpu), attention.get("A100-80G-SXM"))
        if kernels is not None:
            begin = _with_attention(begin, kernels.coefficients)
        points = linear_points(own)
        splits = leave_models_out(points)
        judged = _judged(points, begin, LINEAR, joint_share=False, splits=splits)
        found[str(gpu)] = _completed(judged, kernels)
    return found


def _with_attention(begin: Fit, kernels: Coefficients) -> Fit:
    return replace(
        begin,
        coefficients=replace(
            begin.coefficients,
            cache_share=kernels.cache_share,
            group_penalty=kernels.group_penalty,
            attention_share=kernels.attention_share,
            attention_half_tokens=kernels.attention_half_tokens,
            fitted_on="Vidur operator profiles (MIT); attention: AIConfigurator, vLLM 0.14 "
            f"({kernels.gpu}, Apache-2.0)",
        ),
    )


def _completed(judged: Judged, kernels: Fit | None) -> Judged:
    """A whole layer's coefficients: kernel times, launch of attention, and the host's floor."""
    own = judged.coefficients
    launch = 0.0 if kernels is None else kernels.coefficients.layer_overhead_s
    whole = replace(own, layer_overhead_s=own.layer_overhead_s + launch, host_floor_s=HOST_FLOOR_S)
    return replace(judged, fit=replace(judged.fit, coefficients=whole))


def attention_fit(ops: pd.DataFrame, gpu: str) -> Fit | None:
    """Fit to attention kernels of vLLM in prefill and decode; None without such rows."""
    rows = ops[(ops["gpu"] == gpu) & ops["engine"].str.startswith("vLLM")]
    rows = rows[rows["op"].isin(["attention_prefill", "attention_decode"])]
    if rows.empty:
        return None
    points = _attention_points(rows)
    smallest, largest = CACHED_BYTES
    cached = (points.work.cache_bytes > smallest) & (points.work.cache_bytes < largest)
    return fit(
        points.take(~cached), start(gpu, "vllm", "cublas", "w16a16"), ATTENTION, joint_share=False
    )


def _attention_points(rows: pd.DataFrame) -> Points:
    batch, tokens, heads, kv_heads, width = (
        rows[name].to_numpy(dtype=np.float64)
        for name in ("batch", "tokens", "heads", "kv_heads", "head_dim")
    )
    decode = (rows["op"] == "attention_decode").to_numpy()
    nothing = np.ones(len(rows))
    work = LayerWork(
        rows=nothing,
        product_rows=nothing[None],
        product_inner=nothing[None],
        product_columns=nothing[None],
        product_count=0 * nothing[None],
        hidden_bytes=0 * nothing,
        attention_flops=np.where(decode, 0, 2 * batch * tokens**2 * heads * width),
        attention_tokens=np.where(decode, 1, tokens),
        cache_bytes=np.where(decode, 4 * batch * tokens * kv_heads * width, 0),
        heads_per_kv_head=heads / kv_heads,
        gates=0 * nothing,
    )
    return Points(
        work=work,
        tp=nothing,
        seconds=rows["latency_us"].to_numpy(dtype=np.float64) * US,
        resolution_s=0 * nothing,
        is_decode=decode,
        model=np.full(len(rows), "attention"),
    )


def gemm_fit(ops: pd.DataFrame, gpu: str, kernel: str, format_name: str, fitted_on: str) -> Judged:
    """
    Fit to matrix products of a kernel on a GPU; judged on shapes left out.

    Parameters
    ----------
    ops
        Rows of one engine and format.
    gpu, kernel, format_name, fitted_on
        What they are rows of.
    """
    begin = start(gpu, "vllm", kernel, format_name)
    described = replace(begin.coefficients, activation_factor=0.0, fitted_on=fitted_on)
    begin = replace(begin, coefficients=described)
    points = gemm_points(ops[ops["gpu"] == gpu], MIN_GEMM_WEIGHTS)
    return _judged(points, begin, GEMM, joint_share=False, splits=fifths_of_shapes(points))
