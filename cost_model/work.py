"""What a layer has to compute and to move: the quantities that the roofline prices."""

from dataclasses import dataclass, replace

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from profiles.architecture import LayerKind

__all__ = ["LayerWork", "decode_work", "linear_work", "matrix_work", "prefill_work"]

_BYTES_16_BIT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """
    Work of one layer on one GPU of a stage; every array has the shape of the micro-batch sizes.

    Parameters
    ----------
    rows
        New tokens: rows of the matrix products.
    weights
        Weights that are read.
    multiply_adds
        Products of a weight and an activation, two FLOP each.
    hidden_bytes
        Bytes of the residual stream: ``rows`` times hidden width, 16 bits.
    attention_flops
        FLOP of prefill attention, causal half only; 0 in decode.
    attention_tokens
        Prompt tokens that a query sees at most; 1 where there is no prefill attention.
    cache_bytes
        Bytes of KV cache that are read; 0 in prefill.
    heads_per_kv_head
        Query heads that share one head of keys and values.
    """

    rows: FloatArray
    weights: FloatArray
    multiply_adds: FloatArray
    hidden_bytes: FloatArray
    attention_flops: FloatArray
    attention_tokens: FloatArray
    cache_bytes: FloatArray
    heads_per_kv_head: FloatArray


def _attention_weights(kind: LayerKind, tp: int) -> float:
    """Attention weights of one GPU: KV heads are repeated once there are fewer than GPUs."""
    heads = kind.heads / tp + kind.kv_heads / min(tp, kind.kv_heads)
    return 2 * kind.hidden * kind.head_dim * heads


def _experts_read(kind: LayerKind, rows: FloatArray) -> FloatArray:
    """Expected number of distinct experts that tokens visit, each choosing evenly."""
    if kind.num_experts == 0:
        return np.ones_like(rows)
    missed = 1 - kind.experts_per_token / kind.num_experts
    return kind.num_experts * (1 - missed**rows)


def linear_work(kind: LayerKind, tp: int, rows: FloatArray) -> LayerWork:
    """
    Work of a layer without its attention over the context.

    Parameters
    ----------
    kind
        Shape of the layer.
    tp
        GPUs that share the layer.
    rows
        New tokens of each micro-batch, shape (M,).
    """
    attention = _attention_weights(kind, tp)
    active = attention + kind.active_ffn_weights / tp
    ffn_read = _experts_read(kind, rows) * kind.expert_weights + kind.shared_weights
    return LayerWork(
        rows=rows,
        weights=attention + ffn_read / tp,
        multiply_adds=active * rows,
        hidden_bytes=rows * kind.hidden * _BYTES_16_BIT,
        attention_flops=np.zeros_like(rows),
        attention_tokens=np.ones_like(rows),
        cache_bytes=np.zeros_like(rows),
        heads_per_kv_head=np.full_like(rows, kind.heads / kind.kv_heads),
    )


def matrix_work(num_rows: int, num_columns: int, tp: int, rows: FloatArray) -> LayerWork:
    """Work of one matrix, such as the LM head, whose columns ``tp`` GPUs share."""
    weights = num_rows * num_columns / tp
    return LayerWork(
        rows=rows,
        weights=np.full_like(rows, weights),
        multiply_adds=weights * rows,
        hidden_bytes=rows * num_rows * _BYTES_16_BIT,
        attention_flops=np.zeros_like(rows),
        attention_tokens=np.ones_like(rows),
        cache_bytes=np.zeros_like(rows),
        heads_per_kv_head=np.ones_like(rows),
    )


def prefill_work(kind: LayerKind, tp: int, batch: IntArray, prompt_tokens: int) -> LayerWork:
    """
    Work of one prefill micro-batch.

    Parameters
    ----------
    kind, tp
        Shape of the layer; GPUs that share it.
    batch
        Requests of each micro-batch, shape (M,).
    prompt_tokens
        Tokens of each request's prompt.
    """
    requests = np.asarray(batch, dtype=np.float64)
    linear = linear_work(kind, tp, requests * prompt_tokens)
    span = min(prompt_tokens, kind.window or prompt_tokens)
    pairs = span * (prompt_tokens - span / 2)  # of a query and a key that it may see
    flops = 4 * pairs * kind.heads * kind.head_dim / tp
    return replace(
        linear,
        attention_flops=requests * flops,
        attention_tokens=np.full_like(requests, span),
    )


def decode_work(
    kind: LayerKind, tp: int, batch: IntArray, context: float, kv_bits: int
) -> LayerWork:
    """
    Work of one decode step.

    Parameters
    ----------
    kind, tp
        Shape of the layer; GPUs that share it.
    batch
        Requests of each micro-batch, shape (M,); each has one new token.
    context
        Mean tokens that each request has in the KV cache.
    kv_bits
        Width of a number in the KV cache.
    """
    requests = np.asarray(batch, dtype=np.float64)
    linear = linear_work(kind, tp, requests)
    seen = min(context, kind.window or context)
    per_request = seen * kind.kv_width / min(tp, kind.kv_heads) * kv_bits / 8
    return replace(linear, cache_bytes=requests * per_request)
