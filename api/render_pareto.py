"""A Pareto set as text: a scatter plot, then the plans as a table."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.console import print_plainly
from api.pipeline_art import pipeline_words
from api.quantities import with_unit
from api.schemas.pareto import ParetoAnswer, ParetoPointReport
from profiles.units import MS

__all__ = ["first_objective", "objective_words", "show_pareto"]

HEIGHT, MOST_WIDTH, MARGIN = 14, 72, 26
_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "gpus": "GPUs", "quality_loss": "quality loss"}
PERCENT = 100.0
_IN_MS = ("ttft", "tpot")
_HEADLINES = {
    "infeasible": ("✘ No plan exists", "red"),
    "unknown": ("? No plan found, and no proof that there is none", "yellow"),
}


def objective_words(name: str) -> str:
    """An objective as people write it."""
    return _WORDS.get(name, name)


def show_pareto(answer: ParetoAnswer, console: Console) -> None:
    """Print an answer."""
    print_plainly(console, list(_parts(answer, console.width)))


def _parts(answer: ParetoAnswer, width: int) -> Iterator[RenderableType]:
    request = answer.request
    yield Text(f"{request.model} on {request.cluster}", style="bold")
    goals = " against ".join(objective_words(axis.objective) for axis in answer.objectives)
    yield Text(
        f"prompt {request.prompt_tokens} · output {request.output_tokens} tokens · {goals}",
        style="dim",
    )
    yield Text("")
    words, style = _HEADLINES.get(answer.status, _found(answer))
    yield Text(words, style=f"bold {style}")
    yield Padding(Text(answer.coverage), (0, 0, 0, 2), expand=False)
    yield Text(f"  {_work(answer)}", style="dim")
    if answer.points:
        yield Text("")
        yield Padding(Text(_scatter(answer, width)), (0, 0, 0, 1), expand=False)
        yield Text("")
        yield Padding(_table(answer), (0, 0, 0, 1), expand=False)
    for warning in answer.warnings:
        yield Padding(Text(f"- {warning}", style="yellow"), (0, 0, 0, 2), expand=False)


def _found(answer: ParetoAnswer) -> tuple[str, str]:
    count = len(answer.points)
    plans = f"{count} plan{'s' if count != 1 else ''}, none beaten by another"
    if answer.complete:
        return f"✔ {plans}", "green"
    return f"… {plans}, but the search ended early", "yellow"


def _work(answer: ParetoAnswer) -> str:
    solver = answer.solver
    return (
        f"{solver.runtime_s:.1f} s, {solver.num_searches} searches, {solver.num_reused} saved by "
        f"earlier ones · gap asked for {solver.gap:.2g}"
    )


# -- scatter ------------------------------------------------------------------------------------


def _scatter(answer: ParetoAnswer, width: int) -> str:
    """Points by their number's letter, first objective across, second up."""
    across, up = answer.objectives[0], answer.objectives[1]
    columns = min(width - MARGIN, MOST_WIDTH)
    grid = [[" "] * columns for _ in range(HEIGHT)]
    for point in answer.points:
        x = _place(point, across.objective, across.best, across.worst, columns)
        y = _place(point, up.objective, up.best, up.worst, HEIGHT)
        if across.objective == "throughput":
            x = columns - 1 - x
        if up.objective == "throughput":
            y = HEIGHT - 1 - y
        grid[HEIGHT - 1 - y][x] = _mark(point.views[0]) if point.views else "o"
    top, bottom = _ends(up.objective, up.best, up.worst)
    label = max(len(top), len(bottom))
    names = {0: top, HEIGHT - 1: bottom}
    lines = [f"{objective_words(up.objective):>{label}}"]
    lines += [f"{names.get(n, ''):>{label}} │{''.join(row)}" for n, row in enumerate(grid)]
    left, right = reversed(_ends(across.objective, across.best, across.worst))
    lines.append(f"{'':>{label}} ╰{'─' * columns}")
    title = objective_words(across.objective)
    rest = columns - len(left) - len(right)
    lines.append(f"{'':>{label}}  {left}{title:^{max(rest, len(title) + 2)}}{right}")
    marks = " · ".join(f"{_mark(view.name)} {view.name}" for view in answer.views)
    lines.append(f"{'':>{label}}  {marks}")
    return "\n".join(line.rstrip() for line in lines)


def _mark(view: str) -> str:
    """One letter for a named point: that of what it is best in."""
    return view.split()[-1][0].upper()


def _place(
    point: ParetoPointReport, name: str, best: float | None, worst: float | None, cells: int
) -> int:
    value = point.objectives[name].value
    if value is None or best is None or worst is None or best == worst:
        return 0
    return round((value - best) / (worst - best) * (cells - 1))


def _ends(name: str, best: float | None, worst: float | None) -> tuple[str, str]:
    """The greater and the lesser end of an axis."""
    values = [value for value in (best, worst) if value is not None]
    return _value(name, max(values)), _value(name, min(values))


# -- table --------------------------------------------------------------------------------------


def _table(answer: ParetoAnswer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    names = [axis.objective for axis in answer.objectives]
    for name in names:
        table.add_column(objective_words(name), justify="right", no_wrap=True)
    if "quality_loss" in names:
        table.add_column("perplexity", justify="right", no_wrap=True)
    table.add_column("gap", justify="right", no_wrap=True)
    table.add_column("plan")
    several = len({point.plan.batch_size for point in answer.points}) > 1
    batch = ", batch {}" if several else ""
    for point in answer.points:
        cells = [_value(name, point.objectives[name].value) for name in names]
        if "quality_loss" in names:
            cells.append(_perplexity(point))
        gap = point.objectives[first_objective(answer)].gap
        views = Text(f"{', '.join(point.views)}: " if point.views else "", style="bold")
        table.add_row(
            str(point.number),
            *cells,
            "" if gap is None else f"{gap * PERCENT:.2f} %",
            views + Text(f"{pipeline_words(point.plan)}{batch.format(point.plan.batch_size)}"),
        )
    return table


def first_objective(answer: ParetoAnswer) -> str:
    """The objective whose gap says how far a point is proven."""
    return next(axis.objective for axis in answer.objectives if axis.step == 0)


def _perplexity(point: ParetoPointReport) -> str:
    """The predicted perplexity; where that of the model is not known, its increase."""
    value, increase = point.metrics.perplexity, point.metrics.perplexity_increase_percent
    if value is not None:
        return f"{value:.4g}"
    return "" if increase is None else f"{increase:+.2f} %"


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if name in _IN_MS:
        return f"{value / MS:,.1f} ms"
    if name == "cost":
        return f"${value:,.3f}/M"
    if name == "quality_loss":
        return f"{value:.5f} nats"
    if name == "gpus":
        return with_unit(f"{value:.0f}", "GPUs")
    return f"{value:,.3f} s" if name == "latency" else f"{value:,.1f} tokens/s"
