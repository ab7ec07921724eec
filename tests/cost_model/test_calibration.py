"""The latency model against published measurements; needs the folder HETPLAN_MEASUREMENTS."""

import os
from pathlib import Path

import pandas as pd
import pytest

from profiles.coefficients import load_coefficients
from profiles.gpus import find_gpu, load_gpus
from profiles.tables import read_cost_table

pytest.importorskip("scipy", reason="scipy is missing: install the development dependencies")
from benchmarks import tables
from benchmarks.calibration.assemble import (
    calibrate,
    coefficient_rows,
    judge_layers,
)

FOLDER = os.environ.get("HETPLAN_MEASUREMENTS", "")
needs_measurements = pytest.mark.skipif(
    not FOLDER or not (Path(FOLDER) / "layers.csv").is_file(),
    reason="HETPLAN_MEASUREMENTS does not name a folder with layers.csv",
)

# Mean relative error in decode and prefill on points that took no part in the fit.
LAYER_LIMITS = {
    "T4": (0.07, 0.08),
    "L4": (0.07, 0.06),
    "A100-40G-SXM": (0.09, 0.07),
    "V100-32G": (0.12, 0.07),
}
LINEAR_LIMIT = 0.06


@pytest.fixture(scope="module")
def judged():
    """Fits to layers and to layers without attention, with their errors."""
    return judge_layers(Path(FOLDER))


def errors_of(fits, gpu):
    if gpu not in fits:
        pytest.skip(f"the folder HETPLAN_MEASUREMENTS has no such rows of {gpu}")
    return fits[gpu].errors


@needs_measurements
@pytest.mark.parametrize("gpu", LAYER_LIMITS)
def test_layers_are_predicted_from_every_second_point(judged, gpu):
    errors = errors_of(judged[0], gpu)
    decode, prefill = LAYER_LIMITS[gpu]
    assert errors.mean(decode=True) <= decode
    assert errors.mean(decode=False) <= prefill


@needs_measurements
@pytest.mark.parametrize("gpu", ["A100-80G-SXM", "A40", "H100-SXM"])
def test_linear_parts_of_a_model_are_predicted_from_the_others(judged, gpu):
    assert errors_of(judged[1], gpu).errors.mean() <= LINEAR_LIMIT


@needs_measurements
def test_the_shipped_coefficients_are_those_of_the_fit():
    """To a percent: another build of numpy or scipy may end the search elsewhere."""
    found = calibrate(Path(FOLDER)).coefficients
    fresh = coefficient_rows(found).set_index(["gpu", "engine", "kernel", "format"])
    for key, shipped in load_coefficients().items():
        for name in ("compute_share", "memory_share", "activation_factor"):
            assert getattr(shipped, name) == pytest.approx(fresh.loc[key, name], rel=0.01)


@pytest.mark.parametrize("gpu", load_gpus())
def test_the_shipped_tables_are_what_the_model_says(gpu, tmp_path):
    text = tables.table_text(find_gpu(gpu))
    if text is None:
        assert not tables.table_path(find_gpu(gpu)).exists()
        return
    fresh = tmp_path / "fresh.csv"
    fresh.write_text(text)
    shipped = read_cost_table(tables.table_path(find_gpu(gpu))).rows
    pd.testing.assert_frame_equal(shipped, read_cost_table(fresh).rows, atol=0.11)
