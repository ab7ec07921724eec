r"""
The calibrated latency model of one layer: a roofline with reachable shares of peak.

Each matrix product of m rows with a matrix of k inputs and n outputs, weights of b bits, on a GPU
of S multiprocessors, peak P and bandwidth B::

    tiles      blocks of t x 128 outputs, t = m rounded up to a power of two, 16 to 128
    waves      w = ceil(ceil(m/t) ceil(n/128) / S) * t * 128 * S / (m n), the padded share
    compute    Tc = 2 n k (m w^wave_share + half_tokens) / (P * compute_share)
    memory     Tw = (n k b / 8 * narrow * step + 2 m (n + k)) / (B * memory_share)
    narrow     1 + narrow_factor * 128 S / n
    step       1 up to step_rows rows, 1 + step_share beyond, 1 + 2 step_share from twice
               step_rows to 128 rows: other kernels take over, which read weights more slowly
    product    Tm = (Tc^(1+p) + Tw^(1+p))^(1/(1+p)) + Ti                  p = sharpness
    inputs     Ti = 2 m k * input_factor / B, such as to quantise activations

and a layer with products Tm, H bytes of residual stream, K bytes of KV cache, g query heads per KV
head, A FLOP of attention over s tokens::

    cache      Tk = K * g^group_penalty / (B * cache_share)
    attention  Ta = A / (P16 * attention_share) * (1 + attention_half_tokens / s)
    elements   Te = activation_factor * H / (B * cache_share)
    GPU        Tg = sum of Tm + Tk + Ta + Te + layer_overhead
    host       Th = host_floor + gate_host where the feed-forward network has a gate
    layer      T  = (Tg^q + Th^q)^(1/q)                                   q = host_sharpness

P is the int8 peak where activations have 8 bits and the GPU has such cores, else the fp16 peak
P16. All-reduces of tensor parallelism come on top (`cost_model.communication`).

Tiles and waves: NVIDIA, Matrix Multiplication Background User's Guide (2023), "Tile Quantization"
and "Wave Quantization".
"""

import numpy as np

from cost_model.arrays import FloatArray
from cost_model.work import LayerWork
from profiles.coefficients import Coefficients
from profiles.formats import Format
from profiles.gpus import Gpu

__all__ = ["peak_ops_per_s", "roofline_s"]

_INT8_BITS, _BYTES_16_BIT = 8, 2
_TILE_COLUMNS, _LEAST_TILE_ROWS, _MOST_TILE_ROWS = 128, 16, 128


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


def _padded_share(rows: FloatArray, columns: FloatArray, num_processors: int) -> FloatArray:
    """What whole waves of whole tiles compute, over what is asked: at least 1."""
    power = 2 ** np.ceil(np.log2(rows))
    tile = np.clip(power, _LEAST_TILE_ROWS, _MOST_TILE_ROWS)
    tiles = np.ceil(rows / tile) * np.ceil(columns / _TILE_COLUMNS)
    waves = np.ceil(tiles / num_processors)
    padded: FloatArray = waves * num_processors * tile * _TILE_COLUMNS / (rows * columns)
    return padded


def _steps(rows: FloatArray, step_rows: float) -> FloatArray:
    """How many kernels that read more slowly have taken over at so many rows: 0, 1 or 2."""
    twice = (rows > 2 * step_rows) & (rows <= _MOST_TILE_ROWS)
    return (rows > step_rows).astype(np.float64) + twice


def _products_s(
    work: LayerWork,
    gpu: Gpu,
    format: Format,  # noqa: A002
    c: Coefficients,
) -> FloatArray:
    """Seconds of all matrix products, shape (M,)."""
    rows, columns, inner = work.product_rows, work.product_columns, work.product_inner
    matrix = 2 * inner * columns
    padded = _padded_share(rows, columns, gpu.multiprocessors) ** c.wave_share
    compute = matrix * (rows * padded + c.half_tokens)
    compute = compute / (peak_ops_per_s(gpu, format) * c.compute_share)
    narrow = 1 + c.narrow_factor * _TILE_COLUMNS * gpu.multiprocessors / columns
    slower = narrow * (1 + c.step_share * _steps(rows, c.step_rows))
    weight_bytes = matrix / 2 * format.bits_per_weight / 8 * slower
    operand_bytes = _BYTES_16_BIT * rows * (inner + columns)
    reading = (weight_bytes + operand_bytes) / (gpu.memory_bytes_per_s * c.memory_share)
    entering = _BYTES_16_BIT * rows * inner * c.input_factor / gpu.memory_bytes_per_s
    each = _soft_max(compute, reading, 1 + c.sharpness) + entering
    total: FloatArray = (work.product_count * each).sum(axis=0)
    return total


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
    traffic = work.cache_bytes * work.heads_per_kv_head**c.group_penalty
    traffic = traffic + c.activation_factor * work.hidden_bytes
    moving = traffic / (gpu.memory_bytes_per_s * c.cache_share)
    slowed = 1 + c.attention_half_tokens / work.attention_tokens
    attention = work.attention_flops / (gpu.fp16_flops * c.attention_share) * slowed
    busy = _products_s(work, gpu, format, c) + moving + attention
    host = c.host_floor_s + c.gate_host_s * work.gates
    return _soft_max(busy + c.layer_overhead_s, host, c.host_sharpness)
