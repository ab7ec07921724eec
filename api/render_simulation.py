"""A simulation as text: formula and replay side by side, then who was busy and who waited."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.console import print_plainly
from api.gantt_picture import PICTURE_ROUNDS, gantt_picture
from api.schemas.simulation import (
    DistributionReport,
    LinkUseReport,
    SimulationAnswer,
    StageUseReport,
)
from profiles.units import MS

__all__ = ["PICTURE_ROUNDS", "show_simulation"]

BAR, WIDE = 8, 96
TIGHT, FULL = 0.9, 1.0
NOTABLE = 0.005
_STARTS = {
    "barrier": "decode starts when the whole batch is prefilled",
    "overlapped": "decode of a micro-batch starts when its own requests are prefilled",
}
_ORDERS = {"first-come": "first come, first served", "decode-first": "decode before prefill"}


def show_simulation(answer: SimulationAnswer, console: Console) -> None:
    """Print an answer."""
    print_plainly(console, list(_parts(answer, console.width)))


def _parts(answer: SimulationAnswer, width: int) -> Iterator[RenderableType]:
    yield from _title(answer)
    for violation in answer.violations:
        yield Text(f"  ✘ {violation.text}", style="red")
    yield Text("")
    yield _inset(_comparison(answer))
    yield Text("")
    yield _inset(_distributions(answer))
    yield Text("")
    yield _inset(_stages(answer, is_narrow=width < WIDE))
    links = [link for link in answer.links if link.busy >= NOTABLE or link.waited_s > 0]
    if links:
        yield Text("")
        yield _inset(_links(links))
    picture = gantt_picture(answer, width)
    if picture is not None:
        yield Text("")
        yield _inset(picture)
    yield from (Text(f"  - {warning}", style="yellow") for warning in answer.warnings)


def _inset(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 1), expand=False)


def _title(answer: SimulationAnswer) -> Iterator[Text]:
    request, plan = answer.request, answer.plan
    yield Text(f"{request.model} on {request.cluster}", style="bold")
    many = f" · {answer.waves} batches" if answer.waves > 1 else ""
    yield Text(
        f"batch {plan.batch_size}{many} · prompt {request.prompt_tokens} · output "
        f"{request.output_tokens} tokens · micro-batches of {plan.prefill_micro_batch} (prefill) "
        f"and {plan.decode_micro_batch} (decode)",
        style="dim",
    )
    yield Text(f"{_STARTS[answer.start]} · {_ORDERS[answer.order]}", style="dim")


def _table(*headings: str, left: int = 1) -> Table:
    """A plain table whose first columns are left-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="left" if at < left else "right", no_wrap=True)
    return table


# -- values -------------------------------------------------------------------------------------


def _comparison(answer: SimulationAnswer) -> Table:
    formula, replay, apart = answer.estimate, answer.simulated, answer.difference_percent
    table = _table("", "formula", "simulated", "difference")
    table.add_row("TTFT", _ms(formula.ttft_ms), _ms(replay.ttft_ms), _percent(apart.ttft))
    table.add_row("TPOT", _ms(formula.tpot_ms), _ms(replay.tpot_ms), _percent(apart.tpot))
    batch = "latency" if answer.waves == 1 else "latency of a batch"
    table.add_row(
        batch,
        _seconds(formula.batch_latency_s),
        _seconds(replay.batch_latency_s),
        _percent(apart.batch_latency),
    )
    if answer.waves > 1:
        table.add_row(
            "latency of all",
            _seconds(formula.latency_s),
            _seconds(replay.latency_s),
            _percent(apart.latency),
        )
    return table


def _distributions(answer: SimulationAnswer) -> Table:
    table = _table("milliseconds", "min", "mean", "p50", "p90", "p99", "max")
    rows = (
        ("TTFT of requests", answer.ttft),
        ("TPOT of requests", answer.tpot),
        ("between tokens", answer.token_gaps),
    )
    for name, found in rows:
        if found is not None:
            table.add_row(name, *_levels(found))
    return table


def _levels(found: DistributionReport) -> list[str]:
    levels = (found.min_ms, found.mean_ms, found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms)
    return [f"{level:,.1f}" for level in levels]


def _ms(milliseconds: float | None) -> str:
    return "none" if milliseconds is None else f"{milliseconds:,.1f} ms"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3f} s"


def _percent(difference: float | None) -> str:
    return "" if difference is None else f"{difference:+.2f} %".replace("-0.00", "+0.00")


# -- machines -----------------------------------------------------------------------------------


def _stages(answer: SimulationAnswer, *, is_narrow: bool) -> Table:
    table = _table("#", "GPUs", "prefill busy", "decode busy", "bubbles", "memory peak", left=4)
    bar = 0 if is_narrow else BAR
    for stage in answer.stages:
        table.add_row(
            str(stage.stage),
            f"{stage.gpu} #{','.join(map(str, stage.gpu_numbers))}",
            _share(stage.prefill_busy, bar),
            _share(stage.decode_busy, bar),
            f"{stage.prefill_idle_s + stage.decode_idle_s:,.3f} s",
            _memory(stage),
        )
    return table


def _share(share: float, bar: int) -> Text:
    filled = min(bar, round(share * bar))
    return Text("█" * filled + "░" * (bar - filled) + f" {share:4.0%}")


def _memory(stage: StageUseReport) -> Text:
    over = stage.peak_gib > stage.available_gib
    tight = stage.peak_gib > TIGHT * stage.available_gib
    style = "red" if over else "yellow" if tight else ""
    return Text(f"{stage.peak_gib:.1f}/{stage.available_gib:.1f} GiB", style=style)


def _links(links: list[LinkUseReport]) -> Table:
    table = _table("link", "busy", "transfers", "waited in all")
    for link in links:
        waited = f"{link.waited_s / MS:,.1f} ms"
        table.add_row(link.name, f"{link.busy:.1%}", f"{link.transfers:,}", waited)
    return table
