"""Losses of layers from weights, divergences, scores and shapes."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model.layer_divergence import calibrated, needed_passes, single_layer_kl
from cost_model.omega import Omega, anchored, omega_loss_nats, scaled_to_anchor
from cost_model.quality import last_layer_factor, layer_loss_nats
from cost_model.rounding import Rounding, round_weights, squared_errors
from cost_model.scores import carried_score, layer_scores, without_noise
from cost_model.sensitivity import (
    SensitivityChoice,
    config_omega,
    scores_omega,
    weights_omega,
)
from cost_model.weight_errors import Sampling, layer_errors
from profiles.checkpoint import read_checkpoint
from profiles.errors import InputError
from profiles.formats import find_format
from profiles.models import find_model, load_models
from profiles.quality import best_anchor, gaussian_t2, module_weights
from profiles.scores import Score, ScoreTable
from tests.checkpoints import llama_config, llama_tensors, write_checkpoint, write_safetensors

SMALL = Rounding(group_size=32)
FORMATS = [find_format(name) for name in ("w16a16", "w8a16", "w4a16", "w3a16", "w8a8")]


@pytest.fixture
def config():
    """Three layers, 64 wide."""
    return llama_config()


@pytest.fixture
def checkpoint(tmp_path, config):
    """Random weights of three layers."""
    return read_checkpoint(write_checkpoint(tmp_path / "c", config, llama_tensors(config)), "mine")


# -- rounding -----------------------------------------------------------------------------------


def test_two_bits_by_hand():
    """From -1 to 2 in steps of 1: 0.4 goes to 0, 1.6 to 2."""
    weights = np.array([[-1.0, 0.4, 1.6, 2.0]], dtype=np.float32)
    rounding = Rounding(group_size=4)
    np.testing.assert_allclose(round_weights(weights, 2, rounding), [[-1, 0, 2, 2]])
    errors = squared_errors(weights, [2, 16], rounding)
    np.testing.assert_allclose(errors, [0.32, 0, 7.72], rtol=1e-6)


def test_symmetric_levels_by_hand():
    """Four levels in steps of 2 * 3 / 3 = 2, from -4 to 2: 3 is clipped to 2."""
    weights = np.array([[-3.0, 3.0, 0.9, -1.1]], dtype=np.float32)
    rounded = round_weights(weights, 2, Rounding(group_size=None, symmetric=True))
    np.testing.assert_allclose(rounded, [[-4, 2, 0, -2]])


def test_what_fills_no_group_is_a_smaller_one():
    weights = np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)
    parts = [weights[:, :4], weights[:, 4:8], weights[:, 8:]]
    apart = np.concatenate([round_weights(p, 3, Rounding(group_size=None)) for p in parts], axis=1)
    np.testing.assert_array_equal(round_weights(weights, 3, Rounding(group_size=4)), apart)


def test_zeros_stay_zeros():
    zeros = np.zeros((2, 8), dtype=np.float32)
    np.testing.assert_array_equal(round_weights(zeros, 4, Rounding(group_size=8)), zeros)


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_gaussian_weights_err_as_the_table_says(group, bits):
    weights = np.random.default_rng(1).standard_normal((64, 4096)).astype(np.float32)
    error, norm = squared_errors(weights, [bits], Rounding(group_size=group))
    assert error / norm == pytest.approx(gaussian_t2(bits, group), rel=0.02)


@pytest.mark.parametrize("bits", [1, 7, 9])
def test_other_widths_are_refused(bits):
    with pytest.raises(InputError, match=f"bits is {bits}; rounding is known for 2, 3, 4"):
        round_weights(np.ones((1, 4), dtype=np.float32), bits, Rounding(group_size=4))


# -- errors of weights --------------------------------------------------------------------------


def test_errors_of_a_layer_are_the_weighted_sum_of_its_modules(checkpoint):
    """With all rows drawn there is nothing left to chance."""
    sampling = Sampling(rows=10**6)
    raw = layer_errors(checkpoint.layers, [3], SMALL, sampling)[1, 0]
    tensors = llama_tensors(checkpoint.config)
    by_hand = 0.0
    for module, weight in module_weights().items():
        place = "self_attn" if module in "qkvo" else "mlp"
        name = f"model.layers.1.{place}.{module}_proj.weight"
        error, norm = squared_errors(tensors[name].astype(np.float32), [3], SMALL)
        by_hand += weight * error / norm
    assert raw == pytest.approx(by_hand, rel=1e-6)


def test_a_sample_of_rows_tells_nearly_the_same(checkpoint):
    some, all_ = (
        layer_errors(checkpoint.layers, [3, 4], SMALL, Sampling(rows=rows)) for rows in (32, 10**6)
    )
    np.testing.assert_allclose(some, all_, rtol=0.05)


def test_the_same_seed_draws_the_same_rows_whatever_the_shards(tmp_path, config, checkpoint):
    tensors = llama_tensors(config)
    folder = write_checkpoint(tmp_path / "shards", config, {})
    (folder / "model.safetensors").unlink()
    for number, name in enumerate(reversed(tensors)):
        write_safetensors(folder / f"{number:03}.safetensors", {name: tensors[name]})
    sharded = read_checkpoint(folder, "mine")
    sampling = Sampling(rows=8, seed=5)
    one, other = (
        layer_errors(each.layers, [3, 4, 8], SMALL, sampling) for each in (checkpoint, sharded)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=0)
    another = layer_errors(checkpoint.layers, [3, 4, 8], SMALL, Sampling(rows=8, seed=6))
    assert (one != another).all()


def test_experts_count_as_one_module(tmp_path):
    """Eight experts with the same weights lose what one would, not eight times as much."""
    config = llama_config(
        model_type="mixtral", num_local_experts=8, num_experts_per_tok=2, sliding_window=None
    )
    dense = llama_tensors(config)
    tensors = {}
    for name, values in dense.items():
        for new, old in (("w1", "gate_proj"), ("w3", "up_proj"), ("w2", "down_proj")):
            if f"mlp.{old}" in name:
                start = name.split("mlp")[0]
                for expert in range(8):
                    key = f"{start}block_sparse_moe.experts.{expert}.{new}.weight"
                    tensors[key] = values
        if "mlp" not in name:
            tensors[name] = values
    sampling = Sampling(rows=10**6)
    experts = read_checkpoint(write_checkpoint(tmp_path / "moe", config, tensors), "moe")
    plain = read_checkpoint(write_checkpoint(tmp_path / "d", llama_config(), dense), "dense")
    np.testing.assert_allclose(
        *(layer_errors(each.layers, [3], SMALL, sampling) for each in (experts, plain))
    )


# -- anchored -----------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [32, 128])
def test_uniform_four_bits_lose_the_anchor(checkpoint, group):
    choice = SensitivityChoice(rounding=Rounding(group_size=group), nats_at_4_bits=0.123)
    omega = weights_omega(checkpoint, choice)
    assert omega.nats_at_4_bits == pytest.approx(0.123, abs=1e-6)
    assert "0.123 nats at uniform 4 bits, given in --nats-at-4-bits" in omega.text
    assert omega.provenance == "given"


def test_a_published_anchor_is_carried_to_other_groups(checkpoint):
    """Gaussian weights err 0.0101 in groups of 128 and 0.00652 in groups of 32."""
    model = replace(checkpoint.model, name="llama-2-70b")
    omega = weights_omega(replace(checkpoint, model=model), SensitivityChoice(rounding=SMALL))
    assert omega.nats_at_4_bits == pytest.approx(0.02968 * 0.00652 / 0.0101, abs=1e-9)
    assert (
        "scaled to 0.01916 nats, from 0.02968 nats at uniform 4 bits for llama-2-70b" in omega.text
    )


def test_more_bits_never_lose_more(checkpoint):
    choice = SensitivityChoice(bits=(2, 3, 4, 5, 6, 8), rounding=SMALL, sampling=Sampling(rows=4))
    assert (np.diff(weights_omega(checkpoint, choice).nats, axis=1) <= 0).all()


def test_a_sample_that_says_otherwise_is_put_right():
    scaled = scaled_to_anchor(np.array([[1.0, 2.0, 0.5]]), [3, 4, 8], 1.0)
    np.testing.assert_allclose(scaled, [[1.0, 1.0, 0.25]])


def test_the_last_layer_of_a_large_model_counts_twice():
    """By the factor alone: three equal layers bear 1/4, 1/4 and 1/2."""
    nats = anchored(np.ones((3, 1)), [4], 1.0, last_layer=2.0)
    np.testing.assert_allclose(nats[:, 0], [0.25, 0.25, 0.5])
    assert last_layer_factor(find_model("llama-2-7b")) == 2
    assert last_layer_factor(replace(find_model("llama-2-7b"), pretrained=False)) == 1


def test_a_small_model_has_no_factor(checkpoint):
    assert last_layer_factor(checkpoint.model) == 1
    omega = weights_omega(checkpoint, SensitivityChoice(rounding=SMALL, last_layer=2.0))
    assert omega.at(4)[-1] > 1.8 * omega.at(4)[0]
    assert "last layer times 2" in omega.text


def test_weights_of_zero_cannot_be_scaled():
    with pytest.raises(InputError, match="losses at 4 bits add up to 0"):
        scaled_to_anchor(np.zeros((2, 3)), [3, 4, 8], 0.1)


@pytest.mark.parametrize("name", load_models())
def test_shapes_alone_give_what_a_request_without_figures_gets(name):
    """The fall-back and the planner's own prediction are one (group 128, asymmetric)."""
    model = find_model(name)
    omega = config_omega(model, SensitivityChoice())
    formats = FORMATS[:4]
    expected = layer_loss_nats(model, formats, best_anchor(model))
    np.testing.assert_allclose(omega_loss_nats(omega, formats), expected, rtol=1e-9)


def test_activations_lose_what_is_published_shared_as_at_four_bits(checkpoint):
    omega = replace(weights_omega(checkpoint, SensitivityChoice()), w8a8_nats=0.05)
    w4, w8a8 = omega_loss_nats(omega, [find_format("w4a16"), find_format("w8a8")]).T
    assert w8a8.sum() == pytest.approx(0.05)
    np.testing.assert_allclose(w8a8 / w8a8.sum(), w4 / w4.sum())


def test_losses_in_other_groups_are_refused(checkpoint):
    omega = weights_omega(checkpoint, SensitivityChoice(rounding=SMALL))
    with pytest.raises(InputError, match=r"w4a16 stores groups of 128, .* groups of 32; make them"):
        omega_loss_nats(omega, [find_format("w4a16")])


def test_losses_at_other_widths_are_refused(checkpoint):
    omega = weights_omega(checkpoint, SensitivityChoice(bits=(4, 8)))
    with pytest.raises(
        InputError, match=r"known at 4, 8 bits, not at 3; make them with --bits 4,8,3"
    ):
        omega_loss_nats(omega, [find_format("w3a16")])


@pytest.mark.parametrize(
    ("nats", "bits", "why"),
    [
        ([[0.1, 0.2]], (4, 8), "grow with the bits"),
        ([[-0.1, -0.2]], (4, 8), "negative"),
        ([[0.1]], (8,), "4 among them"),
        ([[0.1]], (4, 8), "there are 2 widths"),
    ],
)
def test_losses_that_cannot_be_are_refused(nats, bits, why):
    with pytest.raises(InputError, match=why):
        Omega(
            model="m",
            bits=bits,
            rounding=Rounding(),
            nats=np.array(nats),
            w8a8_nats=0.0,
            provenance="given",
            text="",
        )


# -- calibrated ---------------------------------------------------------------------------------


class Adding:
    """A decoder of numbers: layer i adds a fixed step, and an error at few bits."""

    num_layers = 3

    def embed(self, tokens):
        return float(tokens.sum())

    def layer(self, index, state, bits=16):
        return state + 1.0 + (0.0 if bits == 16 else (index + 1) * 2.0**-bits)

    def kl_nats(self, state_16, state):
        return abs(state - state_16)


def test_one_layer_is_rounded_at_a_time():
    """Layer i alone is off by (i + 1) / 8 at 3 bits and (i + 1) / 4 at 2, whatever the tokens."""
    batches = [np.ones((2, 3), dtype=np.int64), np.ones((1, 5), dtype=np.int64)]
    told = []
    nats = single_layer_kl(Adding(), batches, (2, 3), lambda *done: told.append(done))
    np.testing.assert_allclose(nats, np.outer([1, 2, 3], [1 / 4, 1 / 8]))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_other_widths_follow_the_errors_of_the_weights():
    raw = np.array([[40.0, 8.0, 2.0, 0.1], [20.0, 4.0, 0.8, 0.01]])
    nats = calibrated(np.array([[0.9, 0.1], [0.5, 0.3]]), raw, (2, 3, 4, 8))
    np.testing.assert_allclose(nats[0], [0.9, 0.1, 0.025, 0.00125])
    np.testing.assert_allclose(nats[1], [0.5, 0.3, 0.06, 0.00075])


def test_two_bits_take_a_pass_of_their_own():
    assert needed_passes((3, 4, 8)) == (3,)
    assert needed_passes((2, 4)) == (2, 3)


# -- scores -------------------------------------------------------------------------------------


def scores(*values, module="", bits=4):
    return [
        Score(layer=layer, module=module, bits=bits, score=value)
        for layer, value in enumerate(values)
    ]


@pytest.fixture
def model(checkpoint):
    """Three layers."""
    return checkpoint.model


def test_scores_of_modules_add_up(model):
    each = [*scores(1.0, 2.0, 3.0, module="q_proj"), *scores(0.5, 0.5, 0.5, module="o_proj")]
    np.testing.assert_allclose(layer_scores(each, model, [4], 128)[:, 0], [1.5, 2.5, 3.5])


def test_scores_are_carried_to_other_widths(model):
    carried = layer_scores(scores(1.0, 2.0, 3.0), model, [3, 4, 8], 128)
    np.testing.assert_allclose(carried[1], 2.0 * np.array([0.0464, 0.0101, 3.5e-5]) / 0.0101)


def test_scores_come_from_the_nearest_width(model):
    both = [*scores(1.0, 1.0, 1.0, bits=3), *scores(0.7, 0.7, 0.7, bits=8)]
    at_6 = layer_scores(both, model, [6], 128)[0, 0]
    assert at_6 == pytest.approx(0.7 * 5.7e-4 / 3.5e-5)


def test_scores_are_scaled_to_the_anchor_unless_they_are_nats(model):
    table = ScoreTable(scores=tuple(scores(1.0, 2.0, 3.0)), tool="a test")
    choice = SensitivityChoice(nats_at_4_bits=0.06)
    np.testing.assert_allclose(scores_omega(model, table, choice).at(4), [0.01, 0.02, 0.03])
    kept = scores_omega(model, table, choice, in_nats=True)
    np.testing.assert_allclose(kept.at(4), [1.0, 2.0, 3.0])
    assert "6 nats at uniform 4 bits by themselves" in kept.text


def test_nothing_is_carried_from_three_bits_to_two(model):
    with pytest.raises(InputError, match="no score of layer 0 at a width below 3 bits, from which"):
        layer_scores(scores(1.0, 2.0, 3.0), model, [2, 4], 128)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (scores(1.0, 2.0), "no score of layer 2; add it"),
        (scores(1.0, 2.0, 3.0, 4.0), "a score of layer 3, but mine has layers 0 to 2"),
        ([*scores(1.0, 2.0, 3.0), *scores(1.0, 2.0, module="q")], "no score of layer 2 q; add it"),
    ],
)
def test_missing_scores_are_told(model, given, why):
    with pytest.raises(InputError, match=why):
        layer_scores(given, model, [4], 128)


def test_the_noise_floor_is_taken_off():
    """The median of 1, 2 and 5 is 2: what is below becomes nothing."""
    less = without_noise([{"a": 1.0, "b": 7.0}, {"a": 2.0}, {"a": 5.0}], 50)
    assert less == [{"a": 0.0, "b": 0.0}, {"a": 0.0}, {"a": 3.0}]


def test_a_score_is_carried_along_a_curve():
    curve = {"q2": 1.0, "q3": 0.2, "q4": 0.05, "bf16": 0.0}
    assert carried_score({"q2": 0.5, "q4": 0.01}, "q3", curve) == pytest.approx(0.01 * 4)
    assert carried_score({"q2": 0.5}, "bf16", curve) == 0


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="bits has 7; losses are known for 2, 3, 4, 5, 6 and 8"):
        SensitivityChoice(bits=(4, 7))
    with pytest.raises(InputError, match="last_layer is 0"):
        SensitivityChoice(last_layer=0.0)
    with pytest.raises(InputError, match="group_size is 1"):
        Rounding(group_size=1)
    with pytest.raises(InputError, match="rows is 0"):
        Sampling(rows=0)
