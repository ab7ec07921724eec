"""What one call of the profiler measures: subjects and the places each is to cover."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cost_model.latency import tp_allowed
from cost_model.lookup import Phase
from cost_model.profiler.subjects import EMBEDDING, HEAD, Span, Subject
from profiles.architecture import LayerKind, Model
from profiles.errors import InputError
from profiles.formats import find_format

__all__ = ["Ranges", "campaign"]

_FULL = "w16a16"
KernelKey = tuple[str, str, str]
"""Names of engine, kernel and format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """
    What a table is to cover, ends included.

    Parameters
    ----------
    batch
        Requests of a micro-batch.
    prompt_tokens, context_tokens
        Length of prompts in prefill, tokens in the KV cache in decode.
    tp
        Sizes of tensor-parallel groups.
    """

    batch: tuple[int, int]
    prompt_tokens: tuple[int, int]
    context_tokens: tuple[int, int]
    tp: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        """Refuse ranges that hold nothing."""
        for name in ("batch", "prompt_tokens", "context_tokens"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise InputError(
                    f"{name} is {low}-{high}; give a range of whole numbers from 1, lowest first."
                )


def campaign(
    model: Model, kernels: Sequence[tuple[KernelKey, int | None]], ranges: Ranges
) -> tuple[Mapping[Subject, Span], Sequence[str]]:
    """
    Subjects to measure, each with the places that its table is to cover.

    Parameters
    ----------
    model
        Every kind of its layers is measured once; so are embedding and head in each 16-bit kernel.
    kernels
        What to measure them with, and the group size of each; None for none.
    ranges
        What to cover.

    Returns
    -------
    tuple
        The subjects with their spans, and a sentence on each kernel that does not fit a layer.
    """
    spans: dict[Subject, Span] = {}
    notes: list[str] = []
    for key, group_size in kernels:
        for tp in ranges.tp:
            for kind in model.kinds:
                reason = _why_not(kind, key, group_size, tp)
                if reason:
                    notes.append(f"{key[1]} ({key[2]}), tp {tp}: {reason}")
                else:
                    spans |= _both_phases(kind.name, key, tp, ranges)
            if key[2] == _FULL:
                spans |= dict(_ends(key, tp, ranges))
    return spans, notes


def _why_not(kind: LayerKind, key: KernelKey, group_size: int | None, tp: int) -> str:
    """Why a kernel cannot run a part of a layer; empty where it can."""
    if not tp_allowed(kind, find_format(key[2]), tp):
        return f"layer kind {kind.name!r} cannot be split over {tp} GPUs"
    widths = (kind.hidden, kind.heads * kind.head_dim // tp, kind.ffn // tp)
    bad = [width for width in widths if width % (group_size or 1)]
    if bad:
        return f"a width of {bad[0]} in layer kind {kind.name!r} is no whole number of groups"
    return ""


def _both_phases(name: str, key: KernelKey, tp: int, ranges: Ranges) -> dict[Subject, Span]:
    return {
        _subject(name, key, tp, "prefill"): Span(batch=ranges.batch, tokens=ranges.prompt_tokens),
        _subject(name, key, tp, "decode"): Span(batch=ranges.batch, tokens=ranges.context_tokens),
    }


def _ends(key: KernelKey, tp: int, ranges: Ranges) -> Iterator[tuple[Subject, Span]]:
    prompts, contexts = ranges.prompt_tokens, ranges.context_tokens
    yield (
        _subject(EMBEDDING, key, tp, "prefill"),
        Span(batch=ranges.batch, tokens=prompts),
    )
    yield (
        _subject(EMBEDDING, key, tp, "decode"),
        Span(batch=ranges.batch, tokens=(1, 1), repeats=contexts),
    )
    everywhere = min(prompts[0], contexts[0]), max(prompts[1], contexts[1])
    yield (
        _subject(HEAD, key, tp, "decode"),
        Span(batch=ranges.batch, tokens=(1, 1), repeats=everywhere),
    )


def _subject(name: str, key: KernelKey, tp: int, phase: Phase) -> Subject:
    engine, kernel, form = key
    return Subject(layer_kind=name, engine=engine, kernel=kernel, format=form, tp=tp, phase=phase)
