"""
Seconds and bytes of every kind of stage, for all formats and micro-batch sizes at once.

Requests of several lengths are priced by means over their buckets, with the shares w of the
requests: a prefill micro-batch takes the mean of its times at each prompt length; a decode step
the mean of its times at each bucket's mean context, weighted by the decode steps w (n - 1) that
the bucket needs, so that all steps together take what the requests' own do; the KV cache is the
mean at full length. Work space is that of the longest prompt.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum

import numpy as np
from numpy.typing import NDArray

from cost_model.arrays import FloatArray, IntArray
from cost_model.latency import LayerLatency, decode_layer_s, embedding_s, head_s, prefill_layer_s
from cost_model.lookup import CostTables, Phase
from cost_model.memory import (
    activation_bytes,
    buffer_bytes,
    embedding_bytes,
    head_bytes,
    kv_bytes_per_request,
    layer_weight_bytes,
    logits_bytes,
)
from cost_model.source import Source
from profiles.architecture import LayerKind, Model
from profiles.cluster import EngineSettings, Workload
from profiles.engine_memory import engine_memory
from profiles.formats import Format
from profiles.gpus import Gpu
from profiles.kernels import Kernel
from profiles.links import Link

__all__ = [
    "StageType",
    "TimeSources",
    "decode_contexts",
    "prompt_lengths",
    "stage_bytes",
    "stage_times",
]

_PHASES: tuple[Phase, ...] = ("prefill", "decode")
_LayerPlace = tuple[LayerKind, Gpu, str, Kernel, Format, int, Link, IntArray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageType:
    """
    A tensor-parallel group as a stage.

    Parameters
    ----------
    gpu, tp, link
        GPU type, how many of them, and what joins them.
    kernels
        Kernel by format name.
    formats
        Shape (F,): formats that it can run at this ``tp``.
    """

    gpu: Gpu
    tp: int
    link: Link
    kernels: Mapping[str, Kernel]
    formats: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSources:
    """
    Where the times of a problem come from.

    Parameters
    ----------
    counts
        How many single times have each source: one per stage type, format, kind of layer (or
        embedding, or head), micro-batch size, phase and length. Decode is left out where nothing is
        decoded.
    num_own
        How many of them come from tables of the request.
    weakest_of
        The weakest source of the times of layers by (stage type, format, phase), as indices.
    """

    counts: Mapping[Source, int]
    num_own: int
    weakest_of: Mapping[tuple[int, int, Phase], Source]

    @property
    def weakest(self) -> Source:
        """The weakest source among them."""
        return max(self.counts)


def prompt_lengths(workload: Workload) -> dict[int, float]:
    """Tokens of each prompt length that occurs, and its share of the requests."""
    shares: dict[int, float] = {}
    for bucket in workload.buckets:
        shares[bucket.prompt_tokens] = shares.get(bucket.prompt_tokens, 0.0) + bucket.weight
    return shares


def decode_contexts(workload: Workload) -> dict[float, float]:
    """
    Mean tokens in the KV cache over the decode steps of each bucket, and its share of all steps.

    Where nothing is decoded, the shares are those of the requests.
    """
    decoded = workload.longest_output_tokens > 1
    steps: dict[float, float] = {}
    for bucket in workload.buckets:
        context = bucket.prompt_tokens + (bucket.output_tokens - 1) / 2
        needed = bucket.weight * (bucket.output_tokens - 1 if decoded else 1)
        if needed:
            steps[context] = steps.get(context, 0.0) + needed
    total = fsum(steps.values())
    return {context: needed / total for context, needed in steps.items()}


def stage_times(
    model: Model,
    stages: Sequence[StageType],
    formats: Sequence[Format],
    engine: EngineSettings,
    workload: Workload,
    sizes: IntArray,
    tables: CostTables,
) -> tuple[dict[str, FloatArray], TimeSources]:
    """
    Seconds of layers, embedding and head on every stage type.

    Parameters
    ----------
    model, engine, workload, tables
        What is asked.
    stages, formats
        G stage types and F formats.
    sizes
        Micro-batch sizes, shape (M,).

    Returns
    -------
    dict
        ``prefill_s`` and ``decode_s`` of shape (G, F, K, M), 0 where a stage lacks the format;
        ``embedding_prefill_s``, ``embedding_decode_s``, ``head_prefill_s`` and ``head_decode_s``
        of shape (G, M).
    TimeSources
        How many of them were measured, interpolated and modelled.

    Raises
    ------
    MissingProfileError
        When a time is neither in a table nor modelled.
    """
    pricing = _Pricing(model, formats, engine, workload, sizes, tables)
    layers = [pricing.layers(g, stage) for g, stage in enumerate(stages)]
    times = {
        "prefill_s": np.array([prefill for prefill, _ in layers]),
        "decode_s": np.array([decode for _, decode in layers]),
    }
    for name, seconds in (("embedding", embedding_s), ("head", head_s)):
        for phase in _PHASES:
            rows = [pricing.end(seconds, phase, stage) for stage in stages]
            times[f"{name}_{phase}_s"] = np.array(rows)
    sources = TimeSources(
        counts=dict(pricing.counts), num_own=pricing.num_own, weakest_of=pricing.weakest_of
    )
    return times, sources


@dataclass(slots=True)
class _Pricing:
    """Asks the latency model and counts the sources of its answers."""

    model: Model
    formats: Sequence[Format]
    engine: EngineSettings
    workload: Workload
    sizes: IntArray
    tables: CostTables
    counts: Counter[Source] = field(default_factory=Counter)
    num_own: int = 0
    weakest_of: dict[tuple[int, int, Phase], Source] = field(default_factory=dict)

    def tokens(self, phase: Phase) -> Mapping[int, float] | Mapping[float, float]:
        """Prompt lengths or contexts to ask for, and the share of each."""
        if phase == "prefill":
            return prompt_lengths(self.workload)
        return decode_contexts(self.workload)

    def mean(self, phase: Phase, ask: Callable[[float], LayerLatency]) -> FloatArray:
        """Shape (M,): the mean over all lengths."""
        seconds = np.zeros(len(self.sizes))
        for tokens, share in self.tokens(phase).items():
            seconds += share * self.take(phase, ask(tokens))
        return seconds

    def take(self, phase: Phase, answer: LayerLatency) -> FloatArray:
        if phase == "prefill" or self.workload.longest_output_tokens > 1:
            self.counts.update(map(Source, answer.sources.tolist()))
            self.num_own += answer.num_own
        return answer.seconds

    def layers(self, group: int, stage: StageType) -> tuple[FloatArray, FloatArray]:
        """Shapes (F, K, M): prefill and decode."""
        shape = (len(self.formats), len(self.model.kinds), len(self.sizes))
        prefill, decode = np.zeros(shape), np.zeros(shape)
        for f, layer_format in enumerate(self.formats):
            if not stage.formats[f]:
                continue
            kernel = stage.kernels[layer_format.name]
            for k, kind in enumerate(self.model.kinds):
                where = (kind, stage.gpu, self.engine.name, kernel, layer_format, stage.tp)
                on = (*where, stage.link, self.sizes)
                prefill[f, k], decode[f, k] = self.layer(on, (group, f))
        return prefill, decode

    def layer(self, on: _LayerPlace, cell: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """Shapes (M,): prefill and decode of one layer."""

        def prefill(tokens: float) -> LayerLatency:
            found = prefill_layer_s(*on, int(tokens), self.tables)
            return self.noted((*cell, "prefill"), found)

        def decode(context: float) -> LayerLatency:
            found = decode_layer_s(*on, context, self.engine.kv_bits, self.tables)
            return self.noted((*cell, "decode"), found)

        return self.mean("prefill", prefill), self.mean("decode", decode)

    def noted(self, cell: tuple[int, int, Phase], answer: LayerLatency) -> LayerLatency:
        """The answer, once its weakest source is noted."""
        self.weakest_of[cell] = max(answer.source, self.weakest_of.get(cell, answer.source))
        return answer

    def end(
        self, seconds: Callable[..., LayerLatency], phase: Phase, stage: StageType
    ) -> FloatArray:
        """Shape (M,): embedding or head."""
        where = (self.model, stage.gpu, self.engine.name, stage.tp, stage.link)

        def ask(tokens: float) -> LayerLatency:
            return seconds(*where, phase, self.sizes, tokens, self.tables)

        return self.mean(phase, ask)


def stage_bytes(
    model: Model,
    tps: Sequence[int],
    formats: Sequence[Format],
    engine: EngineSettings,
    workload: Workload,
    sizes: IntArray,
) -> dict[str, FloatArray]:
    """
    Bytes on each GPU of every stage type.

    Parameters
    ----------
    model, engine, workload
        What is asked.
    tps
        Tensor-parallel size of G stage types.
    formats
        F formats.
    sizes
        Micro-batch sizes, shape (M,).

    Returns
    -------
    dict
        ``weight_bytes`` (G, F, K); ``kv_bytes`` (G, K) of one request at full length,
        the mean of several lengths, as often as the engine holds it;
        ``embedding_bytes``, ``head_bytes`` and ``shared_bytes`` (G,), the last what tied weights
        save where both are held; ``prefill_work_bytes``, ``decode_work_bytes`` and
        ``head_prefill_work_bytes``, ``head_decode_work_bytes`` (G, M).
    """
    kinds, bits, held = model.kinds, engine.value_bits, engine_memory(engine.name)
    head = np.array([head_bytes(model, tp, bits) for tp in tps])
    prompt_rows = sizes * held.logits_rows(workload.longest_prompt_tokens)
    return {
        "weight_bytes": np.array(
            [[[layer_weight_bytes(k, f, tp) for k in kinds] for f in formats] for tp in tps]
        ),
        "kv_bytes": held.cache_copies * _mean_kv_bytes(kinds, workload, engine.kv_bits, tps),
        "embedding_bytes": np.array([embedding_bytes(model, tp, bits) for tp in tps]),
        "head_bytes": head,
        "shared_bytes": head if model.tied_embeddings else np.zeros_like(head),
        "prefill_work_bytes": _work_bytes(model, sizes * workload.longest_prompt_tokens, tps, bits),
        "decode_work_bytes": _work_bytes(model, sizes, tps, bits),
        "head_prefill_work_bytes": _logits_bytes(model, prompt_rows, tps, bits),
        "head_decode_work_bytes": _logits_bytes(model, sizes, tps, bits),
    }


def _mean_kv_bytes(
    kinds: Sequence[LayerKind], workload: Workload, kv_bits: int, tps: Sequence[int]
) -> FloatArray:
    """Shape (G, K): mean over the lengths."""

    def mean(kind: LayerKind, tp: int) -> float:
        return fsum(
            bucket.weight * kv_bytes_per_request(kind, bucket.tokens, kv_bits, tp)
            for bucket in workload.buckets
        )

    return np.array([[mean(kind, tp) for kind in kinds] for tp in tps])


def _logits_bytes(model: Model, rows: IntArray, tps: Sequence[int], bits: int) -> FloatArray:
    """Shape (G, M)."""
    return np.array([logits_bytes(model, rows, tp, bits) for tp in tps])


def _work_bytes(model: Model, rows: IntArray, tps: Sequence[int], bits: int) -> FloatArray:
    """Shape (G, M): activations of the widest kind of layer, and buffers to send and receive."""
    peaks = [
        np.max([activation_bytes(kind, rows, tp, bits) for kind in model.kinds], axis=0)
        for tp in tps
    ]
    return np.array(peaks) + buffer_bytes(model.hidden, rows, bits)
