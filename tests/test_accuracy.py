"""The gate: no group of measured rows is predicted worse than recorded in docs/accuracy.csv."""

import os
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="scipy is missing: install the development dependencies")
from benchmarks.accuracy import RECORD, figures_of, read_record, worse
from benchmarks.calibration.shipped import measured_groups

FOLDER = os.environ.get("HETPLAN_MEASUREMENTS", "")
needs_measurements = pytest.mark.skipif(
    not FOLDER or not (Path(FOLDER) / "layers.csv").is_file(),
    reason="HETPLAN_MEASUREMENTS does not name a folder with layers.csv: the gate is not judged",
)
KEY = ("T4", "vllm", "layer (Helix)", "decode", "w16a16 cublas")
FIGURES = {
    "points": 136.0,
    "mean_percent": 3.2,
    "median_percent": 2.0,
    "p90_percent": 7.0,
    "coverage_percent": 90.0,
}


@needs_measurements
def test_no_group_is_predicted_worse_than_recorded():
    found, recorded = figures_of(measured_groups(Path(FOLDER))), read_record()
    same = [key for key in found if found[key]["points"] == recorded.get(key, {}).get("points")]
    if not same:
        pytest.skip("HETPLAN_MEASUREMENTS holds other rows than docs/accuracy.csv records")
    assert worse(found, recorded) == []


def test_a_record_is_kept_and_names_every_kind_of_row():
    kinds = {key[2] for key in read_record(RECORD)}
    assert {"layer (Helix)", "matrix product", "whole model"} <= kinds


def test_a_group_that_got_worse_is_named_with_both_figures():
    later = {KEY: FIGURES | {"mean_percent": 3.6}}
    (text,) = worse(later, {KEY: FIGURES})
    assert "T4" in text
    assert "3.6 %, recorded 3.2 %" in text


def test_a_better_group_passes():
    assert worse({KEY: FIGURES | {"mean_percent": 1.0}}, {KEY: FIGURES}) == []


def test_a_group_that_is_predicted_no_more_is_named():
    assert "predicted no more" in worse({}, {KEY: FIGURES})[0]


def test_another_number_of_rows_is_another_group():
    fewer = {KEY: FIGURES | {"points": 100.0, "mean_percent": 9.0}}
    assert worse(fewer, {KEY: FIGURES}) == []
