"""How far times may be off: random factors by GPU, kernel, format and phase."""

from math import log, sqrt

import numpy as np
import pytest

from cost_model import uncertainty
from cost_model.stages import StageType
from cost_model.uncertainty import TimeError, error_of, error_terms
from profiles.calibration import Calibration, CalibrationOrigin, Factor, FactorKey
from profiles.coefficients import coefficients_for
from profiles.formats import find_format
from profiles.gpus import find_gpu
from profiles.kernels import default_kernel
from profiles.links import default_link

FORMATS = [find_format("w16a16"), find_format("w8a8"), find_format("w4a16")]


def stage(gpu_name, tp=1):
    gpu = find_gpu(gpu_name)
    kernels = {each.name: default_kernel("vllm", each, gpu) for each in FORMATS}
    link = default_link([gpu])
    return StageType(gpu=gpu, tp=tp, link=link, kernels=kernels, formats=np.ones(3, dtype=bool))


def test_an_interval_of_90_percent_is_1_645_standard_deviations_either_way():
    gpu = find_gpu("T4")
    kernel = default_kernel("vllm", FORMATS[0], gpu)
    known = coefficients_for("T4", "vllm", kernel.kernel, "w16a16")
    error = error_of(gpu, "vllm", kernel, FORMATS[0], "decode")
    assert error.is_known
    assert error.sigma == pytest.approx(log(known.decode_high / known.decode_low) / 2 / 1.645, 1e-3)


def test_what_nobody_measured_is_assumed():
    gpu = find_gpu("T4")
    kernel = default_kernel("vllm", FORMATS[2], gpu)
    error = error_of(gpu, "vllm", kernel, FORMATS[2], "prefill")
    assert not error.is_known
    assert error.shares_full
    assert error.sigma == pytest.approx(log(2) / 1.645, 1e-3)


def test_a_calibration_that_identified_a_kernel_gives_its_error():
    """An interval of 1 / 1.1 to 1.1 is ln 1.1 / 1.645 either way; estimates change nothing."""
    gpu, full = find_gpu("A10"), FORMATS[0]
    kernel = default_kernel("vllm", full, gpu)
    key = FactorKey("A10", kernel.kernel, "w16a16", "decode")
    origin = CalibrationOrigin(made_by="lab", made_at="today", plans=(), num_rows=1)
    before = error_of(gpu, "vllm", kernel, full, "decode")
    for is_identified, expected in ((True, log(1.1) / 1.6448536), (False, before.sigma)):
        factor = Factor(factor=1.0, low=1 / 1.1, high=1.1, is_identified=is_identified)
        found = Calibration(engine="vllm", of_engine={}, factors={key: factor}, origin=origin)
        error = error_of(gpu, "vllm", kernel, full, "decode", found)
        assert error.sigma == pytest.approx(expected)
        assert error.is_known == (is_identified or before.is_known)


def test_formats_carried_over_share_the_factor_of_16_bits(monkeypatch):
    """Sigma 0.3 of 16 bits, 0.5 of w8a8 carried over (0.4 of its own), 0.2 of w4a16 fitted."""
    errors = {
        "w16a16": TimeError(sigma=0.3, is_known=True, shares_full=True),
        "w8a8": TimeError(sigma=0.5, is_known=False, shares_full=True),
        "w4a16": TimeError(sigma=0.2, is_known=True, shares_full=False),
    }
    monkeypatch.setattr(uncertainty, "error_of", lambda *on: errors[on[3].name])
    terms = list(error_terms([stage("T4"), stage("A10")], FORMATS, "vllm"))
    decode = [t for t in terms if t.phase == "decode" and t.name.startswith("T4")]
    assert [t.name for t in decode] == ["T4 16 bits decode", "T4 w8a8 decode", "T4 w4a16 decode"]
    np.testing.assert_allclose([t.sigma for t in decode], [0.3, 0.4, 0.2])
    assert decode[0].cells.tolist() == [[True, True, False], [False] * 3]
    assert decode[1].cells.tolist() == [[False, True, False], [False] * 3]
    assert decode[2].cells.tolist() == [[False, False, True], [False] * 3]
    assert [t.ends.tolist() for t in decode] == [[True, False], [False] * 2, [False] * 2]
    assert len(terms) == 2 * 2 * 3


def test_equal_gpus_of_all_stage_types_share_their_factors():
    terms = error_terms([stage("T4"), stage("T4", tp=2)], FORMATS, "vllm")
    assert all(term.cells[0].tolist() == term.cells[1].tolist() for term in terms)
    total = sum(term.sigma**2 * term.cells for term in terms if term.phase == "prefill")
    gpu = find_gpu("T4")
    for f, each in enumerate(FORMATS):
        error = error_of(gpu, "vllm", default_kernel("vllm", each, gpu), each, "prefill")
        assert sqrt(total[0, f]) == pytest.approx(error.sigma)
