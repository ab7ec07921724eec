"""What a profile found, as text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from api.console import make_console, print_plainly
from cost_model.profiler.journal import Journal
from cost_model.profiler.refinement import Check
from cost_model.profiler.subjects import Subject
from profiles.gpus import Gpu
from profiles.units import GB, GIB, TERA

if TYPE_CHECKING:
    from cost_model.profiler.torch_kernels import Probe

__all__ = ["ProfileSummary", "show_kernels", "show_profile"]

_PERCENT = 100
_WORST_SHARE = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSummary:
    """
    A profile, finished or not.

    Parameters
    ----------
    table
        The file; None where there are no rows yet.
    journal
        All visits.
    gpu
        What was measured.
    rates
        Bytes and FLOP per second of a device that requests must state; None where the catalogue
        knows it, or the profile is unfinished.
    rows
        Of the table.
    checks
        Middles of intervals beside what the table says there.
    refusals
        What was not measured, and why.
    is_done
        Whether the table is as fine as asked.
    """

    table: Path | None
    journal: Journal
    gpu: Gpu
    rates: tuple[float, float] | None
    rows: Sequence[Mapping[str, Any]]
    checks: Mapping[Subject, Sequence[Check]]
    refusals: Sequence[str]
    is_done: bool


def show_profile(summary: ProfileSummary) -> None:
    """Print what was measured, how sure it is, and how a request uses it."""
    print_plainly(make_console(), list(_parts(summary)))


def show_kernels(device: str, probes: "Sequence[Probe]") -> None:
    """Print the kernels that run on a device, and why others do not."""
    table = _table("engine", "kernel", "format", "runs")
    for probe in probes:
        runs = "yes" if probe.kernel is not None else f"no: {probe.refusal}"
        table.add_row(probe.engine, probe.name, probe.format, runs)
    print_plainly(make_console(), [Text(device, style="bold"), table])


def _table(*names: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table


def _parts(summary: ProfileSummary) -> Iterator[RenderableType]:
    if summary.table is None:
        yield Text(f"Nothing is measured yet; {summary.journal.path} keeps the visits so far.")
        return
    state = "Measured" if summary.is_done else "Unfinished"
    counted = f"{len(summary.rows)} rows of {summary.gpu.name} from {summary.journal.num_visits}"
    yield Text(f"{state}: {counted} visits, written to {summary.table}", style="bold")
    yield Text("")
    yield _subjects(summary)
    for refusal in summary.refusals:
        yield Text(f"  not measured: {refusal}")
    if not summary.is_done:
        yield Text("The same command goes on from the journal; what is there answers already.")
    if summary.rates is not None:
        yield Text(_request(summary, *summary.rates))


def _subjects(summary: ProfileSummary) -> Table:
    numbers = ("points", "from", "to", "noise", "off", "worst")
    table = _table("layer", "kernel", "tp", "phase", *numbers, numbers=numbers)
    for subject, checks in summary.checks.items():
        readings = summary.journal.readings(subject)
        if not readings:
            continue
        errors = [abs(check.error) for check in checks]
        seconds = [reading.seconds for reading in readings.values()]
        noise = float(np.median([reading.noise for reading in readings.values()]))
        table.add_row(
            subject.layer_kind,
            f"{subject.kernel} ({subject.format})",
            str(subject.tp),
            subject.phase,
            str(len(readings)),
            _time(min(seconds)),
            _time(max(seconds)),
            _percent(noise),
            _percent(float(np.median(errors))) if errors else "-",
            _percent(float(np.percentile(errors, _WORST_SHARE))) if errors else "-",
        )
    return table


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _percent(share: float) -> str:
    return f"{share * _PERCENT:.1f} %"


def _request(summary: ProfileSummary, copied: float, multiplied: float) -> str:
    """The part of a request that states the device."""
    gpu = summary.gpu
    capability = f", compute_capability: {gpu.compute_capability / 10}"
    return (
        "\nIn a request:\n"
        f"  engine: {next(iter(summary.checks)).engine}\n"
        f"  tables: [{summary.table}]\n"
        "  cluster:\n"
        "    own_gpus:\n"
        f"      - {{name: {gpu.name}, memory_gib: {gpu.memory_bytes / GIB:.1f}, "
        f"memory_gb_per_s: {copied / GB:.3g}, fp16_tflops: {multiplied / TERA:.3g}"
        f"{capability if gpu.compute_capability else ''}}}\n"
        f"    nodes: [{{name: box, gpus: [{{type: {gpu.name}}}]}}]"
    )
