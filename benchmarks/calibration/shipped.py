"""What the shipped coefficients say about every measured row, and how far they are off."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.calibration.assemble import PRODUCTS, VIDUR
from benchmarks.calibration.fitted import MIN_GEMM_WEIGHTS
from benchmarks.calibration.fitting import Fit, predicted_s
from benchmarks.calibration.points import (
    BoolArray,
    Points,
    gemm_points,
    layer_points,
    linear_points,
    read_rows,
)
from benchmarks.calibration.whole_models import FAMILIES, runs_of, runs_s
from cost_model.arrays import FloatArray
from profiles.coefficients import Coefficients, load_coefficients, load_coefficients_alone
from profiles.gpus import find_gpu
from profiles.links import default_link

__all__ = ["Group", "measured_groups"]

_OLD_FORMATS = {
    "none": ("cublas", "w16a16"),
    "gptq-cuda-3bit (2023)": ("gptq-cuda", "w3a16"),
    "gptq-cuda-4bit (2023)": ("gptq-cuda", "w4a16"),
    "tensor-core int8 linear (8:tc-li)": ("llm-int8", "llm-int8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """
    Measured rows of one GPU, engine, kind, phase and format beside their predictions.

    Parameters
    ----------
    gpu, engine, what, phase, format
        What they are rows of.
    ratios
        Measured over predicted time, shape (N,).
    low, high
        The shipped 90 % interval of that ratio.
    """

    gpu: str
    engine: str
    what: str
    phase: str
    format: str
    ratios: FloatArray
    low: float
    high: float

    @property
    def errors(self) -> FloatArray:
        """Relative errors of the predictions, shape (N,)."""
        return np.abs(1 / self.ratios - 1)

    @property
    def coverage(self) -> float:
        """Share of the rows inside the interval."""
        return float(((self.ratios >= self.low) & (self.ratios <= self.high)).mean())


def measured_groups(folder: Path) -> Iterator[Group]:
    """
    All groups of the measurements that the shipped coefficients answer.

    Parameters
    ----------
    folder
        Holds ``layers.csv`` and ``ops.csv``, and what has no licence beside them.
    """
    layers = read_rows(folder, "layers.csv", "layers_no_licence.csv")
    yield from _layers(layers)
    yield from _linear(layers)
    yield from _of_2023(layers)
    if (folder / "ops.csv").is_file():
        yield from _products(read_rows(folder, "ops.csv", "ops_no_licence.csv"))
    yield from _whole_models(layers)


def _known(gpu: str, engine: str, kernel: str, form: str) -> Coefficients | None:
    return load_coefficients().get((gpu, engine, kernel, form))


def _groups(
    known: Coefficients,
    engine: str,
    what: str,
    ratios: FloatArray,
    phases: Mapping[str, BoolArray],
) -> Iterator[Group]:
    for phase, chosen in phases.items():
        if chosen.any():
            side = "prefill" if phase == "prefill" else "decode"
            yield Group(
                gpu=known.gpu,
                engine=engine,
                what=what,
                phase=phase,
                format=f"{known.format} {known.kernel}",
                ratios=ratios[chosen],
                low=getattr(known, f"{side}_low"),
                high=getattr(known, f"{side}_high"),
            )


def _of_points(points: Points, known: Coefficients, engine: str, what: str) -> Iterator[Group]:
    link = default_link([find_gpu(known.gpu)])
    ratios = points.seconds / predicted_s(points, Fit(known, link))
    phases = {"decode": points.is_decode, "prefill": ~points.is_decode}
    yield from _groups(known, engine, what, ratios, phases)


def _layers(layers: pd.DataFrame) -> Iterator[Group]:
    rows = layers[(layers["source"] == "helix") & (layers["per"] == "layer")]
    for gpu, own in rows.groupby("gpu"):
        known = _known(str(gpu), "vllm", "cublas", "w16a16")
        if known is not None:
            yield from _of_points(layer_points(own), known, "vllm", "layer (Helix)")


def _linear(layers: pd.DataFrame) -> Iterator[Group]:
    """Vidur times kernels of one GPU: no all-reduce, no attention, and nothing for the host."""
    for gpu, own in layers[layers["per"] == "layer_no_attention"].groupby("gpu"):
        known = load_coefficients_alone().get((str(gpu), VIDUR, "cublas", "w16a16"))
        if known is not None:
            alone = _unshared(linear_points(own))
            yield from _of_points(alone, known, VIDUR, "layer without attention")


def _unshared(points: Points) -> Points:
    """The points as one GPU's own share, which is what their work states already."""
    return replace(points, tp=np.ones_like(points.tp))


def _of_2023(layers: pd.DataFrame) -> Iterator[Group]:
    for (gpu, method), own in layers[layers["source"] == "llm-pq"].groupby(
        ["gpu", layers["quant_method"].fillna("none")]
    ):
        known = _known(str(gpu), "llm-pq-2023", *_OLD_FORMATS[str(method)])
        if known is not None:
            yield from _of_points(layer_points(own), known, "llm-pq-2023", "layer (LLM-PQ)")


def _products(ops: pd.DataFrame) -> Iterator[Group]:
    for (gpu, kernel, form), (engine, method) in PRODUCTS.items():
        known = load_coefficients_alone().get((gpu, engine, kernel, form))
        own = ops[(ops["gpu"] == gpu) & (ops["engine"] == engine)]
        own = own[own["quant_method"].fillna("none") == method]
        if known is not None and not own.empty:
            points = gemm_points(own, MIN_GEMM_WEIGHTS)
            yield from _of_points(points, known, engine, "matrix product")


def _whole_models(layers: pd.DataFrame) -> Iterator[Group]:
    for family in FAMILIES:
        rows = family.rows(layers)
        for gpu in sorted(rows["gpu"].unique()):
            known = _known(gpu, family.engine, family.kernel, family.format)
            if known is None:
                continue
            runs = runs_of(rows, gpu)
            phases = {phase: runs.phase == phase for phase in ("decode", "prefill", "e2e")}
            ratios = runs.seconds / runs_s(runs, known)
            yield from _groups(known, family.engine, "whole model", ratios, phases)
