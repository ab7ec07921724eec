"""Explanations in a text answer: what sets the pace, what is tight, why GPUs are free, what if."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.schemas.answer import AnswerBase, UnusedGpus
from api.schemas.what_if import EffectReport

__all__ = ["what_if_lines", "why_lines"]

TIE = 0.01
"""Stages closer than this share set the pace together."""


def why_lines(answer: AnswerBase) -> Iterator[str]:
    """A line each on the pace, on memory, and on the GPUs that are free."""
    slow = answer.bottlenecks
    if slow is None:
        return
    phase = "prefill" if slow.prefill_share >= 0.5 else "decode"
    share = max(slow.prefill_share, 1 - slow.prefill_share)
    pace, lead = (
        (slow.prefill, slow.prefill_lead) if phase == "prefill" else (slow.decode, slow.decode_lead)
    )
    is_stage = pace.startswith("stage") and len(answer.stages) > 1
    ahead = f" ({_lead(lead)})" if is_stage else ""
    yield f"{phase} takes {share:.0%} of the latency, paced by {pace}{ahead}".replace("%", " %")
    tight = min(answer.stages, key=lambda stage: stage.memory.free_gib)
    free = f"{tight.memory.free_gib:.1f} GiB on each {tight.gpu}"
    yield f"least memory left: stage {tight.stage}, {free}"
    yield from _free(answer.unused_gpus)


def _lead(lead: float) -> str:
    return "another is as slow" if lead < TIE else f"the next is {lead:.0%} faster"


def _free(unused: Sequence[UnusedGpus]) -> Iterator[str]:
    """A line per reason."""
    by_reason: dict[str, list[str]] = {}
    for gpus in unused:
        by_reason.setdefault(gpus.text, []).append(f"{gpus.count}× {gpus.gpu}")
    yield from (f"free {', '.join(gpus)}: {text}" for text, gpus in by_reason.items())


def what_if_lines(effects: Sequence[EffectReport]) -> Iterator[RenderableType]:
    """What changes gain, largest first, and what GPUs given back lose."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column()
    grid.add_column()
    for words, text in _rows(effects):
        grid.add_row(Text(words), Text(text, style="dim"))
    if not effects:
        grid.add_row("", Text("nothing to tell: gains are counted from a plan, and there is none"))
    yield Text("What if", style="bold")
    yield Padding(grid, (0, 0, 0, 2), expand=False)


def _rows(effects: Sequence[EffectReport]) -> Iterator[tuple[str, str]]:
    """Changes and their effects; changes that were bounded together share a row."""
    shared: dict[str, list[str]] = {}
    for effect in effects:
        key = effect.text if effect.joint else f"{effect.change}\n{effect.text}"
        shared.setdefault(key, []).append(effect.change)
    for key, changes in shared.items():
        yield ", ".join(changes), key.rpartition("\n")[2]
