"""The catalogue of coefficients: complete, physical, and honest about its errors."""

from dataclasses import replace

import pytest

from profiles.coefficients import coefficients_for, load_coefficients
from profiles.errors import InputError
from profiles.formats import find_format
from profiles.gpus import load_gpus
from profiles.kernels import default_kernel, engines


@pytest.mark.parametrize("gpu", load_gpus().values(), ids=lambda gpu: gpu.name)
def test_the_default_kernels_of_every_gpu_are_calibrated(gpu):
    for engine in set(engines()) - {"torch"}:  # which only tables know
        for form in ("w16a16", "w8a8", "w4a16", "w3a16"):
            kernel = default_kernel(engine, find_format(form), gpu)
            if kernel is not None:
                assert coefficients_for(gpu.name, engine, kernel.kernel, form) is not None


def test_what_was_never_calibrated_is_missing():
    assert coefficients_for("T4", "vllm", "marlin", "w3a16") is None


def test_every_row_says_what_it_rests_on():
    """A row with errors was judged on points; one without points says what it comes from."""
    for row in load_coefficients().values():
        assert row.basis
        if row.decode_mape is not None:
            assert row.num_points > 0
        if row.num_points == 0:
            assert row.basis != "fit"


def test_weight_only_kernels_reach_no_more_compute_than_sixteen_bits():
    """They unpack to 16 bits and use the same cores."""
    for row in load_coefficients().values():
        if row.engine == "vllm" and row.format in ("w8a16", "w4a16", "w3a16"):
            full = coefficients_for(row.gpu, "vllm", "cublas", "w16a16")
            assert row.compute_share <= full.compute_share


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("compute_share", 1.2, "at most 1"),
        ("memory_share", 0.0, "positive"),
        ("layer_overhead_s", -1e-6, ">= 0"),
    ],
)
def test_shares_that_no_kernel_can_have_are_refused(field, value, words):
    good = coefficients_for("T4", "vllm", "cublas", "w16a16")
    with pytest.raises(InputError, match=f"{field} of 'cublas' on 'T4' .* {words}"):
        replace(good, **{field: value})
