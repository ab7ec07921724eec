"""Transfers and all-reduces, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model.communication import (
    all_reduce_s,
    decode_boundary_bytes,
    occupancy_s,
    prefill_boundary_bytes,
    return_bytes,
    transfer_s,
)
from profiles.links import find_link


@pytest.fixture
def link():
    """10 us and 1 GB/s; all-reduce 20 us and 2 GB/s."""
    return replace(
        find_link("pcie3-x16"),
        latency_s=10e-6,
        bytes_per_s=1e9,
        all_reduce_latency_s=20e-6,
        all_reduce_bytes_per_s=2e9,
    )


def test_a_transfer_takes_latency_and_bytes_over_bandwidth(link):
    """1 MB at 1 GB/s is 1 ms, during which alone the link is busy."""
    assert transfer_s(link, np.array([1e6])) == pytest.approx([1.01e-3])
    assert occupancy_s(link, np.array([1e6])) == pytest.approx([1e-3])


def test_boundaries_carry_hidden_states_in_sixteen_bits():
    """3 prompts of 100 tokens, 64 wide; in decode one token each; ids come back in 4 bytes."""
    batch = np.array([3])
    assert prefill_boundary_bytes(64, batch, 100) == pytest.approx([3 * 100 * 64 * 2])
    assert decode_boundary_bytes(64, batch) == pytest.approx([3 * 64 * 2])
    assert return_bytes(batch) == pytest.approx([12])


def test_an_all_reduce_moves_each_byte_twice_less_the_own_share(link):
    """Over 4 GPUs 2 x 3/4 of 1 MB at 2 GB/s are 750 us; one GPU has nothing to sum."""
    assert all_reduce_s(link, np.array([1e6]), 4) == pytest.approx([770e-6])
    assert all_reduce_s(link, np.array([1e6]), 1) == pytest.approx([0])
