"""
Bytes that a stage needs on each of its GPUs.

Everything is per GPU of a tensor-parallel group of ``tp``. What the group shares is divided by
``tp``; keys and values by at most the number of KV heads, since a head is never split: beyond
that the heads are repeated.
"""

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from profiles.architecture import LayerKind, Model
from profiles.formats import Format

__all__ = [
    "activation_bytes",
    "buffer_bytes",
    "embedding_bytes",
    "head_bytes",
    "kv_bytes_per_request",
    "layer_weight_bytes",
    "logits_bytes",
]

_BITS_PER_BYTE = 8
_FULL_BITS = 16
_BYTES_32_BIT = 4


def layer_weight_bytes(kind: LayerKind, format: Format, tp: int = 1) -> float:  # noqa: A002
    """
    Weights of one layer in a format, with scales and zeros.

    Parameters
    ----------
    kind
        The layer; all its experts are stored.
    format
        Gives the effective bits per weight. Norms, biases and router stay at 16 bits, undivided.
    tp
        GPUs that share the layer.
    """
    keys_and_values = kind.hidden * kind.kv_width
    per_gpu = (kind.weights - keys_and_values) / tp + keys_and_values / min(tp, kind.kv_heads)
    return per_gpu * format.bits_per_weight / _BITS_PER_BYTE + kind.small_bytes


def kv_bytes_per_request(kind: LayerKind, tokens: int, kv_bits: int = 16, tp: int = 1) -> float:
    """
    KV cache of one layer for one request.

    Parameters
    ----------
    kind
        The layer. With a sliding window, no more tokens than the window are kept.
    tokens
        Prompt and answer together.
    kv_bits
        Width of a cached number: 16 or 8.
    tp
        GPUs that share the layer.
    """
    kept = tokens if kind.window is None else min(tokens, kind.window)
    return kept * kind.kv_width * kv_bits / _BITS_PER_BYTE / min(tp, kind.kv_heads)


def embedding_bytes(model: Model, tp: int = 1, value_bits: int = _FULL_BITS) -> float:
    """Token embedding, divided; learned positions, repeated on every GPU."""
    rows = model.vocab / tp + model.learned_positions
    return rows * model.hidden * value_bits / _BITS_PER_BYTE


def head_bytes(model: Model, tp: int = 1, value_bits: int = _FULL_BITS) -> float:
    """LM head; where it is tied, leave it out beside the embedding."""
    return model.head_weights / tp * value_bits / _BITS_PER_BYTE


def activation_bytes(
    kind: LayerKind, rows: IntArray, tp: int = 1, value_bits: int = _FULL_BITS
) -> FloatArray:
    """
    Peak of the temporaries of one layer.

    Attention never holds its score matrix whole, so the peak is linear in the tokens: the
    residual and its normed copy, and the larger of what attention and feed-forward network keep.

    Parameters
    ----------
    kind
        The layer.
    rows
        Tokens in flight, shape (M,): micro-batch times prompt in prefill, micro-batch in decode.
    tp
        GPUs that share the layer.
    value_bits
        Width of an activation.

    Returns
    -------
    FloatArray
        Bytes, shape (M,).
    """
    width = 2 * kind.hidden + max(_attention_width(kind, tp), _ffn_width(kind, tp))
    return np.asarray(rows, dtype=np.float64) * (width * value_bits / _BITS_PER_BYTE)


def _attention_width(kind: LayerKind, tp: int) -> float:
    """Queries and their output, keys and values, per token."""
    queries = 2 * kind.heads * kind.head_dim / tp
    return queries + kind.kv_width / min(tp, kind.kv_heads)


def _ffn_width(kind: LayerKind, tp: int) -> float:
    """Inner numbers per token: gate and up and their product, of every expert visited."""
    inner = kind.matrices_per_ffn * kind.ffn / tp
    if not kind.num_experts:
        return inner
    shared = kind.matrices_per_ffn * kind.shared_ffn / tp
    return kind.experts_per_token * (inner + kind.hidden) + shared


def logits_bytes(
    model: Model, rows: IntArray, tp: int = 1, value_bits: int = _FULL_BITS
) -> FloatArray:
    """
    Peak of the LM head: its share at the width of a value and the gathered logits at 32 bits.

    Parameters
    ----------
    model
        Gives the vocabulary.
    rows
        Rows of logits, shape (M,): one for each request of a micro-batch, or for each token of
        its prompts where the engine wants them all (`profiles.engine_memory`).
    tp
        GPUs that share the head. The logits are gathered whole on one of them.
    value_bits
        Width of a value before it is gathered.

    Returns
    -------
    FloatArray
        Bytes, shape (M,).
    """
    per_row = model.vocab * (_BYTES_32_BIT + value_bits / _BITS_PER_BYTE / tp)
    return np.asarray(rows, dtype=np.float64) * per_row


def buffer_bytes(hidden: int, tokens: IntArray, value_bits: int = _FULL_BITS) -> FloatArray:
    """
    Buffers that receive the residual stream from one stage and send it to the next.

    Parameters
    ----------
    hidden
        Width of the stream.
    tokens
        Tokens of a micro-batch, shape (M,).
    value_bits
        Width of a number in it.

    Returns
    -------
    FloatArray
        Bytes, shape (M,).
    """
    return np.asarray(tokens, dtype=np.float64) * (2 * hidden * value_bits / _BITS_PER_BYTE)
