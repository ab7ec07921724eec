"""Links: the fit of latency and bandwidth, and a transfer over loopback."""

import socket

import pytest

from cost_model.profiler.links import (
    SIZES_BYTES,
    fit_link,
    measure_copies,
    measure_tcp,
    receive_tcp,
)
from profiles.errors import InputError


def test_latency_and_bandwidth_come_back_from_times_made_of_them():
    """20 us and 10 GB/s."""
    fit = fit_link("link", {size: 20e-6 + size / 10e9 for size in SIZES_BYTES})
    assert fit.latency_s == pytest.approx(20e-6)
    assert fit.bytes_per_s == pytest.approx(10e9)
    assert fit.error < 1e-9


def test_a_latency_is_never_negative():
    """Large copies slower than in proportion would put it below zero."""
    fit = fit_link("link", {1024: 1e-6, 4096: 5e-6, 16384: 25e-6})
    assert fit.latency_s == 0
    assert fit.error > 0.1


def test_copies_of_every_size_are_made_and_waited_for():
    calls = {"made": [], "copied": 0, "waited": 0}

    def copy_of(size):
        calls["made"].append(size)
        return lambda: calls.__setitem__("copied", calls["copied"] + 1)

    measure_copies("link", copy_of, lambda: calls.__setitem__("waited", calls["waited"] + 1))
    assert calls["made"] == list(SIZES_BYTES)
    assert calls["waited"] == 2 * calls["copied"] == 2 * 10 * len(SIZES_BYTES)


def test_loopback_is_measured():
    with receive_tcp("127.0.0.1", 0) as port:
        fit = measure_tcp("127.0.0.1", port)
    assert list(fit.seconds) == list(SIZES_BYTES)
    assert fit.bytes_per_s > 1e7
    assert 0 <= fit.latency_s < 0.1


def test_a_receiver_outlives_a_sender_that_talks_nonsense():
    with receive_tcp("127.0.0.1", 0) as port:
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(b"\xff" * 8)
        assert measure_tcp("127.0.0.1", port).bytes_per_s > 0


def test_nobody_listening_is_told():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="No receiver answers at"):
        measure_tcp("127.0.0.1", port)
