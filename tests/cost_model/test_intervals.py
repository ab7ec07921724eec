"""Which interval a time has, and which times share an error."""

import numpy as np
import pytest

from cost_model.intervals import TABLES, time_groups, time_interval
from cost_model.source import Source
from cost_model.stages import StageType
from profiles.coefficients import coefficients_for, load_coefficients
from profiles.formats import find_format
from profiles.gpus import find_gpu
from profiles.kernels import default_kernel
from profiles.links import default_link

FULL, FOUR = find_format("w16a16"), find_format("w4a16")


def kernel_of(gpu, form):
    return default_kernel("vllm", form, gpu)


def test_a_modelled_time_has_the_interval_of_its_coefficients():
    gpu = find_gpu("A10")
    known = coefficients_for("A10", "vllm", "marlin", "w4a16")
    found = time_interval(gpu, "vllm", kernel_of(gpu, FOUR), FOUR, "decode")
    assert found == (known.decode_low, known.decode_high, known.interval_basis)


def test_a_table_has_one_of_its_own():
    gpu = find_gpu("A10")
    source = Source.INTERPOLATED
    assert time_interval(gpu, "vllm", kernel_of(gpu, FOUR), FOUR, "decode", source) == TABLES


@pytest.mark.parametrize("gpu", ["T4", "L4", "A100-40G-SXM", "V100-32G"])
def test_what_was_held_out_is_known_better_than_what_was_assumed(gpu):
    known = coefficients_for(gpu, "vllm", "cublas", "w16a16")
    assert known.interval_basis == "held-out points"
    assert known.decode_high / known.decode_low < 2


def test_every_interval_holds_and_says_what_it_rests_on():
    for row in load_coefficients().values():
        assert row.interval_basis
        if "assumed" in row.basis:
            assert (row.decode_low, row.prefill_high) == (0.5, 2.0)


def test_every_time_belongs_to_one_group_of_its_phase():
    gpus = [find_gpu(name) for name in ("A10", "A10", "T4")]
    stages = [
        StageType(
            gpu=gpu, tp=1, link=default_link([gpu]), formats=np.array([True, True]),
            kernels={form.name: kernel_of(gpu, form) for form in (FULL, FOUR)},
        )
        for gpu in gpus
    ]  # fmt: skip
    weakest = {(g, f, p): Source.ANALYTIC for g in range(3) for f in range(2)
               for p in ("prefill", "decode")}  # fmt: skip
    groups = time_groups(stages, [FULL, FOUR], "vllm", weakest)
    assert len(groups) == 8
    for phase in ("prefill", "decode"):
        own = [group for group in groups if group.phase == phase]
        assert (sum(group.cells.astype(int) for group in own) == 1).all()
        assert (sum(group.ends.astype(int) for group in own) == 1).all()
