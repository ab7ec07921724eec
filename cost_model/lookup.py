"""The cost tables of a request, sorted by key so that a question finds its points at once."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import as_file, files
from types import MappingProxyType
from typing import Literal, NamedTuple

import pandas as pd

from cost_model.arrays import FloatArray, IntArray
from cost_model.grid import Grid, GridPoint
from cost_model.source import Source
from profiles.formats import Format
from profiles.tables import CostTable, read_cost_table
from profiles.units import US

__all__ = ["CostTables", "Phase", "TableAnswer", "TableKey", "shipped_measurements"]

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableKey:
    """
    What a row of a cost table is about, beside model, batch and tokens.

    Parameters
    ----------
    gpu, engine, layer_kind, kernel
        Names as in the columns.
    format
        Gives weight bits, activation bits and group size.
    kv_bits
        Width of the KV cache; prefill does not depend on it.
    tp
        GPUs that share the layer.
    phase
        ``prefill`` or ``decode``.
    """

    gpu: str
    engine: str
    layer_kind: str
    kernel: str
    format: Format
    kv_bits: int
    tp: int
    phase: Phase

    def choices(self) -> Iterable[Hashable]:
        """Keys of the index that answer this one, the most specific first."""
        for group_size in (self.format.group_size, None):
            for kv_bits in (self.kv_bits, None):
                yield (
                    self.gpu,
                    self.engine,
                    self.layer_kind,
                    self.kernel,
                    self.format.weight_bits,
                    self.format.act_bits,
                    group_size,
                    kv_bits if self.phase == "decode" else None,
                    self.tp,
                    self.phase,
                )


class TableAnswer(NamedTuple):
    """
    What tables say about a key.

    Parameters
    ----------
    seconds
        Of each batch, NaN outside the points, shape (M,).
    sources
        The `Source` of each number, shape (M,).
    is_own
        Whether a table of the request answers, not the shipped one.
    """

    seconds: FloatArray
    sources: IntArray
    is_own: bool


@dataclass(frozen=True, slots=True)
class CostTables:
    """
    Tables that answer questions about one model.

    Parameters
    ----------
    grids
        Points by key; build it with `of`.
    own
        Those keys of ``grids`` that tables of the request answer.
    """

    grids: Mapping[Hashable, Grid] = field(default_factory=dict)
    own: frozenset[Hashable] = frozenset()

    @classmethod
    def of(
        cls, model_name: str, tables: Sequence[CostTable] = (), *, shipped: bool = True
    ) -> "CostTables":
        """
        The rows about a model in the tables of a request, then in the shipped measured one.

        Parameters
        ----------
        model_name
            As in the column ``model``.
        tables
            Tables of the request. A key that one of them answers is not looked up in later ones.
        shipped
            Whether the measurements that ship with hetplan count too.
        """
        grids: dict[Hashable, Grid] = {}
        for table in tables:
            grids = _grids(table.rows, model_name) | grids
        own = frozenset(grids)
        if shipped:
            grids = _grids(shipped_measurements().rows, model_name) | grids
        return cls(MappingProxyType(grids), own)

    def at(self, key: TableKey, batch: IntArray, tokens: float) -> TableAnswer | None:
        """
        What the tables say about a key; None when they have no row of it.

        Parameters
        ----------
        key
            What is asked about.
        batch
            Requests, shape (M,).
        tokens
            Prompt length or context.
        """
        if not self.grids:
            return None
        for choice in key.choices():
            if choice in self.grids:
                return TableAnswer(*self.grids[choice].at(batch, tokens), choice in self.own)
        return None


def _optional_int(value: object) -> int | None:
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]


def _index_key(row: Mapping[Hashable, object]) -> Hashable:
    decode = row["phase"] == "decode"
    return (
        row["gpu"],
        row["engine"],
        row["layer_kind"],
        row["kernel"],
        _optional_int(row["weight_bits"]),
        _optional_int(row["act_bits"]),
        _optional_int(row["group_size"]),
        _optional_int(row["kv_bits"]) if decode else None,
        _optional_int(row["tp"]),
        row["phase"],
    )


def _grids(rows: pd.DataFrame, model_name: str) -> dict[Hashable, Grid]:
    points: dict[Hashable, list[GridPoint]] = {}
    for row in rows.loc[rows["model"] == model_name].to_dict("records"):
        point = GridPoint(
            int(row["batch"]),
            int(row["tokens"]),
            float(row["latency_us"]) * US,
            Source.from_label(row["provenance"]),
        )
        points.setdefault(_index_key(row), []).append(point)
    return {key: Grid(found) for key, found in points.items()}


@cache
def shipped_measurements() -> CostTable:
    """The published measurements that ship with hetplan."""
    with as_file(files("profiles").joinpath("data", "tables", "measured.csv")) as path:
        return read_cost_table(path)
