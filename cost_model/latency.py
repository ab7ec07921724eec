"""
Seconds of a decoder layer on one stage, in prefill and in decode.

A table answers first, exactly or between its points; else the calibrated model; else the
question has no answer and `MissingProfileError` says what is missing.
"""

import numpy as np

from cost_model.answer import (
    FULL_BITS,
    LayerLatency,
    full_kernel,
    modelled_s,
    table_key,
    table_or_model,
)
from cost_model.arrays import FloatArray, IntArray
from cost_model.communication import all_reduce_s
from cost_model.ends import embedding_s, head_s
from cost_model.lookup import CostTables
from cost_model.work import decode_work, prefill_work
from profiles.architecture import LayerKind
from profiles.formats import Format
from profiles.gpus import Gpu
from profiles.kernels import Kernel
from profiles.links import Link

__all__ = [
    "LayerLatency",
    "decode_layer_s",
    "embedding_s",
    "head_s",
    "prefill_layer_s",
    "tp_allowed",
]

_ALL_REDUCES_PER_LAYER = 2  # one after attention, one after the feed-forward network


def tp_allowed(kind: LayerKind, format: Format, tp: int) -> bool:  # noqa: A002
    """
    Whether a layer can be split over ``tp`` GPUs.

    The split must divide the heads and the inner widths, leave whole groups of quantised weights
    in the matrices that are split by input (attention output and down projection), and either
    divide the KV heads or be a multiple of them, for then each GPU repeats one.
    """
    if tp == 1:
        return True
    widths = [kind.ffn, kind.heads * kind.head_dim]
    if kind.shared_ffn:
        widths.append(kind.shared_ffn)
    group = tp * (format.group_size or 1)
    whole = kind.heads % tp == 0 and all(width % group == 0 for width in widths)
    return whole and (kind.kv_heads % tp == 0 or tp % kind.kv_heads == 0)


def prefill_layer_s(
    kind: LayerKind,
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
    tp: int,
    link: Link,
    batch: IntArray,
    prompt_tokens: int,
    tables: CostTables,
) -> LayerLatency:
    """
    Seconds of one prefill micro-batch in one decoder layer.

    Parameters
    ----------
    kind
        Shape of the layer.
    gpu, engine, kernel, format
        What runs it.
    tp, link
        GPUs that share the layer, and what joins them.
    batch
        Requests of each micro-batch, shape (M,).
    prompt_tokens
        Tokens of each request's prompt.
    tables
        Measurements to use before the model.

    Raises
    ------
    MissingProfileError
        When neither a table nor the calibrated model answers.
    """

    def modelled() -> FloatArray:
        work = prefill_work(kind, tp, batch, prompt_tokens)
        seconds = modelled_s(work, gpu, engine, kernel, format)
        if format.act_bits == FULL_BITS and format.weight_bits < FULL_BITS:
            # Weights are unpacked to 16 bits first, so long prompts gain nothing.
            full = full_kernel(engine, gpu)
            if full is not None:
                seconds = np.maximum(seconds, modelled_s(work, gpu, engine, *full))
        return seconds + _ALL_REDUCES_PER_LAYER * all_reduce_s(link, work.hidden_bytes, tp)

    key = table_key(kind.name, gpu, engine, kernel, format, tp, "prefill")
    return table_or_model(tables, key, batch, prompt_tokens, modelled)


def decode_layer_s(
    kind: LayerKind,
    gpu: Gpu,
    engine: str,
    kernel: Kernel,
    format: Format,  # noqa: A002
    tp: int,
    link: Link,
    batch: IntArray,
    context: float,
    kv_bits: int,
    tables: CostTables,
) -> LayerLatency:
    """
    Seconds of one decode step of a micro-batch in one decoder layer.

    Parameters
    ----------
    kind
        Shape of the layer.
    gpu, engine, kernel, format
        What runs it.
    tp, link
        GPUs that share the layer, and what joins them.
    batch
        Requests of each micro-batch, shape (M,).
    context
        Mean tokens of each request in the KV cache.
    kv_bits
        Width of a number in the KV cache.
    tables
        Measurements to use before the model.

    Raises
    ------
    MissingProfileError
        When neither a table nor the calibrated model answers.
    """

    def modelled() -> FloatArray:
        work = decode_work(kind, tp, batch, context, kv_bits)
        seconds = modelled_s(work, gpu, engine, kernel, format)
        return seconds + _ALL_REDUCES_PER_LAYER * all_reduce_s(link, work.hidden_bytes, tp)

    key = table_key(kind.name, gpu, engine, kernel, format, tp, "decode", kv_bits)
    return table_or_model(tables, key, batch, context, modelled)
