"""What an engine holds in memory beside the weights, as far as it differs between engines."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from profiles.catalogue import look_up, read_rows
from profiles.units import MIB

__all__ = ["EngineMemory", "engine_memory", "load_engine_memory", "runtime_bytes"]

LogitsPositions = Literal["last", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMemory:
    """
    How an engine holds its cache and its logits.

    Parameters
    ----------
    engine
        Its name.
    cache_copies
        Whole KV caches that exist at the peak: 2 where a step builds a new one beside the old.
    logits_positions
        Positions of a prompt that get logits: the ``last`` one, or ``all``.
    source
        What the two rest on.
    """

    engine: str
    cache_copies: int
    logits_positions: LogitsPositions
    source: str

    def logits_rows(self, prompt_tokens: int) -> int:
        """Rows of logits that a prompt of this length gets."""
        return prompt_tokens if self.logits_positions == "all" else 1


@cache
def load_engine_memory() -> Mapping[str, EngineMemory]:
    """All engines whose memory is known, by name."""
    return {
        row["engine"]: EngineMemory(
            engine=row["engine"],
            cache_copies=int(row["cache_copies"]),
            logits_positions=cast("LogitsPositions", row["logits_positions"]),
            source=row["source"],
        )
        for row in read_rows("engine_memory.csv")
    }


def engine_memory(engine: str) -> EngineMemory:
    """
    What is known about an engine's memory.

    Raises
    ------
    InputError
        When the catalogue has no row of it.
    """
    return look_up(load_engine_memory(), {}, engine, kind="engine")


@cache
def _runtimes() -> Mapping[tuple[str, str], float]:
    rows = read_rows("runtime_memory.csv")
    return {(row["engine"], row["gpu"]): float(row["runtime_mib"]) * MIB for row in rows}


def runtime_bytes(engine: str, gpu_name: str) -> float | None:
    """
    Bytes that context, libraries and driver take on a GPU before anything is loaded.

    None where nobody measured it; requests then set ``engine.reserve_gib``.
    """
    return _runtimes().get((engine, gpu_name))
