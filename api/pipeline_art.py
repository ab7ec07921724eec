"""The pipeline as a drawing: one box per stage, left to right, wrapped to the width."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from api.schemas.answer import AnswerBase, StageReportSpec
from api.schemas.plan import PlanSpec
from profiles.formats import load_formats

__all__ = [
    "FormatLabels",
    "draw_pipeline",
    "gpu_styles",
    "has_narrow_activations",
    "pipeline_words",
]

ARROW = " → "
FULL_BITS = 16
_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red")


def gpu_styles(answer: AnswerBase) -> dict[str, str]:
    """A colour for every GPU type of an answer."""
    names = dict.fromkeys(
        [stage.gpu for stage in answer.stages] + [gpus.gpu for gpus in answer.unused_gpus]
    )
    return {name: _STYLES[index % len(_STYLES)] for index, name in enumerate(names)}


class FormatLabels:
    """Short names of formats: their bits, or the format's own name where bits are ambiguous."""

    def __init__(self, plan: PlanSpec) -> None:
        self._bits = {run.format: run.bits for s in plan.stages for run in s.formats}

    def label(self, name: str) -> str:
        """``4-bit``, ``8-bit (w8a8)``, or ``w4a16`` where another format has as many bits."""
        if self._needs_name(name):
            return name
        quantised = f" ({name})" if has_narrow_activations(name) else ""
        return f"{self._bits[name]:g}-bit{quantised}"

    def _needs_name(self, name: str) -> bool:
        bits = self._bits.get(name)
        return bits is None or list(self._bits.values()).count(bits) > 1

    def of_stage(self, stage: StageReportSpec) -> str:
        """All formats of a stage, most bits first: ``4-bit``, or ``3×8 + 6×4 bit``."""
        counts = stage.layers_per_format
        by_bits = sorted(counts, key=lambda name: -(self._bits.get(name) or 0))
        if len(counts) == 1:
            return self.label(by_bits[0])
        named = [self._needs_name(n) or has_narrow_activations(n) for n in by_bits]
        unit = "" if any(named) else " bit"
        labels = [
            name if is_named else self.label(name).removesuffix("-bit" if unit else "")
            for name, is_named in zip(by_bits, named, strict=True)
        ]
        parts = [f"{counts[name]}×{label}" for name, label in zip(by_bits, labels, strict=True)]
        return " + ".join(parts) + unit


def has_narrow_activations(name: str) -> bool:
    """Whether a format of the catalogue computes on activations of fewer than 16 bits."""
    known = load_formats().get(name)
    return known is not None and known.act_bits < FULL_BITS


def draw_pipeline(answer: AnswerBase, labels: FormatLabels, width: int) -> Iterator[Text]:
    """
    Lines of the drawing.

    Parameters
    ----------
    answer
        One with a plan.
    labels
        How formats are called.
    width
        Columns there are.
    """
    styles = gpu_styles(answer)
    contents = [_content(stage, labels) for stage in answer.stages]
    inner = max(len(line) for lines in contents for line in lines) + 2
    per_row = max(1, (width - 2) // (inner + 2 + len(ARROW)))
    boxes = [
        [Text(line, style=styles[stage.gpu]) for line in _box(lines, inner)]
        for stage, lines in zip(answer.stages, contents, strict=True)
    ]
    for start in range(0, len(boxes), per_row):
        yield from _row(boxes[start : start + per_row], start > 0, start + per_row < len(boxes))


def _content(stage: StageReportSpec, labels: FormatLabels) -> list[str]:
    count = f"{stage.tensor_parallel}× " if stage.tensor_parallel > 1 else ""
    num_layers = stage.last_layer - stage.first_layer + 1
    if num_layers == 1:
        layers = f"layer {stage.first_layer}"
    else:
        layers = f"layers {stage.first_layer}–{stage.last_layer}"
    return [f"{stage.stage} {count}{stage.gpu}", layers, labels.of_stage(stage)]


def _box(lines: Sequence[str], inner: int) -> Iterator[str]:
    title, *rest = lines
    yield f"╭ {title} " + "─" * (inner - len(title) - 2) + "╮"
    for line in rest:
        yield f"│ {line.ljust(inner - 2)} │"
    yield f"╰{'─' * inner}╯"


def _row(boxes: Sequence[Sequence[Text]], follows: bool, goes_on: bool) -> Iterator[Text]:
    middle = 1
    for number in range(len(boxes[0])):
        is_middle = number == middle
        line = Text("→ " if is_middle and follows else "  ")
        line.append_text(
            Text(ARROW if is_middle else " " * len(ARROW)).join([box[number] for box in boxes])
        )
        yield line.append(" →" if is_middle and goes_on else "")


def pipeline_words(plan: PlanSpec) -> str:
    """The stages of a plan in brief: ``2x T4 12L w8a8 → ...``, L for layers."""
    words = []
    for stage in plan.stages:
        layers: Counter[str] = Counter()
        for run in stage.formats:
            layers[run.format] += run.last_layer - run.first_layer + 1
        count = f"{stage.tensor_parallel}x " if stage.tensor_parallel > 1 else ""
        formats = "+".join(n if len(layers) == 1 else f"{layers[n]} {n}" for n in layers)
        words.append(f"{count}{stage.gpu} {layers.total()}L {formats}")
    return " → ".join(words)
