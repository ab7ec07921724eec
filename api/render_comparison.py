"""A comparison as text: a row per planner, then why each loses."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.console import print_plainly
from api.headline import headline
from api.pipeline_art import pipeline_words
from api.render import bullet, remedy_lines, title_lines
from api.schemas.answer import Metrics
from api.schemas.comparison import BaselineReport, ComparisonAnswer
from api.schemas.plan import PlanSpec
from profiles.units import MS

__all__ = ["show_comparison"]

WIDE = 96
OPTIMAL = "hetplan"
NONE = "–"
GAPS = ("× best", "gap")
VALUES = ("latency s", "TTFT s", "TPOT ms", "tokens/s", "$/Mtok", "perplexity")
CUT = "(Its own search was cut short.)"
LEFT_OUT = ("gap", "tokens/s", "perplexity")
"""Columns for which a narrow terminal has no room."""


def show_comparison(answer: ComparisonAnswer, console: Console) -> None:
    """Print an answer."""
    print_plainly(console, list(_parts(answer, console.width)))


def _parts(answer: ComparisonAnswer, width: int) -> Iterator[RenderableType]:
    yield from title_lines(answer.best)
    yield Text("")
    yield from headline(answer.best)
    yield from remedy_lines(answer.best)
    yield Text("")
    yield Padding(_table(answer, is_narrow=width < WIDE), (0, 0, 0, 1), expand=False)
    yield Text("")
    yield Padding(_reasons(answer), (0, 0, 0, 2), expand=False)
    yield from _notes(answer)


def _table(answer: ComparisonAnswer, *, is_narrow: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, collapse_padding=True
    )
    shown = [head for head in (*GAPS, *VALUES) if not (is_narrow and head in LEFT_OUT)]
    table.add_column("", no_wrap=True)
    for head in shown:
        table.add_column(head, justify="right", no_wrap=True)
    best = answer.best
    if best.metrics is not None:
        cells = {"× best": "1.00", "gap": _share(best.gap), **_values(best.metrics)}
        table.add_row(Text(OPTIMAL, style="bold"), *(cells[head] for head in shown))
    for row in answer.baselines:
        cells = {"× best": _ratio(row), "gap": _share(row.gap), **_values(row.metrics)}
        style = "" if row.feasible else "dim"
        table.add_row(row.title, *(cells[head] for head in shown), style=style)
    return table


def _ratio(row: BaselineReport) -> str:
    if not row.feasible:
        return "infeasible" if row.plans else "no plan"
    return NONE if row.ratio is None else f"{row.ratio:.2f}"


def _share(gap: float | None) -> str:
    return NONE if gap is None else f"{100 * gap:.1f} %"


def _values(metrics: Metrics | None) -> dict[str, str]:
    if metrics is None:
        return dict.fromkeys(VALUES, NONE)
    rate, cost = metrics.throughput_tokens_per_s, metrics.usd_per_million_tokens
    perplexity, percent = metrics.perplexity, metrics.perplexity_increase_percent
    loss = NONE if percent is None else f"+{percent:.3g} %"
    values = (
        f"{metrics.latency_s:,.3f}",
        f"{metrics.ttft_ms * MS:,.3f}",
        f"{metrics.tpot_ms:,.1f}",
        NONE if rate is None else f"{rate:,.1f}",
        NONE if cost is None else f"{cost:,.2f}",
        loss if perplexity is None else f"{perplexity:.3f}",
    )
    return dict(zip(VALUES, values, strict=True))


def _reasons(answer: ComparisonAnswer) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for row in answer.baselines:
        grid.add_row(row.title, Text(f"{row.why} {CUT}" if row.was_cut else row.why))
        for plan in row.plans:
            grid.add_row("", Text(_plan_words(plan), style="dim"))
    return grid


def _plan_words(plan: PlanSpec) -> str:
    sizes = f"{plan.prefill_micro_batch} and {plan.decode_micro_batch} of {plan.batch_size} at once"
    return f"{pipeline_words(plan)}, {sizes}"


def _notes(answer: ComparisonAnswer) -> Iterator[RenderableType]:
    apart = [row.title for row in answer.baselines if not row.is_one_pipeline and row.plans]
    if apart:
        yield Text("")
        yield Text(
            f"  {', '.join(apart)}: several pipelines; the bound is on one, and says nothing of it",
            style="dim",
        )
    yield from (bullet(warning, "yellow") for warning in answer.best.warnings)
