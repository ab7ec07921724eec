"""Reading cost tables: what is accepted, and how a bad row is named."""

import math

import numpy as np
import pandas as pd
import pytest

from profiles.errors import TableError
from profiles.table_schema import COLUMNS
from profiles.tables import cost_table_from_rows, cost_table_from_text, read_cost_table

ROW = {
    "gpu": "A100",
    "engine": "vllm",
    "model": "Llama-2-70b",
    "layer_kind": "decoder",
    "kernel": "marlin",
    "weight_bits": "4",
    "act_bits": "16",
    "kv_bits": "16",
    "group_size": "128",
    "tp": "1",
    "phase": "decode",
    "batch": "8",
    "tokens": "512",
    "latency_us": "631.5",
    "source": "profiler",
    "provenance": "measured",
}


def text(*rows, header=tuple(ROW)):
    return "\n".join([",".join(header), *(",".join(row.values()) for row in rows)]) + "\n"


def test_a_table_keeps_its_rows_under_the_names_of_the_catalogue():
    table = cost_table_from_text(text(ROW, ROW | {"batch": "16"}), "t.csv")
    assert list(table.rows.columns) == list(COLUMNS)
    assert list(table.rows["gpu"]) == ["A100-40G-SXM"] * 2
    assert list(table.rows["model"]) == ["llama-2-70b"] * 2
    assert list(table.rows["batch"]) == [8, 16]
    assert list(table.rows["latency_us"]) == [631.5] * 2


def test_formats_without_groups_leave_the_group_size_empty():
    row = ROW | {"kernel": "cublas", "weight_bits": "16", "group_size": "", "kv_bits": ""}
    table = cost_table_from_text(text(row), "t.csv")
    assert table.rows["group_size"].isna().all()
    assert table.rows["kv_bits"].isna().all()


def test_columns_of_the_users_own_are_left_alone():
    table = cost_table_from_text(text(ROW | {"driver": "580.95"}, header=(*ROW, "driver")), "t")
    assert "driver" not in table.rows.columns


def test_a_repeated_row_counts_once():
    assert len(cost_table_from_text(text(ROW, ROW), "t.csv").rows) == 1


def test_csv_parquet_and_rows_say_the_same(tmp_path):
    rows = [
        ROW | {"weight_bits": 4, "batch": 8, "latency_us": 631.5, "group_size": 128},
        ROW
        | {"kernel": "cublas", "weight_bits": 16, "batch": 8, "latency_us": 700.0}
        | {"group_size": None},
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    from_rows = cost_table_from_rows(rows, "inline").rows
    pd.testing.assert_frame_equal(read_cost_table(tmp_path / "t.csv").rows, from_rows)
    pd.testing.assert_frame_equal(read_cost_table(tmp_path / "t.parquet").rows, from_rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "B9000"}, "gpu is 'B9000'; it must be one of T4"),
        ({"gpu": ""}, "gpu is empty"),
        ({"engine": "tgi"}, "engine is 'tgi'; it must be one of vllm"),
        ({"model": ""}, "model is empty"),
        ({"kernel": "machete"}, "kernel 'machete' is not one of vllm's: cublas"),
        ({"weight_bits": "3"}, "kernel 'marlin' does not run w3a16, only w8a16, w4a16"),
        ({"gpu": "V100"}, "vllm has no kernel 'marlin' for w4a16 on V100-32G"),
        ({"weight_bits": "four"}, "weight_bits is 'four'; it must be a whole number"),
        ({"kv_bits": "4"}, "kv_bits is 4; it must be one of 8, 16"),
        ({"group_size": "-1"}, "group_size is -1; it must lie between 1 and"),
        ({"tp": "3"}, "tp is 3; it must be one of 1, 2, 4, 8"),
        ({"phase": "train"}, "phase is 'train'; it must be one of prefill, decode"),
        ({"batch": "0"}, "batch is 0; it must lie between 1 and"),
        ({"batch": "inf"}, "batch is 'inf'; it must be a whole number"),
        ({"batch": "1e30"}, "batch is 1e30; it must lie between 1 and"),
        ({"batch": "1.5"}, "batch is '1.5'; it must be a whole number"),
        ({"tokens": ""}, "tokens is empty"),
        ({"latency_us": "fast"}, "latency_us is 'fast'; it must be a number"),
        ({"latency_us": "nan"}, "latency_us is nan; it must be positive and finite"),
        ({"latency_us": "inf"}, "latency_us is inf; it must be positive and finite"),
        ({"latency_us": "-1"}, "latency_us is -1; it must be positive and finite"),
        ({"latency_us": "0"}, "latency_us is 0; it must be positive and finite"),
        ({"provenance": "guessed"}, "provenance is 'guessed'; it must be one of measured"),
        ({"source": ""}, "source is empty"),
        ({"latency_us": "700"}, "latency_us is 700.0, but line 2 has 631.5 for the same point"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(change, message):
    with pytest.raises(TableError) as caught:
        cost_table_from_text(text(ROW, ROW | change), "mine.csv")
    assert str(caught.value).startswith("mine.csv, line 3: ")
    assert message in str(caught.value)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: Missing columns: gpu, engine"),
        (text(ROW).replace("tokens", "token", 1), "line 1: Missing column: tokens; add it"),
        (text(ROW).replace("model", "gpu", 1), "line 1: Column gpu stands in the header twice"),
        (text(), "It has no rows"),
        (text(ROW) + "A100,vllm\n", "line 3: It has 2 cells, but the header has 16"),
        (text(ROW) + '"A100', "It is not CSV"),
    ],
)
def test_a_bad_file_is_named(content, message):
    with pytest.raises(TableError) as caught:
        cost_table_from_text(content, "mine.csv")
    assert str(caught.value).startswith("mine.csv")
    assert message in str(caught.value)


def test_lines_are_counted_past_blank_ones_and_quoted_line_breaks():
    broken = ROW | {"source": '"two\nlines"'}
    content = text(broken) + "\n" + ",".join((ROW | {"batch": "x"}).values())
    with pytest.raises(TableError, match="line 5: batch is 'x'"):
        cost_table_from_text(content, "mine.csv")


def test_files_that_cannot_be_read_are_named(tmp_path):
    binary, fake = tmp_path / "b.csv", tmp_path / "f.parquet"
    binary.write_bytes(b"\xff\xfe\xfa")
    fake.write_text("no parquet")
    for path, message in (
        (tmp_path / "t.xlsx", "must end in .csv or .parquet"),
        (tmp_path / "none.csv", "no such file"),
        (binary, "cannot be read as UTF-8"),
        (fake, "cannot be read as Parquet"),
    ):
        with pytest.raises(TableError, match=message) as caught:
            read_cost_table(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan"), pd.NA])
def test_a_missing_cell_of_an_inline_row_is_empty(missing):
    with pytest.raises(TableError, match="inline, line 2: latency_us is empty"):
        cost_table_from_rows([ROW | {"latency_us": missing}], "inline")


def test_inline_rows_lacking_a_column_are_refused():
    row = {key: cell for key, cell in ROW.items() if key != "tp"}
    with pytest.raises(TableError, match="Missing column: tp"):
        cost_table_from_rows([row], "inline")
    with pytest.raises(TableError, match="no rows"):
        cost_table_from_rows([], "inline")
