"""The latency model against published measurements; needs the folder HETPLAN_MEASUREMENTS."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from profiles.coefficients import load_coefficients
from profiles.gpus import find_gpu, load_gpus
from profiles.tables import read_cost_table

pytest.importorskip("scipy", reason="scipy is missing: install the development dependencies")
from benchmarks import tables
from benchmarks.calibration.assemble import calibrate, coefficient_rows
from benchmarks.calibration.fitting import predicted_s
from benchmarks.calibration.held_out import table_errors

FOLDER = os.environ.get("HETPLAN_MEASUREMENTS", "")
needs_measurements = pytest.mark.skipif(
    not FOLDER or not (Path(FOLDER) / "layers.csv").is_file(),
    reason="HETPLAN_MEASUREMENTS does not name a folder with layers.csv",
)

# Mean relative error in decode and prefill: in the fit, and on models that took no part in it.
IN_SAMPLE = {"T4": (0.04, 0.05), "L4": (0.04, 0.03), "A100-40G-SXM": (0.06, 0.04)}
LEFT_OUT = {"V100-32G": (0.12, 0.06)}
LINEAR_MEAN, LINEAR_WORST = 0.045, 0.09
UNSEEN_SHAPES = {"w16a16": 0.08, "w8a16": 0.08, "w4a16": 0.08, "w8a8": 0.12, "fp8": 0.12}
MARLIN = ("A10", "w4a16")
MARLIN_LIMIT = 0.12
CLASS_LIMITS = (0.15, 0.25)
TABLE_LIMIT = 0.04


@pytest.fixture(scope="module")
def found():
    """All fits, with their errors on points kept out."""
    return calibrate(Path(FOLDER))


def of(fits, gpu):
    if gpu not in fits:
        pytest.skip(f"the folder HETPLAN_MEASUREMENTS has no such rows of {gpu}")
    return fits[gpu]


@needs_measurements
@pytest.mark.slow
@pytest.mark.parametrize("gpu", IN_SAMPLE)
def test_layers_of_one_model_are_fitted(found, gpu):
    judged = of(found.layers, gpu)
    errors = np.abs(predicted_s(judged.points, judged.fit) / judged.points.seconds - 1)
    decode, prefill = IN_SAMPLE[gpu]
    assert errors[judged.points.is_decode].mean() <= decode
    assert errors[~judged.points.is_decode].mean() <= prefill


@needs_measurements
@pytest.mark.slow
@pytest.mark.parametrize("gpu", LEFT_OUT)
def test_layers_of_a_model_are_predicted_from_another(found, gpu):
    errors = of(found.layers, gpu).errors
    decode, prefill = LEFT_OUT[gpu]
    assert errors.mean(decode=True) <= decode
    assert errors.mean(decode=False) <= prefill


@needs_measurements
@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["A100-80G-SXM", "A40", "H100-SXM"])
def test_linear_parts_of_a_model_are_predicted_from_the_others(found, gpu):
    errors = of(found.linear, gpu).errors
    assert errors.errors.mean() <= LINEAR_MEAN
    for fold in np.unique(errors.fold):
        assert errors.errors[errors.fold == fold].mean() <= LINEAR_WORST


@needs_measurements
@pytest.mark.slow
def test_products_of_unseen_shapes_are_predicted(found):
    for (gpu, form), judged in found.products.items():
        limit = MARLIN_LIMIT if (gpu, form) == MARLIN else UNSEEN_SHAPES[form]
        assert judged.errors.errors.mean() <= limit, (gpu, form)


@needs_measurements
@pytest.mark.slow
def test_a_gpu_left_out_is_predicted_by_its_classes(found):
    for gpu, errors in found.classes.items():
        means = errors.mean(decode=True), errors.mean(decode=False)
        assert means[0] <= CLASS_LIMITS[0], gpu
        assert means[1] <= CLASS_LIMITS[1], gpu


@needs_measurements
@pytest.mark.slow
def test_whole_models_on_an_a10g_are_predicted_from_others(found):
    (own,) = (f for f in found.engines if (f.gpu, f.format) == ("A10G", "w16a16"))
    for decode in (True, False):
        assert own.medians().median(decode=decode) <= 0.10


@needs_measurements
@pytest.mark.slow
def test_intervals_cover_what_was_kept_out_of_them(found):
    judged = found.layers | found.linear | found.products
    for name, each in judged.items():
        for decode in (True, False):
            coverage = each.errors.coverage(decode=decode)
            assert coverage is None or 0.85 <= coverage <= 0.95, (name, decode)


@needs_measurements
@pytest.mark.parametrize("gpu", IN_SAMPLE)
def test_tables_of_every_second_point_predict_the_others(gpu):
    errors = of(table_errors(Path(FOLDER)), gpu)
    assert errors.mean(decode=True) <= TABLE_LIMIT
    assert errors.mean(decode=False) <= TABLE_LIMIT


@needs_measurements
@pytest.mark.slow
def test_the_shipped_coefficients_are_those_of_the_fit(found):
    """To a percent: another build of numpy or scipy may end the search elsewhere."""
    fresh = coefficient_rows(found.coefficients).set_index(["gpu", "engine", "kernel", "format"])
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
