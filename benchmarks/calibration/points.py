"""Measured latencies in the form that the latency model predicts."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cost_model.arrays import FloatArray
from cost_model.work import LayerWork, decode_work, linear_work, matrix_work, prefill_work
from profiles.architecture import LayerKind
from profiles.units import MS, US

__all__ = [
    "BoolArray",
    "Points",
    "gemm_points",
    "join_works",
    "kind_of",
    "layer_points",
    "linear_points",
    "read_rows",
]

BoolArray = NDArray[np.bool_]

HELIX_CONTEXT = 650  # tokens; the source does not state it, fits point there
DECODE_ROWS = 128  # up to here a matrix product stands for decode, above for prefill
CATALOGUE_NAMES = {
    "A100-40G": "A100-40G-SXM",
    "A100-80G": "A100-80G-SXM",
    "H100": "H100-SXM",
    "P100": "P100-12G",
    "V100": "V100-32G",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """
    Measured points of one GPU, kernel and format; all arrays have one element per point.

    Parameters
    ----------
    work
        What was done.
    tp
        GPUs that shared it.
    seconds, resolution_s
        What it took, and to what step the source rounds.
    is_decode
        Whether the point counts as decode rather than prefill.
    model
        Name of the model.
    """

    work: LayerWork
    tp: FloatArray
    seconds: FloatArray
    resolution_s: FloatArray
    is_decode: BoolArray
    model: NDArray[np.str_]

    def __len__(self) -> int:
        """Number of points."""
        return len(self.seconds)

    def take(self, chosen: BoolArray) -> "Points":
        """The points where ``chosen`` is true."""
        work = {f.name: getattr(self.work, f.name)[..., chosen] for f in fields(LayerWork)}
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "work"}
        return Points(work=LayerWork(**work), **arrays)

    @classmethod
    def join(cls, parts: Sequence["Points"]) -> "Points":
        """The points of all parts, in order; all have as many matrix products."""

        def joined(pieces: list[FloatArray]) -> FloatArray:
            return np.concatenate(pieces, axis=-1)

        arrays = {
            f.name: joined([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name != "work"
        }
        return cls(work=join_works([part.work for part in parts]), **arrays)  # type: ignore[arg-type]


def join_works(parts: Sequence[LayerWork]) -> LayerWork:
    """The works of all parts, in order; all have as many matrix products."""
    arrays = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts], axis=-1)
        for f in fields(LayerWork)
    }
    return LayerWork(**arrays)


def read_rows(folder: Path, *names: str) -> pd.DataFrame:
    """Rows of the files that exist, with GPUs named as in the catalogue."""
    found = [folder / name for name in names if (folder / name).is_file()]
    rows = pd.concat([pd.read_csv(path) for path in found], ignore_index=True)
    return rows.assign(gpu=rows["gpu"].replace(CATALOGUE_NAMES))


def kind_of(row: pd.Series) -> LayerKind:
    """The shape of the layers that a row is about."""
    return LayerKind(
        name="decoder",
        hidden=int(row["hidden"]),
        heads=int(row["heads"]),
        kv_heads=int(row["kv_heads"]),
        head_dim=int(row["hidden"]) // int(row["heads"]),
        ffn=int(row["ffn"]),
        gated=bool(row["gated_ffn"]),
    )


def _groups(rows: pd.DataFrame, *by: str) -> Iterator[tuple[Hashable, pd.DataFrame]]:
    """Rows of equal model, degree of tensor parallelism and whatever else, in a fixed order."""
    return iter(rows.groupby(["model", "tp", *by], dropna=False, sort=True))


def _points(rows: pd.DataFrame, work: LayerWork, *, resolution_s: FloatArray) -> Points:
    decode = rows["phase"] == "decode"
    linear = (rows["phase"] == "any") & (rows["tokens"] <= DECODE_ROWS)
    return Points(
        work=work,
        tp=rows["tp"].to_numpy(dtype=np.float64),
        seconds=rows["latency_us"].to_numpy(dtype=np.float64) * US,
        resolution_s=resolution_s,
        is_decode=(decode | linear).to_numpy(),
        model=rows["model"].to_numpy(dtype=np.str_),
    )


def layer_points(rows: pd.DataFrame) -> Points:
    """
    Points of whole decoder layers, sorted by model, tp, phase, tokens and batch.

    A prefill row of Helix gives the tokens of all its prompts together; it is read as one prompt.
    """
    rows = rows.fillna({"tokens": HELIX_CONTEXT})
    parts = []
    for _, group in _groups(rows, "phase", "tokens"):
        first, batch = group.iloc[0], np.sort(group["batch"].to_numpy(dtype=np.int64))
        kind, tp, tokens = kind_of(first), int(first["tp"]), float(first["tokens"])
        if first["phase"] == "decode":
            work = decode_work(kind, tp, batch, tokens, 16)
            resolution = np.where(batch <= 100, 0.1 * MS, 1 * MS)
        else:
            work = prefill_work(kind, tp, batch, int(tokens))
            resolution = np.full(len(batch), 1 * MS)
        if first["source"] != "helix":
            resolution = np.zeros(len(batch))
        parts.append(_points(group.sort_values("batch"), work, resolution_s=resolution))
    return Points.join(parts)


def linear_points(rows: pd.DataFrame) -> Points:
    """Points of layers without their attention, sorted by model, tp and tokens."""
    parts = []
    for _, group in _groups(rows):
        ordered, first = group.sort_values("tokens"), group.iloc[0]
        tokens = ordered["tokens"].to_numpy(dtype=np.float64)
        work = linear_work(kind_of(first), int(first["tp"]), tokens)
        parts.append(_points(ordered, work, resolution_s=np.zeros(len(ordered))))
    return Points.join(parts)


def gemm_points(rows: pd.DataFrame, min_weights: float) -> Points:
    """
    Points of matrix products with at least so many weights.

    Smaller ones stay in the L2 cache from one repetition to the next, which a layer's do not.
    """
    rows = rows[(rows["op"] == "gemm") & (rows["n"] * rows["k"] >= min_weights)]
    rows = rows.sort_values(["n", "k", "m"])
    rows = rows.assign(model="gemm", tp=1, phase="any", tokens=rows["m"])
    parts = []
    for _, group in rows.groupby(["n", "k"]):
        shape = group.iloc[0]
        tokens = group["m"].to_numpy(dtype=np.float64)
        work = matrix_work(int(shape["k"]), int(shape["n"]), 1, tokens)
        parts.append(_points(group, work, resolution_s=np.zeros(len(group))))
    return Points.join(parts)
