"""A calibration as text: each factor with its interval, and how far predictions are off."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from api.console import print_plainly
from api.schemas.calibration import CalibrationSpec, EngineFactorSpec, FactorSpec

__all__ = ["show_calibration"]


def show_calibration(found: CalibrationSpec, console: Console) -> None:
    """Print a calibration."""
    print_plainly(console, list(_parts(found)))


def _parts(found: CalibrationSpec) -> Iterator[RenderableType]:
    rows = sum(plan.rows for plan in found.plans)
    yield Text(f"{found.engine}, calibrated by {found.made_by} at {found.made_at}", style="bold")
    plans = "1 plan" if len(found.plans) == 1 else f"{len(found.plans)} plans"
    loads = "1 load" if rows == 1 else f"{rows} loads"
    yield Text(f"{plans}, {loads}, {found.values} values measured", style="dim")
    before, after = (
        f"{error:.1%}".replace("%", " %") for error in (found.error_before, found.error_after)
    )
    yield Text(f"mean error of the predictions: {before} before, {after} with these factors")
    yield Text("")
    yield _table(found)


def _table(found: CalibrationSpec) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("GPU", "format", "kernel", "phase"):
        table.add_column(name)
    table.add_column("times", justify="right")
    table.add_column("90 % interval", justify="right")
    table.add_column("")
    for factor in found.factors:
        known = "measured" if factor.identified else "estimate"
        table.add_row(factor.gpu, factor.format, factor.kernel, *_numbers(factor), known)
    for rest in found.engine_factors:
        table.add_row("others", "", "", *_numbers(rest), "estimate")
    return table


def _numbers(factor: FactorSpec | EngineFactorSpec) -> tuple[str, str, str]:
    interval = f"{factor.low:.3f} to {factor.high:.3f}"
    return factor.phase, f"{factor.factor:.3f}", interval
