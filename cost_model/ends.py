"""Seconds of what stands before and behind the decoder layers: the embedding and the LM head."""

import numpy as np

from cost_model.answer import (
    FULL_BITS,
    LayerLatency,
    calibrated,
    modelled_s,
    needed_full_kernel,
    table_key,
    table_or_model,
)
from cost_model.arrays import FloatArray, IntArray
from cost_model.communication import all_reduce_s
from cost_model.lookup import CostTables, Phase
from cost_model.work import matrix_work
from profiles.architecture import Model
from profiles.gpus import Gpu
from profiles.links import Link

__all__ = ["embedding_s", "head_s"]


def embedding_s(
    model: Model,
    gpu: Gpu,
    engine: str,
    tp: int,
    link: Link,
    phase: Phase,
    batch: IntArray,
    tokens: float,
    tables: CostTables,
) -> LayerLatency:
    """
    Seconds to look up the embeddings of a micro-batch, at 16 bits.

    Parameters
    ----------
    model
        Gives the widths.
    gpu, engine, tp, link
        What runs it.
    phase
        ``prefill``: all tokens of the prompts; ``decode``: one token of each request.
    batch
        Requests of each micro-batch, shape (M,).
    tokens
        Prompt length or context.
    tables
        Measurements to use before the model (layer kind ``embedding``).

    Raises
    ------
    MissingProfileError
        When neither a table nor the calibrated model answers.
    """
    kernel, full = needed_full_kernel(engine, gpu)

    def modelled() -> FloatArray:
        rows = np.asarray(batch, dtype=np.float64) * (tokens if phase == "prefill" else 1)
        coefficients = calibrated(gpu, engine, kernel, full)
        num_bytes = rows * model.hidden * FULL_BITS / 8
        moved = 2 * num_bytes / (gpu.memory_bytes_per_s * coefficients.cache_share)
        reduced = all_reduce_s(link, num_bytes, tp)
        return moved + coefficients.layer_overhead_s + reduced

    key = table_key("embedding", gpu, engine, kernel, full, tp, phase)
    return table_or_model(tables, key, batch, tokens, modelled)


def head_s(
    model: Model,
    gpu: Gpu,
    engine: str,
    tp: int,
    link: Link,
    phase: Phase,
    batch: IntArray,
    tokens: float,
    tables: CostTables,
) -> LayerLatency:
    """
    Seconds of the LM head for a micro-batch, at 16 bits: one row of logits per request.

    Parameters
    ----------
    model
        Gives the widths.
    gpu, engine, tp, link
        What runs it; with ``tp`` each GPU has a part of the vocabulary and the logits are gathered.
    phase
        ``prefill``, where only the last position of each request counts, or ``decode``.
    batch
        Requests of each micro-batch, shape (M,).
    tokens
        Prompt length or context; only tables ask for it.
    tables
        Measurements to use before the model (layer kind ``lm_head``).

    Raises
    ------
    MissingProfileError
        When neither a table nor the calibrated model answers.
    """
    kernel, full = needed_full_kernel(engine, gpu)

    def modelled() -> FloatArray:
        rows = np.asarray(batch, dtype=np.float64)
        work = matrix_work(model.hidden, model.vocab, tp, rows)
        # A gather moves half of what an all-reduce of the same array does.
        gathered = all_reduce_s(link, rows * model.vocab * FULL_BITS / 8 / 2, tp)
        return modelled_s(work, gpu, engine, kernel, full) + gathered

    key = table_key("lm_head", gpu, engine, kernel, full, tp, phase)
    return table_or_model(tables, key, batch, tokens, modelled)
