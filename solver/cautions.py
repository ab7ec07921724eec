"""What a user should know about a request before trusting its plan."""

from collections.abc import Sequence
from math import fsum, sqrt

from cost_model.arrays import IntArray
from cost_model.stages import TimeSources, decode_contexts, prompt_lengths
from profiles.architecture import Model
from profiles.cluster import EngineSettings, Workload
from profiles.errors import InputError
from profiles.tables import CostTable

__all__ = ["check_positions", "length_cautions", "table_cautions"]

_MOST_LISTED = 8
_DEVIATIONS = 2


def check_positions(model: Model, workload: Workload) -> tuple[str, ...]:
    """
    A warning when prompt and answer are longer than the model was made for.

    Raises
    ------
    InputError
        When the positions are learned, so that the model has none to give to the tokens beyond.
    """
    tokens = workload.longest_tokens
    if model.max_positions is None or tokens <= model.max_positions:
        return ()
    longest = " of the longest request" * bool(workload.lengths)
    found = (
        f"Prompt and output{longest} are {tokens} tokens together, but {model.name} has "
        f"{model.max_positions} positions"
    )
    if model.learned_positions:
        raise InputError(
            f"{found}, which are learned: it cannot run longer requests; shorten them.",
            pointer="/workload" if workload.lengths else "/workload/prompt_tokens",
        )
    return (f"{found}: its answers may be poor beyond unless its positions are scaled.",)


def length_cautions(workload: Workload) -> tuple[str, ...]:
    """What the means over several lengths leave out."""
    if not workload.lengths:
        return ()
    means = (
        f"Lengths are request-weighted means over {len(workload.lengths)} buckets, an "
        f"approximation: prompt {workload.prompt_tokens} tokens (longest "
        f"{workload.longest_prompt_tokens}), output {workload.output_tokens} (longest "
        f"{workload.longest_output_tokens}). Latency is that of a mean answer: a batch whose "
        "places are not filled anew ends later, with its longest answer."
    )
    return (means, _kv_caution(workload))


def _kv_caution(workload: Workload) -> str:
    """How far the KV cache of a batch strays from the mean that memory is planned for."""
    mean = fsum(bucket.weight * bucket.tokens for bucket in workload.lengths)
    square = fsum(bucket.weight * (bucket.tokens - mean) ** 2 for bucket in workload.lengths)
    batch = min(workload.batch_sizes)
    beyond = min(_DEVIATIONS * sqrt(square / batch), workload.longest_tokens - mean)
    return (
        f"KV cache is planned for {mean:.0f} tokens per request, the mean at full length; a batch "
        f"of {batch} drawn at random that reaches it all at once may hold {beyond / mean:.0%} more "
        "(two standard deviations). Lower engine.memory_fraction to leave room for that."
    )


def table_cautions(
    tables: Sequence[CostTable],
    sources: TimeSources,
    model: Model,
    engine: EngineSettings,
    workload: Workload,
    sizes: IntArray,
) -> tuple[str, ...]:
    """
    Warnings about tables of a request that are about other models or answer nothing.

    Parameters
    ----------
    tables
        Those of the request.
    sources
        What answered.
    model, engine, workload
        What is asked.
    sizes
        Micro-batch sizes that are asked for, shape (M,).
    """
    num_rows = sum(len(table.rows) for table in tables)
    if not num_rows:
        return ()
    others = _about_others(tables, model)
    if sources.num_own:
        return others
    unanswered = (
        f"The cost tables of the request answer nothing ({num_rows} rows). Asked: "
        f"{_asked(model, engine, workload, sizes)}. A table answers at its points and between "
        "them, never outside."
    )
    return (*others, unanswered)


def _about_others(tables: Sequence[CostTable], model: Model) -> tuple[str, ...]:
    names = [str(name) for table in tables for name in table.rows["model"] if name != model.name]
    if not names:
        return ()
    rows = "1 row is" if len(names) == 1 else f"{len(names)} rows are"
    others = _some(tuple(dict.fromkeys(names)))
    return (f"{rows} about other models ({others}), not {model.name}, and not used.",)


def _asked(model: Model, engine: EngineSettings, workload: Workload, sizes: IntArray) -> str:
    prompts = _some([f"{tokens}" for tokens in prompt_lengths(workload)])
    contexts = _some([f"{tokens:g}" for tokens in sorted(decode_contexts(workload))])
    decode = f", {contexts} context tokens in decode"
    kinds = (*(kind.name for kind in model.kinds), "embedding", "lm_head")
    return (
        f"model {model.name}, engine {engine.name}, layer kinds {', '.join(kinds)}, "
        f"{prompts} prompt tokens in prefill"
        f"{decode if workload.longest_output_tokens > 1 else ''}, "
        f"batch sizes {_some(tuple(map(str, sizes)))}"
    )


def _some(texts: Sequence[str]) -> str:
    """All of a short list; the first ones and the last one of a long list."""
    if len(texts) <= _MOST_LISTED:
        return ", ".join(texts)
    return f"{', '.join(texts[: _MOST_LISTED - 1])} ... {texts[-1]}"
