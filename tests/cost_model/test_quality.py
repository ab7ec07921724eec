"""Predicted loss of quality, in nats of ln(perplexity)."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model.quality import layer_loss_nats, layer_shares, quality_source
from profiles.errors import InputError
from profiles.formats import find_format, load_formats
from profiles.models import find_model, load_models
from profiles.quality import anchor_for, best_anchor, given_anchor


@pytest.mark.parametrize("name", load_models())
def test_uniform_four_bits_lose_the_anchor(name):
    model = find_model(name)
    anchor = best_anchor(model)
    loss = layer_loss_nats(model, [find_format("w4a16")], anchor)
    assert loss.shape == (model.num_layers, 1)
    assert loss.sum() == pytest.approx(anchor.nats_at_4_bits, abs=1e-6)


def test_the_last_of_80_layers_bears_two_shares_of_81():
    shares = layer_shares(find_model("llama-2-70b"))
    assert shares[0] == pytest.approx(1 / 81)
    assert shares[-1] == pytest.approx(2 / 81)


def test_a_model_that_was_never_trained_has_equal_layers():
    shares = layer_shares(replace(find_model("llama-2-70b"), pretrained=False))
    np.testing.assert_allclose(shares, 1 / 80)


def test_a_layer_without_a_gate_bears_less():
    """Sensitivities 3.10 + 2.80 without the gate's 1.10, against 7 with it."""
    model = find_model("llama-2-70b")
    kinds = (*model.kinds, replace(model.kinds[0], gated=False))
    model = replace(model, kinds=kinds, layer_kinds=(0, 1), pretrained=False)
    np.testing.assert_allclose(layer_shares(model), np.array([7.0, 5.9]) / 12.9)


def test_more_bits_never_lose_more():
    model = find_model("llama-2-70b")
    formats = [find_format(name) for name in ("w16a16", "w8a16", "w4a16", "w3a16")]
    loss = layer_loss_nats(model, formats, best_anchor(model))
    assert (np.diff(loss, axis=1) > 0).all()
    assert (loss[:, 0] == 0).all()


def test_three_bits_lose_as_much_more_as_their_error_is_larger():
    model = find_model("llama-2-70b")
    loss = layer_loss_nats(model, [find_format("w3a16")], best_anchor(model)).sum()
    assert loss == pytest.approx(0.02968 * 0.0464 / 0.0101)


def test_eight_bit_activations_lose_what_was_measured_or_three_hundredths():
    w8a8 = [find_format("w8a8")]
    measured, unknown = find_model("llama-2-70b"), find_model("qwen2.5-72b")
    loss = layer_loss_nats(measured, w8a8, best_anchor(measured)).sum()
    assert loss == pytest.approx(0.0117)  # ln(3.359 / 3.320)
    assert layer_loss_nats(unknown, w8a8, best_anchor(unknown)).sum() == pytest.approx(0.03)


def test_eight_bit_activations_are_not_assumed_to_lose_more_than_four_bits():
    """OPT-30b loses 0.0037 nats at 4 bits and nothing is published at W8A8: 0.0037, not 0.03."""
    model = find_model("opt-30b")
    loss = layer_loss_nats(model, [find_format("w8a8")], best_anchor(model)).sum()
    assert loss == pytest.approx(0.0037)
    source = quality_source(best_anchor(model))
    assert source.anchor.endswith("; W8A8 assumed: no more than 4 bits, 0.0037 nats")
    assert source.text.startswith("analytic: 0.0037 nats at uniform 4 bits for opt-30b (GPTQ")


def test_eight_bit_activations_are_compared_with_groups_of_128():
    """0.02 nats at 4 bits per channel are 0.02 x 0.0101 / 0.0197 in groups."""
    per_channel = replace(anchor_for("opt-30b"), group_size=None, nats_at_4_bits=0.02)
    assert per_channel.w8a8 == pytest.approx(0.02 * 0.0101 / 0.0197)


def test_the_usual_assumption_on_eight_bit_activations_names_its_source():
    anchor = quality_source(best_anchor(find_model("qwen2.5-72b"))).anchor
    assert "W8A8 assumed: as on Qwen3 base models (arXiv 2505.02214), 0.03 nats" in anchor


@pytest.mark.parametrize("name", load_models())
def test_fewer_bits_never_lose_less_in_any_shipped_model(name):
    """0 at 16 bits, no less with each step down; W8A8 no more than 4 bits unless published."""
    model, anchor = find_model(name), best_anchor(find_model(name))
    by_bits = sorted(
        (each for each in load_formats().values() if each.act_bits == 16),
        key=lambda each: -each.bits_per_weight,
    )
    loss = layer_loss_nats(model, by_bits, anchor)
    assert by_bits[0].weight_bits == 16
    assert (loss[:, 0] == 0).all()
    assert (np.diff(loss, axis=1) >= 0).all()
    w8a8, w4a16 = layer_loss_nats(model, [find_format("w8a8"), find_format("w4a16")], anchor).T
    assert anchor.nats_w8a8 is not None or (w8a8 <= w4a16).all()


def test_a_given_loss_says_so_and_keeps_nothing_of_the_published_one():
    source = quality_source(given_anchor(find_model("opt-30b"), 0.01))
    assert source.text == (
        "given: 0.01 nats at uniform 4 bits, given in the request; "
        "W8A8 assumed: no more than 4 bits, 0.01 nats"
    )
    assert source.perplexity_16 == 9.56


def test_a_given_loss_goes_with_the_published_one_at_eight_bits():
    anchor = given_anchor(find_model("llama-2-70b"), 0.001)
    assert anchor.w8a8 == 0.0117
    assert quality_source(anchor).anchor == (
        "0.001 nats at uniform 4 bits, given in the request; "
        "W8A8: 0.0117 nats as published for llama-2-70b"
    )


def test_llm_int8_loses_nothing():
    model = find_model("opt-30b")
    assert not layer_loss_nats(model, [find_format("llm-int8")], best_anchor(model)).any()


def test_an_anchor_of_another_group_size_is_scaled():
    model = find_model("llama-2-70b")
    per_channel = replace(anchor_for("llama-2-70b"), group_size=None, nats_at_4_bits=0.06)
    loss = layer_loss_nats(model, [find_format("w4a16")], per_channel).sum()
    assert loss == pytest.approx(0.06 * 0.0101 / 0.0197)


def test_two_bits_are_refused():
    model = find_model("llama-2-70b")
    two = replace(find_format("w3a16"), name="w2a16", weight_bits=2)
    with pytest.raises(InputError, match="No quality loss can be predicted for w2a16"):
        layer_loss_nats(model, [two], best_anchor(model))


def test_losses_of_all_formats_are_finite_and_not_negative():
    for model in load_models().values():
        loss = layer_loss_nats(model, list(load_formats().values()), best_anchor(model))
        assert np.isfinite(loss).all()
        assert (loss >= 0).all()


def test_a_prediction_says_what_it_rests_on():
    source = quality_source(anchor_for("llama-2-70b"))
    assert source.perplexity_16 == 3.32
    assert source.provenance == "measured"
    assert "0.02968 nats at uniform 4 bits for llama-2-70b (GPTQ, groups of 128" in source.anchor
