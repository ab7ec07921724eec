"""What a layer has to compute and to move: the quantities that the roofline prices."""

from dataclasses import dataclass, replace

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from profiles.architecture import LayerKind

__all__ = ["LayerWork", "decode_work", "linear_work", "matrix_work", "prefill_work"]

_BYTES_16_BIT = 2

Product = tuple[FloatArray, float, float, FloatArray]  # rows, inputs, outputs, matrices


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """
    Work of one layer on one GPU of a stage.

    Arrays have the shape of the micro-batch sizes (M,); those of matrix products (P, M), one row
    per product.

    Parameters
    ----------
    rows
        New tokens.
    product_rows
        Rows of each matrix product; for experts, those that one of them is expected to get.
    product_inner, product_columns
        Inputs and outputs of the matrix of each product.
    product_count
        Such matrices that are read: 1, or the experts that the tokens are expected to visit.
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
    gates
        1 where the feed-forward network has a gate, else 0.
    """

    rows: FloatArray
    product_rows: FloatArray
    product_inner: FloatArray
    product_columns: FloatArray
    product_count: FloatArray
    hidden_bytes: FloatArray
    attention_flops: FloatArray
    attention_tokens: FloatArray
    cache_bytes: FloatArray
    heads_per_kv_head: FloatArray
    gates: FloatArray

    @property
    def weights(self) -> FloatArray:
        """Weights that are read, shape (M,)."""
        matrix = self.product_inner * self.product_columns
        read: FloatArray = (self.product_count * matrix).sum(axis=0)
        return read

    @property
    def multiply_adds(self) -> FloatArray:
        """Products of a weight and an activation, two FLOP each, shape (M,)."""
        matrix = self.product_inner * self.product_columns
        done: FloatArray = (self.product_rows * self.product_count * matrix).sum(axis=0)
        return done


def _experts_read(kind: LayerKind, rows: FloatArray) -> FloatArray:
    """Expected number of distinct experts that tokens visit, each choosing evenly."""
    if kind.num_experts == 0:
        return np.ones_like(rows)
    missed = 1 - kind.experts_per_token / kind.num_experts
    return kind.num_experts * (1 - missed**rows)


def _ffn_products(
    kind: LayerKind, width: float, rows: FloatArray, count: FloatArray
) -> list[Product]:
    """Gate and up as one product, then down, of a network of this inner width."""
    outputs = (2 if kind.gated else 1) * width
    return [(rows, kind.hidden, outputs, count), (rows, width, kind.hidden, count)]


def _layer_products(kind: LayerKind, tp: int, rows: FloatArray) -> list[Product]:
    """
    Queries, keys and values as one product, the output of attention, and the network.

    KV heads are repeated once there are fewer than GPUs.
    """
    one, read = np.ones_like(rows), _experts_read(kind, rows)
    heads = kind.heads / tp
    repeated = kind.kv_heads / min(tp, kind.kv_heads)
    routed = rows * max(kind.experts_per_token, 1) / read
    products = [
        (rows, kind.hidden, kind.head_dim * (heads + 2 * repeated), one),
        (rows, kind.head_dim * heads, kind.hidden, one),
        *_ffn_products(kind, kind.ffn / tp, routed, read),
    ]
    if kind.shared_ffn:
        products += _ffn_products(kind, kind.shared_ffn / tp, rows, one)
    return products


def _products(found: list[Product]) -> dict[str, FloatArray]:
    """The fields of `LayerWork` that products fill, shape (P, M) each."""
    rows, inner, columns, count = zip(*found, strict=True)
    shape = (len(found), len(rows[0]))
    return {
        "product_rows": np.array(rows),
        "product_inner": np.broadcast_to(np.array(inner, dtype=np.float64)[:, None], shape),
        "product_columns": np.broadcast_to(np.array(columns, dtype=np.float64)[:, None], shape),
        "product_count": np.array(count),
    }


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
    return LayerWork(
        rows=rows,
        **_products(_layer_products(kind, tp, rows)),
        hidden_bytes=rows * kind.hidden * _BYTES_16_BIT,
        attention_flops=np.zeros_like(rows),
        attention_tokens=np.ones_like(rows),
        cache_bytes=np.zeros_like(rows),
        heads_per_kv_head=np.full_like(rows, kind.heads / kind.kv_heads),
        gates=np.full_like(rows, kind.gated),
    )


def matrix_work(num_rows: int, num_columns: int, tp: int, rows: FloatArray) -> LayerWork:
    """Work of one matrix, such as the LM head, whose columns ``tp`` GPUs share."""
    return LayerWork(
        rows=rows,
        **_products([(rows, num_rows, num_columns / tp, np.ones_like(rows))]),
        hidden_bytes=rows * num_rows * _BYTES_16_BIT,
        attention_flops=np.zeros_like(rows),
        attention_tokens=np.ones_like(rows),
        cache_bytes=np.zeros_like(rows),
        heads_per_kv_head=np.ones_like(rows),
        gates=np.zeros_like(rows),
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
