"""Models whose layers differ: what each kind weighs, keeps and reads."""

import numpy as np
import pytest

from cost_model.memory import kv_bytes_per_request, layer_weight_bytes
from cost_model.work import decode_work, linear_work, prefill_work
from profiles.formats import find_format
from profiles.models import find_model

ONE = np.array([1])
BYTES_PER_TOKEN = 2 * 16 * 128 * 2
"""Keys and values of Gemma-3-27B: 16 heads of 128 numbers, 2 bytes each."""


@pytest.fixture
def window_and_full():
    """Gemma-3-27B: 32 query heads, 16 KV heads of 128; a window of 1024 in most layers."""
    return find_model("gemma-3-27b").kinds


@pytest.fixture
def dense_and_moe():
    """GLM-4.5-Air: hidden 4096, 96 query and 8 KV heads of 128; FFN 10944, or 128 + 1 of 1408."""
    return find_model("glm-4.5-air").kinds


def test_a_sliding_layer_keeps_no_more_than_its_window(window_and_full):
    """Of 4096 + 256 tokens 1024; of 600 tokens all."""
    kept = [kv_bytes_per_request(kind, 4352) for kind in window_and_full]
    assert kept == [1024 * BYTES_PER_TOKEN, 4352 * BYTES_PER_TOKEN]
    assert {kv_bytes_per_request(kind, 600) for kind in window_and_full} == {600 * BYTES_PER_TOKEN}


def test_a_sliding_layer_reads_no_more_than_its_window(window_and_full):
    window, full = (decode_work(kind, 1, ONE, 4223.5, 16) for kind in window_and_full)
    assert window.cache_bytes[0] == 1024 * BYTES_PER_TOKEN
    assert full.cache_bytes[0] == 4223.5 * BYTES_PER_TOKEN
    assert window.weights[0] == full.weights[0]


def test_a_sliding_layer_multiplies_fewer_pairs_in_prefill(window_and_full):
    """Of 4096 tokens: 1024 x (4096 - 512) pairs in the window, 4096 x 2048 in full attention."""
    window, full = (prefill_work(kind, 1, ONE, 4096) for kind in window_and_full)
    assert window.attention_flops[0] == 4 * 1024 * 3584 * 32 * 128
    assert full.attention_flops[0] == 4 * 4096 * 2048 * 32 * 128
    assert window.multiply_adds[0] == full.multiply_adds[0]


def test_a_layer_of_experts_weighs_them_all_and_a_dense_one_its_network(dense_and_moe):
    """Attention 4096 x 128 x 2 x (96 + 8), beside 3 x 4096 x 10944 or 129 x 3 x 4096 x 1408."""
    attention = 4096 * 128 * 2 * 104
    expected = (attention + 3 * 4096 * 10944, attention + 129 * 3 * 4096 * 1408)
    for kind, weights in zip(dense_and_moe, expected, strict=True):
        held = layer_weight_bytes(kind, find_format("w16a16")) - kind.small_bytes
        assert held == pytest.approx(2 * weights)


def test_one_token_reads_and_multiplies_eight_experts_and_the_shared_one(dense_and_moe):
    attention = 4096 * 128 * 2 * 104
    dense, sparse = (linear_work(kind, 1, np.array([1.0])) for kind in dense_and_moe)
    assert dense.weights[0] == dense.multiply_adds[0] == attention + 3 * 4096 * 10944
    assert sparse.weights[0] == pytest.approx(attention + 9 * 3 * 4096 * 1408)
    assert sparse.multiply_adds[0] == attention + 9 * 3 * 4096 * 1408


def test_many_tokens_read_nearly_all_experts_but_multiply_with_nine_each(dense_and_moe):
    """64 tokens miss an expert with probability (120 / 128)^64 = 1.6 %."""
    _, kind = dense_and_moe
    work = linear_work(kind, 1, np.array([64.0]))
    attention, expert = 4096 * 128 * 2 * 104, 3 * 4096 * 1408
    read = 128 * (1 - (120 / 128) ** 64) + 1
    assert work.weights[0] == pytest.approx(attention + read * expert)
    assert work.multiply_adds[0] == pytest.approx(64 * (attention + 9 * expert))
