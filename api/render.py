"""Answers as text for reading: the pipeline drawn, then the numbers, then what to trust."""

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from math import ceil

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.console import make_console, print_plainly
from api.headline import headline
from api.pipeline_art import FormatLabels, draw_pipeline
from api.render_regret import regret_lines
from api.render_tables import limit_lines, metric_lines, stage_table
from api.render_why import what_if_lines, why_lines
from api.schemas.answer import (
    AnswerBase,
    EvaluationAnswer,
    Intervals,
    KernelReport,
    PlanAnswer,
    PriceReport,
    Sources,
)
from api.schemas.calibration import CalibrationUse

__all__ = ["bullet", "make_console", "micro_batch_line", "remedy_lines", "show", "title_lines"]

WIDE = 96
COLUMNS = 2


def show(answer: PlanAnswer | EvaluationAnswer, console: Console) -> None:
    """Print an answer."""
    print_plainly(console, list(_parts(answer, console.width)))


def _parts(answer: PlanAnswer | EvaluationAnswer, width: int) -> Iterator[RenderableType]:
    yield from title_lines(answer)
    yield Text("")
    yield from headline(answer)
    if isinstance(answer, PlanAnswer):
        yield from remedy_lines(answer)
    else:
        yield from (bullet(broken.text, "red") for broken in answer.violations)
    if answer.plan is not None:
        yield from _plan_parts(answer, width)
    yield Text("")
    yield from _notes(answer)
    if isinstance(answer, PlanAnswer) and answer.what_if is not None:
        yield Text("")
        yield from what_if_lines(answer.what_if)
    if isinstance(answer, PlanAnswer) and answer.regret:
        yield Text("")
        yield from regret_lines(answer.regret, answer.unit)


def title_lines(answer: AnswerBase) -> Iterator[Text]:
    """What was asked, in two lines."""
    request = answer.request
    engine = f" · {request.engine}" if request.engine else ""
    yield Text(f"{request.model} on {request.cluster}{engine}", style="bold")
    batch = "" if answer.plan is None else f"batch {answer.plan.batch_size} · "
    many = "" if request.num_requests is None else f" · {request.num_requests:,} requests"
    means = f" (means of {request.num_lengths} lengths)" if request.num_lengths > 1 else ""
    theta = f" with {answer.theta_s_per_nat:g} s per nat" if answer.theta_s_per_nat else ""
    yield Text(
        f"{batch}prompt {request.prompt_tokens} · output {request.output_tokens} tokens{means}"
        f"{many} · "
        f"goal: {answer.goal.replace('_', ' ')}{theta}",
        style="dim",
    )


def remedy_lines(answer: PlanAnswer) -> Iterator[RenderableType]:
    """What would help where there is no plan."""
    if answer.status != "infeasible":
        return
    if len(answer.remedies) > 1 and all(each.others_kept for each in answer.remedies):
        yield Text("  Any one of these would help:")
    yield from (bullet(remedy.text, "yellow") for remedy in answer.remedies)


def bullet(text: str, style: str) -> Padding:
    """A point of a list."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text("-", style=style), Text(text))
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _plan_parts(answer: AnswerBase, width: int) -> Iterator[RenderableType]:
    plan = answer.plan
    if plan is None:
        return
    labels = FormatLabels(plan)
    yield Text("")
    yield from draw_pipeline(answer, labels, width)
    yield Text("")
    yield Padding(stage_table(answer, labels, is_narrow=width < WIDE), (0, 0, 0, 1), expand=False)
    yield Padding(Text(micro_batch_line(answer), style="dim"), (0, 0, 0, 2), expand=False)
    yield Text("")
    yield Padding(_grid(list(metric_lines(answer))), (0, 0, 0, 2), expand=False)


def micro_batch_line(answer: AnswerBase) -> str:
    """The micro-batches of both phases and what sets their pace; empty without a plan."""
    plan, slow = answer.plan, answer.bottlenecks
    if plan is None or slow is None:
        return ""
    phases = (
        ("prefill", plan.prefill_micro_batch, slow.prefill),
        ("decode", plan.decode_micro_batch, slow.decode),
    )
    return " · ".join(
        f"{phase}: {_pieces(plan.batch_size, size)}, paced by {pace}"
        for phase, size, pace in phases
    )


def _pieces(batch: int, size: int) -> str:
    count = ceil(batch / size)
    if count == 1:
        return f"1 micro-batch of {size}"
    return f"{count} micro-batches of {'' if batch % size == 0 else 'up to '}{size}"


def _grid(pairs: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 3, 0, 0))
    per_column = ceil(len(pairs) / COLUMNS)
    rest = iter(pairs)
    columns = [list(islice(rest, per_column)) for _ in range(COLUMNS)]
    for row in zip_longest(*columns, fillvalue=("", "")):
        cells: list[RenderableType] = []
        for name, value in row:
            cells += [Text(name, style="dim"), Text(value, style="bold")]
        grid.add_row(*cells)
    return grid


def _notes(answer: AnswerBase) -> Iterator[RenderableType]:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    limits = list(limit_lines(answer))
    if limits:
        grid.add_row("limits", Text("\n").join(limits))
    why = list(why_lines(answer))
    if why:
        grid.add_row("why", Text("\n".join(why)))
    for name, text in _source_notes(answer):
        grid.add_row(name, Text(text))
    for number, warning in enumerate(answer.warnings):
        grid.add_row("" if number else Text("warnings", style="yellow"), Text(f"- {warning}"))
    yield Padding(grid, (0, 0, 0, 2), expand=False)


def _source_notes(answer: AnswerBase) -> Iterator[tuple[str, str]]:
    sources = answer.sources
    used = {(s.gpu, name) for s in answer.stages for name in s.layers_per_format}
    kernels = [use for use in sources.kernels if (use.gpu, use.format) in used]
    yield "times", "; ".join((_times(sources), *_errors(sources.times, kernels)))
    if answer.intervals is not None:
        yield "90 %", _intervals(answer.intervals)
    if sources.calibrated is not None:
        yield "calibrated", _calibrated(sources.calibrated, used)
    yield "quality", sources.quality
    if kernels:
        yield "kernels", ", ".join(f"{use.gpu} {use.format}: {use.kernel}" for use in kernels)
    places = {s.gpu for s in answer.stages} | {f"node {s.node}" for s in answer.stages}
    prices = [use for use in sources.prices if use.what in places or not places]
    if prices:
        yield "prices", "; ".join(map(_price, prices))


def _intervals(found: Intervals) -> str:
    """Between what the times are expected to lie; TPOT only where tokens are decoded."""
    latency, ttft, tpot = found.latency_s, found.ttft_ms, found.tpot_ms
    parts = [f"latency {latency.low:.3g} to {latency.high:.3g} s"]
    parts.append(f"TTFT {ttft.low:,.0f} to {ttft.high:,.0f} ms")
    if tpot.high:
        parts.append(f"TPOT {tpot.low:.3g} to {tpot.high:.3g} ms")
    return ", ".join(parts)


def _times(sources: Sources) -> str:
    """The weakest provenance, or the shares where there are several."""
    counts = {name: count for name, count in sources.times_by_source.items() if count}
    total = sum(counts.values())
    if len(counts) < 2:
        return sources.times
    return ", ".join(f"{_percent(count / total)} {name}" for name, count in counts.items())


def _percent(share: float) -> str:
    """Whole percent; never 0 or 100 of what is neither."""
    if share < 0.01:
        return "under 1 %"
    return "over 99 %" if share > 0.99 else f"{share:.0%}".replace("%", " %")


def _errors(times: str, kernels: Sequence[KernelReport]) -> Iterator[str]:
    """How far the latency model is off for the kernels of a plan."""
    if times != "analytic":
        return
    for use in kernels:
        known = (("decode", use.decode_error), ("prefill", use.prefill_error))
        errors = [f"{error:.0%} {phase}" for phase, error in known if error is not None]
        basis = "" if use.basis == "fit" else f" ({use.basis})"
        error = f"mean error {', '.join(errors)}" if errors else f"error not known{basis}"
        yield f"{use.gpu} {use.format} {error}"


def _calibrated(found: CalibrationUse, used: set[tuple[str, str]]) -> str:
    """Who measured, and by what the times of the plan's kernels are multiplied."""
    factors = [
        f"{each.gpu} {each.format} {each.phase} ×{each.factor:.2f}"
        f"{'' if each.identified else ' (estimate)'}"
        for each in found.factors
        if (each.gpu, each.format) in used
    ]
    return f"by {found.made_by} at {found.made_at}: {', '.join(factors) or 'no kernel in use'}"


def _price(use: PriceReport) -> str:
    if use.usd_per_hour is None:
        return f"{use.what} unknown"
    return f"{use.what} ${use.usd_per_hour:.2f} per hour ({use.basis})"
