"""The memory model against published peaks; needs the folder HETPLAN_MEASUREMENTS."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import (
    ENGINE,
    MOST_MEDIAN,
    PAGE,
    errors_by,
    page_text,
    read_runs,
    refitted_runtimes,
)
from cost_model.stages import stage_bytes
from profiles.cluster import EngineSettings, Workload
from profiles.engine_memory import engine_memory, runtime_bytes
from profiles.errors import InputError
from profiles.formats import find_format
from profiles.models import find_model
from profiles.units import MIB

FOLDER = Path(os.environ.get("HETPLAN_MEASUREMENTS") or "/nonexistent")
needs_measurements = pytest.mark.skipif(
    not (FOLDER / "layers_no_licence.csv").is_file(),
    reason="HETPLAN_MEASUREMENTS does not name a folder with layers_no_licence.csv",
)


@pytest.fixture(scope="module")
def runs():
    return read_runs(FOLDER)


def bytes_of(engine):
    workload = Workload(batch_sizes=(2,), prompt_tokens=100, output_tokens=28)
    model = find_model("llama-2-7b")
    return stage_bytes(model, [1], [find_format("w16a16")], engine, workload, np.array([2]))


@needs_measurements
def test_peaks_are_predicted_within_a_tenth_in_the_median(runs):
    found = errors_by(runs)
    assert sum(each.count for each in found.values()) > 1000
    assert len(found) >= 10
    assert max(each.median for each in found.values()) <= MOST_MEDIAN


@needs_measurements
def test_a_runtime_fitted_without_the_model_judged_does_as_well(runs):
    assert max(each.median for each in errors_by(runs, leave_out=True).values()) <= MOST_MEDIAN


@needs_measurements
def test_a_gigabyte_forgotten_would_not_pass(runs):
    light = [replace(run, modelled_bytes=run.modelled_bytes - 1e9) for run in runs]
    assert max(each.median for each in errors_by(light).values()) > MOST_MEDIAN


@needs_measurements
def test_shipped_runtimes_are_what_the_measurements_give(runs):
    for gpu, runtime in refitted_runtimes(runs).items():
        assert runtime_bytes(ENGINE, gpu) == pytest.approx(runtime, abs=MIB)


@needs_measurements
def test_the_page_is_current(runs):
    assert PAGE.read_text(encoding="utf-8") == page_text(runs)


def test_transformers_holds_two_caches_and_all_logits():
    """Prompts of 100 tokens, 2 requests: 200 rows of logits against 2; 6 bytes each of 32000."""
    vllm, transformers = (bytes_of(EngineSettings(name=name)) for name in ("vllm", ENGINE))
    np.testing.assert_allclose(transformers["kv_bytes"], 2 * vllm["kv_bytes"])
    assert vllm["head_prefill_work_bytes"] == 2 * 6 * 32000
    assert transformers["head_prefill_work_bytes"] == 200 * 6 * 32000
    assert transformers["head_decode_work_bytes"] == vllm["head_decode_work_bytes"]


def test_full_precision_doubles_embedding_head_and_cache():
    half = bytes_of(EngineSettings())
    full = bytes_of(EngineSettings(kv_bits=32, value_bits=32))
    for name in ("kv_bytes", "embedding_bytes", "head_bytes", "decode_work_bytes"):
        np.testing.assert_allclose(full[name], 2 * half[name])


def test_a_cache_is_not_wider_than_its_values():
    with pytest.raises(InputError, match="kv_bits is 32; it must be 8 or 16, or 32 where"):
        EngineSettings(kv_bits=32)
    with pytest.raises(InputError, match="value_bits is 64; it must be 16 or 32"):
        EngineSettings(value_bits=64)


def test_an_engine_without_a_row_is_named():
    with pytest.raises(InputError, match="Unknown engine 'other'"):
        engine_memory("other")
    assert runtime_bytes("vllm", "T4") is None
