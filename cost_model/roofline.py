r"""
The calibrated latency model of one layer: a roofline with reachable shares of peak.

With W weights read at b bits, F multiply-adds, H bytes of residual stream, K bytes of KV cache,
g query heads per KV head, A FLOP of attention over s tokens, peak P and bandwidth B of a GPU::

    compute    Tc = 2 (F + half_tokens * W) / (P * compute_share)
    weights    Tw = W * b / 8 / (B * memory_share)
    matrices   Tm = (Tc^(1+p) + Tw^(1+p))^(1/(1+p))                       p = sharpness
    cache      Tk = K * g^group_penalty / (B * cache_share)
    attention  Ta = A / (P16 * attention_share) * (1 + attention_half_tokens / s)
    elements   Te = activation_factor * H / (B * cache_share)
    GPU        Tg = Tm + Tk + Ta + Te + layer_overhead
    layer      T  = (Tg^q + host_floor^q)^(1/q)                           q = host_sharpness

P is the int8 peak where activations have 8 bits and the GPU has such cores, else the fp16 peak
P16. All-reduces of tensor parallelism come on top (`cost_model.communication`).
"""

import numpy as np

from cost_model.arrays import FloatArray
from cost_model.work import LayerWork
from profiles.coefficients import Coefficients
from profiles.formats import Format
from profiles.gpus import Gpu

__all__ = ["peak_ops_per_s", "roofline_s"]

_INT8_BITS = 8


def peak_ops_per_s(gpu: Gpu, format: Format) -> float:  # noqa: A002
    """Peak operations per second of a GPU's matrix products in a format."""
    if format.act_bits <= _INT8_BITS and gpu.int8_ops is not None:
        return gpu.int8_ops
    return gpu.fp16_flops


def _soft_max(first: FloatArray, second: FloatArray | float, sharpness: float) -> FloatArray:
    """Power mean that lies between the maximum and the sum of two times."""
    largest = np.maximum(first, second)
    smallest = np.minimum(first, second)
    scaled: FloatArray = (1 + (smallest / largest) ** sharpness) ** (1 / sharpness)
    return largest * scaled


def roofline_s(
    work: LayerWork,
    gpu: Gpu,
    format: Format,  # noqa: A002
    coefficients: Coefficients,
) -> FloatArray:
    """
    Seconds of one layer on one GPU, without all-reduces.

    Parameters
    ----------
    work
        What is to be done, for M micro-batch sizes.
    gpu
        Datasheet of the GPU.
    format
        Format of the weights.
    coefficients
        Reachable shares of that datasheet.

    Returns
    -------
    FloatArray
        Shape (M,); see the formula at the head of this module.
    """
    c = coefficients
    operations = 2 * (work.multiply_adds + c.half_tokens * work.weights)
    compute = operations / (peak_ops_per_s(gpu, format) * c.compute_share)
    weight_bytes = work.weights * format.bits_per_weight / 8
    reading = weight_bytes / (gpu.memory_bytes_per_s * c.memory_share)
    traffic = work.cache_bytes * work.heads_per_kv_head**c.group_penalty
    traffic = traffic + c.activation_factor * work.hidden_bytes
    moving = traffic / (gpu.memory_bytes_per_s * c.cache_share)
    slowed = 1 + c.attention_half_tokens / work.attention_tokens
    attention = work.attention_flops / (gpu.fp16_flops * c.attention_share) * slowed
    busy = _soft_max(compute, reading, 1 + c.sharpness) + moving + attention
    return _soft_max(busy + c.layer_overhead_s, c.host_floor_s, c.host_sharpness)
