"""Bytes on each GPU of a stage."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model.memory import (
    activation_bytes,
    buffer_bytes,
    embedding_bytes,
    head_bytes,
    kv_bytes_per_request,
    layer_weight_bytes,
    logits_bytes,
)
from profiles.formats import find_format
from profiles.models import LayerKind, find_model


@pytest.fixture
def llama_70b():
    """hidden 8192, 64 heads of 128, 8 KV heads, FFN 28672: 855 638 016 weights a layer."""
    return find_model("llama-2-70b").kinds[0]


def test_a_layer_in_four_bits_takes_four_and_a_bit_per_weight(llama_70b):
    """855 638 016 x 4.15625 / 8 bytes and two norms of 8192 at 16 bits."""
    expected = 855_638_016 * 4.15625 / 8 + 2 * 2 * 8192
    assert layer_weight_bytes(llama_70b, find_format("w4a16")) == pytest.approx(expected)


def test_eight_gpus_hold_an_eighth_of_the_matrices_each(llama_70b):
    whole = layer_weight_bytes(llama_70b, find_format("w16a16"))
    share = layer_weight_bytes(llama_70b, find_format("w16a16"), tp=8)
    assert share - llama_70b.small_bytes == pytest.approx((whole - llama_70b.small_bytes) / 8)


def test_kv_heads_are_repeated_beyond_their_number(llama_70b):
    """With 4 KV heads, 8 GPUs hold one head each: K and V take 1/4 per GPU, the rest 1/8."""
    kind = replace(llama_70b, kv_heads=4, small_weights=0)
    keys_and_values = 2 * 8192 * 4 * 128
    rest = kind.weights - keys_and_values
    share = layer_weight_bytes(kind, find_format("w16a16"), tp=8)
    assert share == pytest.approx(2 * (rest / 8 + keys_and_values / 4))
    eighth, quarter = (kv_bytes_per_request(kind, 100, tp=tp) for tp in (8, 4))
    assert eighth == quarter


def test_all_experts_are_stored():
    kind = find_model("mixtral-8x7b").kinds[0]
    assert layer_weight_bytes(kind, find_format("w16a16")) > 2 * 8 * 3 * 4096 * 14336


def test_a_token_of_llama_70b_takes_4096_bytes_of_cache_per_layer(llama_70b):
    """8 KV heads x 128 x 2 (keys, values) x 2 bytes."""
    assert kv_bytes_per_request(llama_70b, 1) == 4096
    assert kv_bytes_per_request(llama_70b, 640) == 640 * 4096
    assert kv_bytes_per_request(llama_70b, 1, kv_bits=8) == 2048
    assert kv_bytes_per_request(llama_70b, 1, tp=4) == 1024


def test_a_sliding_window_keeps_no_more_than_itself(llama_70b):
    kind = replace(llama_70b, window=1024)
    assert kv_bytes_per_request(kind, 1000) == 1000 * 4096
    assert kv_bytes_per_request(kind, 5000) == 1024 * 4096


def test_embedding_and_head_of_llama_70b_take_half_a_gigabyte_each():
    """32000 x 8192 x 2 bytes."""
    model = find_model("llama-2-70b")
    assert embedding_bytes(model) == head_bytes(model) == 524_288_000
    assert head_bytes(model, tp=4) == 131_072_000


def test_learned_positions_are_on_every_gpu():
    """OPT-30b: 50272 x 7168 divided by 2, and 2050 x 7168 whole, 2 bytes each."""
    assert embedding_bytes(find_model("opt-30b"), tp=2) == 2 * 7168 * (50272 / 2 + 2050)


def test_the_widest_moment_of_a_layer_is_its_feed_forward_network(llama_70b):
    """Residual and normed copy 2 x 8192; gate, up and product 3 x 28672; 2 bytes each."""
    rows = np.array([1, 1024])
    expected = 2 * (2 * 8192 + 3 * 28672) * rows
    np.testing.assert_allclose(activation_bytes(llama_70b, rows), expected)


def test_narrow_networks_peak_in_attention():
    """2 x 64 residual; queries and output 2 x 4 x 32; keys and values 2 x 2 x 32."""
    kind = LayerKind(
        name="decoder", hidden=64, heads=4, kv_heads=2, head_dim=32, ffn=16, gated=False
    )
    np.testing.assert_allclose(activation_bytes(kind, np.array([1])), 2 * (128 + 256 + 128))


def test_a_token_in_a_mixture_of_experts_is_copied_to_each_expert_it_visits():
    kind = find_model("mixtral-8x7b").kinds[0]
    expected = 2 * (2 * 4096 + 2 * (3 * 14336 + 4096))
    np.testing.assert_allclose(activation_bytes(kind, np.array([1])), expected)


def test_logits_are_gathered_at_32_bits():
    model = find_model("llama-2-70b")
    np.testing.assert_allclose(logits_bytes(model, np.array([1, 32]), tp=2), [160_000, 5_120_000])


def test_buffers_send_and_receive_the_residual_stream():
    np.testing.assert_allclose(buffer_bytes(8192, np.array([1, 512])), [32_768, 16_777_216])
