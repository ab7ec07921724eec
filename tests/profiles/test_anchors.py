"""Published losses of quantised models."""

import csv
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.models import find_model, load_models
from profiles.quality import anchor_for, best_anchor, class_anchor, gaussian_t2, load_anchors


def test_anchors_belong_to_models_of_the_catalogue():
    assert set(load_anchors()) <= set(load_models())


def test_llama_2_70b_loses_three_percent_of_perplexity():
    """ln(3.42 / 3.32) = 0.0297."""
    anchor = anchor_for("llama-2-70b")
    assert anchor.perplexity_16 == 3.32
    assert anchor.nats_at_4_bits == pytest.approx(math.log(3.42 / 3.32), abs=2e-5)
    assert anchor.provenance == "measured"


def test_opt_30b_is_scaled_from_one_scale_per_channel():
    """ln(9.63 / 9.56) = 0.0073 nats, times 0.0101 / 0.0197."""
    expected = math.log(9.63 / 9.56) * gaussian_t2(4, 128) / gaussian_t2(4, None)
    assert anchor_for("opt-30b").nats_at_4_bits == pytest.approx(expected, abs=1e-4)
    assert anchor_for("opt-30b").provenance == "analytic"


def test_a_model_without_an_anchor_takes_the_median_of_its_size():
    assert anchor_for("qwen2.5-7b") is None
    assert best_anchor(find_model("qwen2.5-7b")).nats_at_4_bits == 0.025
    assert best_anchor(find_model("qwen2.5-72b")).nats_at_4_bits == 0.033
    assert class_anchor(find_model("opt-1.3b")).nats_at_4_bits == 0.102


def test_llama_3_models_are_harder_than_others_of_their_size():
    assert best_anchor(find_model("llama-3.1-405b")).nats_at_4_bits == 0.12


def test_sixteen_bits_have_no_error():
    assert gaussian_t2(16, None) == 0


def test_three_bits_err_four_and_a_half_times_as_much_as_four():
    assert gaussian_t2(3, 128) / gaussian_t2(4, 128) == pytest.approx(4.594, abs=1e-3)


def test_groups_between_those_computed_are_interpolated():
    """Groups of 256 lie one fifth of the way from 128 to 4096, on log-log axes."""
    expected = 0.0101 * (0.0197 / 0.0101) ** 0.2
    assert gaussian_t2(4, 256) == pytest.approx(expected)


@pytest.mark.parametrize(("bits", "group"), [(7, 128), (4, 16), (4, 8192)])
def test_errors_nobody_computed_are_refused(bits, group):
    with pytest.raises(InputError, match="No quantisation error known"):
        gaussian_t2(bits, group)


def test_a_negative_anchor_is_refused():
    with pytest.raises(InputError, match="must be >= 0 nats"):
        replace(anchor_for("llama-2-70b"), nats_at_4_bits=-0.1)


def test_measured_anchors_agree_with_the_published_rows():
    folder = os.environ.get("HETPLAN_QUALITY", "")
    path = Path(folder) / "ppl_by_bits.csv"
    if not folder or not path.is_file():
        pytest.skip("HETPLAN_QUALITY does not name the folder of published quality data")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    for anchor in load_anchors().values():
        if anchor.provenance == "measured":
            published = [
                float(row["delta_ln_ppl"])
                for row in rows
                if (row["model"], row["method"], row["bits"], row["group_size"], row["dataset"])
                == (anchor.model, anchor.method, "4", "128", "wikitext2")
            ]
            assert any(abs(anchor.nats_at_4_bits - each) < 1e-5 for each in published)
