"""What every fit misses on points that took no part in it, as one table."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.calibration.assemble import Calibration
from benchmarks.calibration.errors import PhaseErrors
from benchmarks.calibration.points import HELIX_CONTEXT, read_rows
from cost_model.grid import Grid, GridPoint
from cost_model.source import Source
from profiles.units import US

__all__ = ["COLUMNS", "held_out_rows", "table_errors"]

COLUMNS = (
    "what",
    "gpu",
    "engine",
    "format",
    "phase",
    "left_out",
    "points",
    "mean_percent",
    "median_percent",
    "p90_percent",
    "interval_low",
    "interval_high",
    "coverage_percent",
)
Row = dict[str, object]


def held_out_rows(found: Calibration, folder: Path) -> list[Row]:
    """
    A row per kind of fit, GPU, engine, format and phase.

    Parameters
    ----------
    found
        All fits.
    folder
        The measurements, for tables of every second point.
    """
    rows: list[Row] = []
    for gpu, judged in found.layers.items():
        models = len(np.unique(judged.points.model))
        left = "each model" if models > 1 else "every second point"
        rows += _rows("layers", gpu, "vllm", "w16a16", left, judged.errors)
    for gpu, judged in found.linear.items():
        rows += _rows(
            "layers without attention", gpu, "vllm", "w16a16", "each model", judged.errors
        )
    for gpu, errors in table_errors(folder).items():
        rows += _rows("tables of layers", gpu, "vllm", "w16a16", "every second point", errors)
    for gpu, errors in found.classes.items():
        rows += _rows("class coefficients", gpu, "vllm", "w16a16", "the GPU", errors)
    for (gpu, form), judged in found.products.items():
        engine = judged.coefficients.fitted_on.partition(",")[0]
        rows += _rows("matrix products", gpu, engine, form, "a fifth of the shapes", judged.errors)
    for factor in found.engines:
        engine = f"{factor.engine} {factor.kernel}"
        gpu = factor.gpu or " ".join(factor.timed_on)
        rows += _rows("whole models", gpu, engine, factor.format, factor.left_out, factor.errors)
        if factor.has_medians:
            left = f"{factor.left_out}, median run of each model"
            rows += _rows("whole models", gpu, engine, factor.format, left, factor.medians())
    return rows


def _rows(
    what: str, gpu: str, engine: str, form: str, left: str, errors: PhaseErrors
) -> Iterator[Row]:
    for phase, decode in (("decode", True), ("prefill", False)):
        points = int((errors.is_decode == decode).sum())
        if not points:
            continue
        low, high = errors.interval(decode=decode) or ("", "")
        yield dict(
            zip(
                COLUMNS,
                (
                    what, gpu, engine, form, phase, left, points,
                    _percent(errors.mean(decode=decode)),
                    _percent(errors.median(decode=decode)),
                    _percent(errors.p90(decode=decode)),
                    _rounded(low), _rounded(high),
                    _percent(errors.coverage(decode=decode)),
                ),
                strict=True,
            )
        )  # fmt: skip


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _rounded(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def table_errors(folder: Path) -> dict[str, PhaseErrors]:
    """Log-log interpolation of the layers of Helix between every second point, by GPU."""
    layers = read_rows(folder, "layers.csv")
    layers = layers[layers["source"] == "helix"].fillna({"tokens": HELIX_CONTEXT})
    found = {}
    for gpu, own in layers.groupby("gpu"):
        parts = [_between(rows) for _, rows in own.groupby(["model", "tp", "phase"])]
        found[str(gpu)] = PhaseErrors(*map(np.concatenate, zip(*parts, strict=True)))
    return found


def _between(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratios, phases and splits of one line of points; the ends are never asked for."""
    rows = rows.sort_values(["tokens", "batch"])
    place = rows["batch"] if rows["phase"].iloc[0] == "decode" else rows["tokens"]
    at, seconds = place.to_numpy(dtype=np.int64), rows["latency_us"].to_numpy() * US
    kept = np.arange(len(at)) % 2 == 0
    grid = Grid(
        GridPoint(int(b), 1, float(s), Source.MEASURED)
        for b, s in zip(at[kept], seconds[kept], strict=True)
    )
    predicted, _ = grid.at(at[~kept], 1)
    ratios = (seconds[~kept] / predicted)[~np.isnan(predicted)]
    decode = np.full(len(ratios), rows["phase"].iloc[0] == "decode")
    return ratios, decode, np.arange(len(ratios)) % 2
