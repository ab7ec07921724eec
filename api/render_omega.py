"""Losses of layers as text for reading."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.console import print_plainly
from api.render import bullet
from api.schemas.omega import OmegaFile

__all__ = ["show_omega"]

_METHODS = {
    "weights": "rounding errors of the weights",
    "calibrated": "divergences measured with one layer rounded at a time",
    "scores": "scores of another tool",
    "config": "shapes of the layers alone; no weights were read",
}
BAR = 20
_FOUR_BITS = 4


def show_omega(omega: OmegaFile, console: Console) -> None:
    """Print the losses of every layer, and what they rest on."""
    print_plainly(console, list(_parts(omega)))


def _parts(omega: OmegaFile) -> Iterator[RenderableType]:
    yield Text(f"Quality loss of {omega.model}, by layer and bits", style="bold")
    yield Text(_METHODS[omega.method], style="dim")
    yield Text("")
    yield Padding(_table(omega), (0, 0, 0, 2), expand=False)
    yield Text("")
    grid = Table.grid(padding=(0, 2))
    for name, text in _notes(omega):
        grid.add_row(Text(name, style="dim"), Text(text))
    yield Padding(grid, (0, 0, 0, 2), expand=False)
    yield from (bullet(warning, "yellow") for warning in omega.warnings)


def _table(omega: OmegaFile) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("layer", justify="right")
    for bits in omega.bits:
        table.add_column(f"{bits} bits", justify="right")
    table.add_column(f"at {_FOUR_BITS} bits")
    column = omega.bits.index(_FOUR_BITS)
    most = max(row[column] for row in omega.loss_nats)
    for layer, row in enumerate(omega.loss_nats):
        filled = round(BAR * row[column] / most) if most else 0
        bar = "█" * filled + "░" * (BAR - filled)
        table.add_row(str(layer), *(_nats(value) for value in row), bar)
    table.add_section()
    table.add_row("all", *(_nats(value) for value in _sums(omega.loss_nats)), "nats")
    return table


def _sums(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) for column in zip(*rows, strict=True)]


def _nats(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.1e}"


def _notes(omega: OmegaFile) -> Iterator[tuple[str, str]]:
    yield "level", omega.provenance
    yield "basis", omega.text
    basis = omega.basis
    if basis.headers_sha256 is not None:
        yield (
            "from",
            (
                f"{basis.checkpoint}, headers sha256 {basis.headers_sha256[:16]}; {basis.rows} rows"
                f"per module, seed {basis.seed}"
            ),
        )
    for name, text in (("scores", basis.scores), ("tokens", basis.tokens)):
        if text is not None:
            yield name, text
    yield "W8A8", f"{omega.w8a8_nats:.4g} nats for all layers"
