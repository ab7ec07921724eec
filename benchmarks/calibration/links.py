"""Bandwidth and latency of links, fitted to transfers and to layers split over GPUs."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from benchmarks.calibration.fitted import Judged
from benchmarks.calibration.fitting import Fit, Prior, fit
from benchmarks.calibration.points import layer_points, read_rows
from cost_model.arrays import FloatArray
from profiles.units import GB, US

__all__ = ["link_figures", "write_links"]

Figures = dict[str, float]

# Rows of comm.csv behind a link: their name for it, GPUs per node for one-to-one transfers.
POINT_TO_POINT = {
    "nvlink-a100": ("A100-80G DGX NVSwitch", 2),
    "nvlink-h100": ("H100 DGX NVSwitch", 2),
    "nvlink-a100-bridge": ("A100-80G pairwise NVLink", 2),
}
ALL_REDUCE = {"nvlink-a100": "A100-SXM NVSwitch", "nvlink-h100": "H100-SXM NVSwitch"}
# Links whose all-reduce shows in layers that several GPUs share.
LAYERS = {"pcie3-x16": "T4", "pcie4-x16": "L4"}
# Links whose all-reduce shows in whole models. Inside an engine it is two to three times as slow
# as in a benchmark of nothing else, which therefore gives the latency only.
MODELS = {"nvlink-a100": "A100-80G-SXM", "nvlink-h100": "H100-SXM"}
MIN_TOKENS = 2048  # in one pass: below, the host's launches rule what Splitwise measured


def link_figures(
    folder: Path, layers: Mapping[str, Judged], linear: Mapping[str, Judged]
) -> dict[str, Figures]:
    """
    Columns of ``links.csv`` that measurements give, by link.

    Parameters
    ----------
    folder
        Holds ``comm.csv`` and ``layers.csv``.
    layers, linear
        Fits to whole layers and to layers without attention, by GPU.
    """
    rows = pd.read_csv(folder / "comm.csv")
    found: dict[str, Figures] = {name: {} for name in (*LAYERS, *POINT_TO_POINT)}
    for name, (link, per_node) in POINT_TO_POINT.items():
        own = rows[(rows["link"] == link) & (rows["gpus_per_node"] == per_node)]
        own = own[own["op"] == "p2p_send_recv"]
        latency, rate = _latency_and_rate(own, np.ones(len(own)))
        found[name] |= {"gb_per_s": rate, "latency_us": latency}
    for name, link in ALL_REDUCE.items():
        own = rows[(rows["link"] == link) & (rows["op"] == "all_reduce")]
        gpus = own["n_gpus"].to_numpy(dtype=np.float64)
        latency, _ = _latency_and_rate(own, 2 * (gpus - 1) / gpus)
        rate = _rate_in_engine(folder, linear[MODELS[name]].fit, latency * US) / GB
        found[name] |= {"all_reduce_gb_per_s": rate, "all_reduce_latency_us": latency}
    for name, gpu in LAYERS.items():
        fitted = layers[gpu].fit.link
        found[name] |= {
            "all_reduce_gb_per_s": fitted.all_reduce_bytes_per_s / GB,
            "all_reduce_latency_us": fitted.all_reduce_latency_s / US,
        }
    return found


def _rate_in_engine(folder: Path, layer: Fit, latency_s: float) -> float:
    """All-reduce bandwidth (bytes/s) under which layers add up to Splitwise's prefill times."""
    rows = read_rows(folder, "layers.csv")
    rows = rows[(rows["source"] == "splitwise") & (rows["gpu"] == layer.coefficients.gpu)]
    rows = rows[(rows["phase"] == "prefill") & (rows["batch"] * rows["tokens"] >= MIN_TOKENS)]
    points = layer_points(rows.assign(latency_us=rows["latency_us"] / rows["n_layers"]))
    begin = replace(layer, link=replace(layer.link, all_reduce_latency_s=latency_s))
    prior = {"all_reduce_bytes_per_s": Prior(100 * GB, 1.0)}
    return fit(points, begin, prior, joint_share=False).link.all_reduce_bytes_per_s


def _latency_and_rate(rows: pd.DataFrame, share: FloatArray) -> tuple[float, float]:
    """Latency (us) and bandwidth (GB/s) of least squared log error."""
    traffic = rows["bytes"].to_numpy(dtype=np.float64) * share / GB
    measured = np.log(rows["latency_us"].to_numpy(dtype=np.float64))

    def residuals(logs: FloatArray) -> FloatArray:
        latency, rate = np.exp(logs)
        return np.asarray(np.log(latency + traffic / rate / US) - measured, dtype=np.float64)

    start: FloatArray = np.log([10.0, 100.0])
    latency, rate = np.exp(least_squares(residuals, start).x)
    return float(latency), float(rate)


def write_links(path: Path, found: Mapping[str, Figures]) -> None:
    """Replace figures in ``links.csv``; all else stays as it is."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        figures = found.get(row["name"], {})
        row.update({column: f"{value:.3g}" for column, value in figures.items()})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
