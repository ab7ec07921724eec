"""
Links as they are: how long copies of several sizes take, and the latency and bandwidth they fit.

A transfer of S bytes takes ``latency + S / bandwidth`` seconds; both are fitted to the fastest time
of each size so that relative errors are least (weighted least squares, weights 1 / t^2).
"""

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from time import perf_counter

import numpy as np

from cost_model.arrays import FloatArray
from profiles.errors import InputError

__all__ = ["SIZES_BYTES", "LinkFit", "fit_link", "measure_copies", "measure_tcp", "receive_tcp"]

SIZES_BYTES = tuple(4**power for power in range(5, 14))
"""From 1 KiB to 64 MiB."""
_REPEATS = 9
_LENGTH = struct.Struct("!Q")
_ACKNOWLEDGED = b"\x06"
_TIMEOUT_S = 30.0
_CHUNK = 1 << 20
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFit:
    """
    What a link does.

    Parameters
    ----------
    name
        What is joined.
    latency_s, bytes_per_s
        Of one transfer in one direction.
    error
        Largest relative error of the formula on the sizes measured.
    seconds
        Fastest time of each size, by bytes.
    """

    name: str
    latency_s: float
    bytes_per_s: float
    error: float
    seconds: Mapping[int, float]


def fit_link(name: str, seconds: Mapping[int, float]) -> LinkFit:
    """
    Latency and bandwidth of a link.

    Parameters
    ----------
    name
        What is joined.
    seconds
        Fastest time of each size, by bytes; two sizes at least.
    """
    sizes = np.array(list(seconds), dtype=np.float64)
    times = np.array(list(seconds.values()), dtype=np.float64)
    terms = np.stack([np.ones_like(sizes), sizes], axis=1)
    latency, per_byte = _least_squares(terms, times)
    if latency < 0:  # a link without one that could be seen
        latency, per_byte = 0.0, float(np.median(times / sizes))
    fitted = latency + per_byte * sizes
    return LinkFit(
        name=name,
        latency_s=latency,
        bytes_per_s=1 / per_byte,
        error=float(np.abs(fitted / times - 1).max()),
        seconds=dict(seconds),
    )


def _least_squares(terms: FloatArray, times: FloatArray) -> tuple[float, float]:
    found, *_ = np.linalg.lstsq(terms / times[:, None], np.ones_like(times), rcond=None)
    return float(found[0]), float(found[1])


def measure_copies(
    name: str, copy_of: Callable[[int], Callable[[], object]], wait: Callable[[], object]
) -> LinkFit:
    """
    A link by copies over it.

    Parameters
    ----------
    name
        What is joined.
    copy_of
        Makes a copy of that many bytes, to be called again and again.
    wait
        Returns once copies have ended.
    """

    def once(copy: Callable[[], object]) -> float:
        wait()
        start = perf_counter()
        copy()
        wait()
        return perf_counter() - start

    seconds = {}
    for size in SIZES_BYTES:
        copy = copy_of(size)
        once(copy)
        seconds[size] = min(once(copy) for _ in range(_REPEATS))
    return fit_link(name, seconds)


# -- network ------------------------------------------------------------------------------------


def measure_tcp(host: str, port: int) -> LinkFit:
    """
    The network to a host on which `receive_tcp` listens.

    The time of a size runs until the other side acknowledges, so half of what one byte takes there
    and back is the latency, and is taken off once.

    Raises
    ------
    InputError
        When nobody answers there.
    """
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back_s = min(_sent_s(link, 1) for _ in range(_REPEATS * 4)) / 2
            seconds = {
                size: min(_sent_s(link, size) for _ in range(_REPEATS)) - back_s
                for size in SIZES_BYTES
            }
    except OSError as error:
        raise InputError(
            f"No receiver answers at {host}:{port} ({error}). Start one there with "
            "`hetplan profile links --listen ADDRESS:PORT`."
        ) from None
    return fit_link(f"TCP to {host}", seconds)


def _sent_s(link: socket.socket, size: int) -> float:
    payload = bytes(size)
    start = perf_counter()
    link.sendall(_LENGTH.pack(size))
    link.sendall(payload)
    if _received(link, 1) != 1:
        raise OSError("it closed the connection")
    return perf_counter() - start


def _received(link: socket.socket, size: int) -> int:
    """Read that many bytes, or what comes before the other side ends."""
    buffer = bytearray(min(size, _CHUNK))
    view, left = memoryview(buffer), size
    while left:
        count = link.recv_into(view[: min(left, len(buffer))])
        if not count:
            break
        left -= count
    return size - left


@contextmanager
def receive_tcp(host: str, port: int) -> Iterator[int]:
    """
    A receiver for `measure_tcp` while the block runs, for one sender after another.

    Parameters
    ----------
    host, port
        Address to listen on; port 0 takes any that is free.

    Yields
    ------
    int
        The port.

    Raises
    ------
    InputError
        When the address cannot be listened on.
    """
    try:
        server = socket.create_server((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be listened on ({error}); choose another address or port."
        ) from None
    with server:
        Thread(target=_serve, args=(server,), daemon=True, name="receiver").start()
        yield server.getsockname()[1]


def _serve(server: socket.socket) -> None:
    while True:
        try:
            link, _ = server.accept()
        except OSError:  # the block has ended
            return
        with link:
            link.settimeout(_TIMEOUT_S)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _answer(link)


def _answer(link: socket.socket) -> None:
    """Acknowledge every message of one sender."""
    try:
        while True:
            header = link.recv(_LENGTH.size, socket.MSG_WAITALL)
            if len(header) < _LENGTH.size:
                return
            (size,) = _LENGTH.unpack(header)
            if not 1 <= size <= _MOST_BYTES or _received(link, size) < size:
                return
            link.sendall(_ACKNOWLEDGED)
    except OSError:  # the sender is gone
        return
