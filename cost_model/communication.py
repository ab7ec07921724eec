"""Seconds that transfers between stages and all-reduces inside one take, and their bytes."""

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from profiles.links import Link

__all__ = [
    "all_reduce_s",
    "decode_boundary_bytes",
    "occupancy_s",
    "prefill_boundary_bytes",
    "return_bytes",
    "transfer_s",
]

_BYTES_PER_ACTIVATION = 2  # hidden states travel in 16 bits, whatever the format of the weights
_BYTES_PER_TOKEN_ID = 4


def prefill_boundary_bytes(hidden: int, batch: IntArray, prompt_tokens: int) -> FloatArray:
    """
    Bytes that a prefill micro-batch sends to the next stage.

    Parameters
    ----------
    hidden
        Width of the residual stream.
    batch
        Requests of the micro-batch, any shape.
    prompt_tokens
        Tokens of each request's prompt.
    """
    tokens = np.asarray(batch, dtype=np.float64) * prompt_tokens
    return tokens * hidden * _BYTES_PER_ACTIVATION


def decode_boundary_bytes(hidden: int, batch: IntArray) -> FloatArray:
    """Bytes that a decode micro-batch sends to the next stage: one token of each request."""
    return prefill_boundary_bytes(hidden, batch, 1)


def return_bytes(batch: IntArray) -> FloatArray:
    """Bytes of the sampled tokens that the last stage returns to the first."""
    return np.asarray(batch, dtype=np.float64) * _BYTES_PER_TOKEN_ID


def occupancy_s(link: Link, num_bytes: FloatArray) -> FloatArray:
    """Seconds for which a transfer keeps a link busy: bytes over bandwidth, any shape."""
    return np.asarray(num_bytes, dtype=np.float64) / link.bytes_per_s


def transfer_s(link: Link, num_bytes: FloatArray) -> FloatArray:
    """Seconds from sending to having received: latency plus bytes over bandwidth, any shape."""
    return link.latency_s + occupancy_s(link, num_bytes)


def all_reduce_s(link: Link, num_bytes: FloatArray, tp: int) -> FloatArray:
    """
    Seconds of one all-reduce over the GPUs of a stage.

    Parameters
    ----------
    link
        What joins the GPUs.
    num_bytes
        Size of the array that is summed, any shape.
    tp
        GPUs that take part; one alone has nothing to sum.

    Returns
    -------
    FloatArray
        Latency + 2 (tp - 1) / tp * bytes / bandwidth, as a ring does it; 0 for ``tp`` 1.
    """
    num_bytes = np.asarray(num_bytes, dtype=np.float64)
    if tp == 1:
        return np.zeros_like(num_bytes)
    share = 2 * (tp - 1) / tp
    return link.all_reduce_latency_s + share * num_bytes / link.all_reduce_bytes_per_s
