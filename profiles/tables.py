"""
Reading cost tables: one row per measured or computed latency, CSV or Parquet.

The columns are those of `profiles.table_schema.COLUMNS`; a table may have more, which are left
alone. A row that breaks the schema is named by file and line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from profiles.csv_lines import CsvLine, csv_lines, read_csv_text
from profiles.errors import InputError, TableError
from profiles.gpus import NO_OWN_GPUS, OwnGpus
from profiles.table_schema import COLUMNS, KEY_COLUMNS, Value, check_kernel, gpu_of

__all__ = ["CostTable", "cost_table_from_rows", "cost_table_from_text", "read_cost_table"]

_NULLABLE = ("kv_bits", "group_size")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostTable:
    """
    A checked cost table.

    Parameters
    ----------
    name
        The file, or what the user calls the table.
    rows
        One row per point with the columns of the schema, in the table's order and without
        repeated rows. GPUs and models bear their names of the catalogue; ``kv_bits`` and
        ``group_size`` may be missing; ``latency_us`` is in microseconds as in the file.
    """

    name: str
    rows: pd.DataFrame


def read_cost_table(path: str | Path, own_gpus: OwnGpus = NO_OWN_GPUS) -> CostTable:
    """
    Read and check a cost table.

    Parameters
    ----------
    path
        A file ending in ``.csv`` or ``.parquet``.
    own_gpus
        GPUs of the user's own that rows may name beside those of the catalogue.

    Raises
    ------
    TableError
        Naming the file, the line (the header is line 1) and what is wrong there.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise TableError("Name must end in .csv or .parquet; convert it.", file=str(path))
    if not path.is_file():
        raise TableError("There is no such file; check the path.", file=str(path))
    if path.suffix.lower() == ".parquet":
        return cost_table_from_rows(_parquet_rows(path), str(path), own_gpus)
    return cost_table_from_text(read_csv_text(path), str(path), own_gpus)


def _parquet_rows(path: Path) -> list[dict[str, object]]:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise TableError(f"It cannot be read as Parquet ({error}).", file=str(path)) from None
    return [{str(key): cell for key, cell in row.items()} for row in frame.to_dict("records")]


def cost_table_from_text(text: str, name: str, own_gpus: OwnGpus = NO_OWN_GPUS) -> CostTable:
    """
    Check a cost table given as CSV text.

    Parameters
    ----------
    text
        The table, its header first.
    name
        What errors call it.
    own_gpus
        See `read_cost_table`.

    Raises
    ------
    TableError
        Naming the table and the line (the header is line 1).
    """

    def check_header(header: Sequence[str]) -> None:
        _check_header(header, name)

    return _table(list(csv_lines(text, name, check_header)), name, own_gpus)


def cost_table_from_rows(
    rows: Sequence[Mapping[str, object]], name: str, own_gpus: OwnGpus = NO_OWN_GPUS
) -> CostTable:
    """
    Check a cost table given row by row.

    Parameters
    ----------
    rows
        Mappings from column to cell. A missing cell is None, NaN or absent.
    name
        What errors call the table.
    own_gpus
        See `read_cost_table`.

    Raises
    ------
    TableError
        Naming the table and the line: the first row counts as line 2, below a header.
    """
    header = list(dict.fromkeys(key for row in rows for key in row))
    if rows:
        _check_header(header, name)
    lines = [
        CsvLine(number, {column: _cell_text(row.get(column)) for column in COLUMNS})
        for number, row in enumerate(rows, start=2)
    ]
    return _table(lines, name, own_gpus)


def _cell_text(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _check_header(header: Sequence[str], name: str) -> None:
    twice = sorted({column for column in header if header.count(column) > 1 and column})
    if twice:
        raise TableError(f"Column {twice[0]} stands in the header twice.", file=name, line=1)
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise TableError(
            f"Missing column{'s' * (len(missing) > 1)}: {', '.join(missing)}; add it.",
            file=name,
            line=1,
        )


def _table(lines: Sequence[CsvLine], name: str, own_gpus: OwnGpus) -> CostTable:
    if not lines:
        raise TableError("It has no rows; add at least one.", file=name)
    rows = [_checked(line, name, own_gpus) for line in lines]
    frame = pd.DataFrame(_without_repeats(rows, lines, name), columns=list(COLUMNS))
    return CostTable(name=name, rows=frame.astype(dict.fromkeys(_NULLABLE, "Int64")))


def _checked(line: CsvLine, name: str, own_gpus: OwnGpus) -> dict[str, Value]:
    column = ""
    row: dict[str, Any] = {}
    try:
        for column, parse in COLUMNS.items():
            row[column] = parse(line.cells[column])
        column = "gpu"
        gpu = gpu_of(row[column], own_gpus)
        row[column] = gpu.name
    except InputError as error:
        raise TableError(f"{column} {error.message}.", file=name, line=line.number) from None
    try:
        check_kernel(gpu, row["engine"], row["kernel"], row["weight_bits"], row["act_bits"])
    except InputError as error:
        raise TableError(f"{error.message}.", file=name, line=line.number) from None
    return row


def _without_repeats(
    rows: Sequence[dict[str, Value]], lines: Sequence[CsvLine], name: str
) -> list[dict[str, Value]]:
    """The rows, each key once; two rows of one key must have the same latency."""
    first: dict[tuple[Value, ...], int] = {}
    for index, row in enumerate(rows):
        key = tuple(row[column] for column in KEY_COLUMNS)
        earlier = first.setdefault(key, index)
        if row["latency_us"] != rows[earlier]["latency_us"]:
            raise TableError(
                f"latency_us is {row['latency_us']}, but line {lines[earlier].number} has "
                f"{rows[earlier]['latency_us']} for the same point; keep one of them.",
                file=name,
                line=lines[index].number,
            )
    return [rows[index] for index in first.values()]
