"""Formats, and which kernels run them where."""

import csv
import os
from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.formats import find_format, load_formats
from profiles.gpus import find_gpu, load_gpus
from profiles.kernels import (
    default_kernel,
    engines,
    find_kernel,
    formats_of,
    kernels_for,
    load_kernels,
)


def test_four_bits_in_groups_of_128_store_four_and_a_bit():
    """A 16-bit scale and a 4-bit zero per 128 weights: 4 + 20/128."""
    assert find_format("w4a16").bits_per_weight == 4 + 20 / 128
    assert find_format("W3A16").bits_per_weight == 3 + 19 / 128


def test_every_kernel_runs_a_format_that_exists():
    assert {kernel.format for kernel in load_kernels()} <= set(load_formats())


def test_todays_engine_comes_first():
    assert engines()[:2] == ("vllm", "llm-pq-2023")
    assert formats_of("vllm") == ("w16a16", "w8a8", "w8a16", "w4a16", "w3a16")


def test_ampere_runs_four_bits_by_marlin_and_turing_by_gptq_gemm():
    four = find_format("w4a16")
    assert default_kernel("vllm", four, find_gpu("A100")).kernel == "marlin"
    assert default_kernel("vllm", four, find_gpu("T4")).kernel == "gptq_gemm"


def test_marlin_can_be_asked_for_on_a_t4():
    kernel = find_kernel("vllm", find_format("w4a16"), find_gpu("T4"), "marlin")
    assert kernel.min_capability == 75
    assert "no public measurement" in kernel.note


def test_a_v100_has_no_int8_kernel():
    assert default_kernel("vllm", find_format("w8a8"), find_gpu("V100")) is None


def test_a_p100_runs_no_kernel_that_needs_tensor_cores():
    p100 = find_gpu("P100")
    names = {k.kernel for f in load_formats().values() for k in kernels_for("vllm", f, p100)}
    assert names == {"cublas", "gptq_gemm"}
    assert default_kernel("llm-pq-2023", find_format("w4a16"), p100).kernel == "gptq-cuda"


def test_every_gpu_has_a_sixteen_bit_kernel_of_some_engine():
    sixteen = find_format("w16a16")
    for gpu in load_gpus().values():
        assert any(default_kernel(engine, sixteen, gpu) for engine in engines())


def test_a_kernel_that_does_not_run_there_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"no kernel 'machete' .* it has: gptq_gemm, marlin"):
        find_kernel("vllm", find_format("w4a16"), find_gpu("T4"), "machete", "/engine/kernels")


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match=r"Unknown engine 'tgi'. Known: vllm"):
        kernels_for("tgi", find_format("w4a16"), find_gpu("T4"))


def test_widths_agree_with_the_published_storage_of_each_scheme():
    folder = os.environ.get("HETPLAN_QUALITY", "")
    path = Path(folder) / "bits_per_weight.csv"
    if not folder or not path.is_file():
        pytest.skip("HETPLAN_QUALITY does not name the folder of published quality data")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    published = {row["scheme"]: float(row["bits_per_weight"]) for row in rows}
    for name, scheme in (
        ("w16a16", "fp16/bf16"),
        ("w8a8", "fp8/int8 per-channel sym"),
        ("w8a16", "GPTQ 8-bit g128 asym"),
        ("w4a16", "GPTQ/AWQ 4-bit g128 asym"),
        ("w3a16", "GPTQ 3-bit g128 asym"),
        ("llm-int8", "LLM.int8() (bitsandbytes)"),
    ):
        assert find_format(name).bits_per_weight == pytest.approx(published[scheme], abs=6e-4)
