"""The tables of a text answer: stages, metrics, limits."""

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from api.limit_words import increase_percent
from api.pipeline_art import FormatLabels, gpu_styles
from api.quantities import with_unit
from api.schemas.answer import AnswerBase, LimitReport, MemoryReport, StageReportSpec

__all__ = ["limit_lines", "metric_lines", "stage_table"]

BAR = 6
TIGHT, FULL = 0.9, 1.0


def stage_table(answer: AnswerBase, labels: FormatLabels, *, is_narrow: bool) -> Table:
    """A row per stage: GPUs, layers, bits, memory, busy shares."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, collapse_padding=True
    )
    table.add_column("#", justify="right")
    table.add_column("GPUs", no_wrap=True)
    if not is_narrow:
        table.add_column("node", no_wrap=True, max_width=16)
    table.add_column("layers", justify="right", no_wrap=True)
    table.add_column("bits", no_wrap=True)
    table.add_column("memory per GPU", no_wrap=True)
    table.add_column("prefill busy", justify="right", min_width=7)
    table.add_column("decode busy", justify="right", min_width=6)
    styles = gpu_styles(answer)
    for stage in answer.stages:
        cells: list[RenderableType] = [
            str(stage.stage),
            Text(_gpus(stage), style=styles[stage.gpu]),
            *([] if is_narrow else [Text(stage.node)]),
            str(stage.last_layer - stage.first_layer + 1),
            labels.of_stage(stage).removesuffix(" bit").replace("-bit", ""),
            _memory(stage.memory, bar=0 if is_narrow else BAR),
            _busy(stage.prefill_busy),
            _busy(stage.decode_busy),
        ]
        table.add_row(*cells)
    return table


def _gpus(stage: StageReportSpec) -> str:
    numbers = ",".join(map(str, stage.gpu_numbers))
    return f"{stage.gpu} #{numbers}"


def _memory(memory: MemoryReport, bar: int) -> Text:
    share = memory.used_gib / memory.available_gib if memory.available_gib > 0 else FULL
    filled = min(bar, round(share * bar))
    style = "red" if share > FULL else "yellow" if share > TIGHT else "green"
    text = Text("█" * filled + "░" * (bar - filled), style=style)
    numbers = f" {memory.used_gib:5.1f}/{memory.available_gib:.1f} GiB"
    return text.append(numbers, style="red" if share > FULL else "default")


def _busy(share: float) -> Text:
    return Text(f"{share:.0%}", style="bold" if share > TIGHT else "")


def metric_lines(answer: AnswerBase) -> Iterator[tuple[str, str]]:
    """Names and values of the metrics, four to a row of the caller's making."""
    m = answer.metrics
    if m is None:
        return
    yield "TTFT", _duration(m.ttft_ms)
    yield "TPOT", _duration(m.tpot_ms)
    yield "latency", f"{m.latency_s:.3f} s"
    rate = m.throughput_tokens_per_s
    yield "throughput", "not known" if rate is None else f"{rate:,.1f} tokens/s"
    unknown = "price unknown"
    yield "rent", unknown if m.usd_per_hour is None else f"${m.usd_per_hour:.2f} per hour"
    cost = m.usd_per_million_tokens
    yield "cost", unknown if cost is None else f"${cost:,.2f} per million tokens"
    percent = m.perplexity_increase_percent
    increase = "beyond any number" if percent is None else f"+{_amount(percent)} %"
    known = m.perplexity is not None
    yield "perplexity", f"{m.perplexity:.3f} ({increase})" if known else increase
    unused = ", ".join(f"{gpus.count}× {gpus.gpu}" for gpus in answer.unused_gpus)
    yield "GPUs", f"{m.gpus} used" + (f", free: {unused}" if unused else ", none free")


def _amount(percent: float) -> str:
    return f"{percent:.2f}" if percent < 1e4 else f"{percent:.4g}"


def _duration(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.3f} s" if milliseconds >= 1e4 else f"{milliseconds:.1f} ms"


def limit_lines(answer: AnswerBase) -> Iterator[Text]:
    """A line per limit, with what is left of it."""
    for limit in answer.limits:
        sign = "≥" if limit.limit == "min_stages" else "≤"
        line = Text(f"{limit.limit} {sign} {_with_unit(limit.allowed, limit.unit)}")
        percent = _percent(limit)
        if percent is not None:
            line.append(f" (perplexity +{percent:.4g} %)")
        if limit.basis != "asked":
            line.append(f" (default: {limit.basis}; set limits.perplexity_increase_percent)")
        yield line.append_text(_slack(limit))


def _slack(limit: LimitReport) -> Text:
    if limit.value is None or limit.slack is None:
        return Text("")
    if limit.slack < 0:
        return Text(f": {_number(limit.value)}, broken by {_number(-limit.slack)}", style="red")
    left = f"{_number(limit.slack)} left" if limit.slack else "nothing left"
    binding = " (binding)" if limit.binding else ""
    return Text(f": {_number(limit.value)}, {left}{binding}")


def _percent(limit: LimitReport) -> float | None:
    if limit.limit != "quality_loss_nats" or limit.allowed is None:
        return None
    return increase_percent(limit.allowed)


def _with_unit(value: float | None, unit: str) -> str:
    return "beyond any number" if value is None else with_unit(_number(value), unit)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
