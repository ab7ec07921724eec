"""
How well profiles repeat and predict: ``python -m benchmarks.profiling [--model NAME]``.

Two tables of one layer are measured at once, visit by visit in turn, and between the visits places
that neither table has. Printed are how far the tables differ at the same points, and how far the
first table is off at the places that were kept out, as medians and 90th percentiles.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from cost_model.grid import Grid, GridPoint
from cost_model.profiler.bench import (
    Bench,
    MeasuringEvent,
    measure,
    refined_of,
    visit_with_anchor,
)
from cost_model.profiler.campaign import Ranges, campaign
from cost_model.profiler.journal import Journal
from cost_model.profiler.subjects import Place, Span, Subject
from cost_model.source import Source
from profiles.architecture import Model
from profiles.gpus import Gpu
from profiles.models import find_model

if TYPE_CHECKING:
    from cost_model.profiler.torch_devices import CpuDevice

__all__ = ["Differences", "bench_of", "compared", "held_out_places", "main"]

RANGES = Ranges(batch=(1, 4), prompt_tokens=(4, 16), context_tokens=(32, 512))
KERNELS = ("bf16", "int-mm")
TOLERANCE, VISITS = 0.02, 5
HELD_OUT = 6


@dataclass(frozen=True, slots=True)
class Differences:
    """Relative differences of a subject: of two tables, and of a table to places kept out."""

    subject: Subject
    tables: Sequence[float]
    predictions: Sequence[float]


def held_out_places(span: Span, seed: int = 0) -> list[Place]:
    """Places drawn evenly on logarithmic axes within a span, its corners left out."""
    source = np.random.default_rng(seed)
    draws = source.random((HELD_OUT, 2))
    (b0, b1), (t0, t1) = span.batch, span.tokens
    places = {
        Place(round(b0 * (b1 / b0) ** batch), round(t0 * (t1 / t0) ** tokens))
        for batch, tokens in draws
    }
    corners = {Place(batch, tokens) for batch in span.batch for tokens in span.tokens}
    return sorted(places - corners) or sorted(places)


def compared(
    bench: Bench,
    spans: Mapping[Subject, Span],
    folder: Path,
    share: float,
    time_limit_s: float = inf,
) -> list[Differences]:
    """
    Measure two tables of each subject, and places kept out of both.

    Parameters
    ----------
    bench, spans
        What to measure.
    folder
        For the three journals.
    share
        See `reading_of`.
    time_limit_s
        Ends the refinement; what is measured by then is compared.
    """
    end = monotonic() + time_limit_s
    names = ("first", "second", "kept-out")
    first, second, kept = (Journal.open(folder / f"{n}.jsonl", {"table": n}, share) for n in names)
    places = {subject: held_out_places(span) for subject, span in spans.items()}

    def interleave(event: MeasuringEvent) -> None:
        """Visit for the second table, and one of the places kept out."""
        subject, others = event.subject, places[event.subject]
        visit_with_anchor(bench, second, spans, subject, event.place)
        turn = sum(len(visits) for visits in kept.visits[subject].values())
        visit_with_anchor(bench, kept, spans, subject, others[turn % len(others)])
        print(f"\r{event.visits_done} of {event.visits_known} visits", end="", flush=True)

    measure(
        bench,
        spans,
        first,
        tolerance=TOLERANCE,
        visits=VISITS,
        stopped=lambda: monotonic() > end,
        on_event=interleave,
    )
    print()
    refined = refined_of(first, spans, tolerance=TOLERANCE, visits=VISITS)
    return [
        _differences(subject, each.places, first, second, kept) for subject, each in refined.items()
    ]


def _differences(
    subject: Subject, points: Sequence[Place], first: Journal, second: Journal, kept: Journal
) -> Differences:
    one, other = first.readings(subject), second.readings(subject)
    grid = Grid(GridPoint(*place, one[place].seconds, Source.MEASURED) for place in points)
    predictions = []
    for place, reading in kept.readings(subject).items():
        if place not in points and len(points) > 1:
            seconds, _ = grid.at(np.array([place.batch]), place.tokens)
            if np.isfinite(seconds[0]):
                predictions.append(abs(float(seconds[0]) / reading.seconds - 1))
    tables = [abs(other[place].seconds / one[place].seconds - 1) for place in points]
    return Differences(subject, tables, predictions)


def _line(label: str, values: Sequence[float]) -> str:
    median, tail = np.median(values), np.percentile(values, 90)
    return f"{label:45} {len(values):4} points   median {median:6.2%}   P90 {tail:6.2%}"


def bench_of(model: Model) -> tuple[Bench, Mapping[Subject, Span], "CpuDevice"]:
    """The bench of this CPU, what to measure of a model, and the device."""
    from cost_model.profiler.torch_bench import TorchBench
    from cost_model.profiler.torch_devices import CpuDevice
    from cost_model.profiler.torch_kernels import probe_kernels

    device = CpuDevice()
    gpu = Gpu(
        name="CPU",
        architecture=device.name,
        compute_capability=0,
        memory_bytes=device.memory_bytes,
        memory_bytes_per_s=1.0,
        fp16_flops=1.0,
        int8_ops=None,
        link="pcie3-x16",
        source="this machine",
    )
    probes = [p for p in probe_kernels(device, gpu, "torch") if p.name in KERNELS and p.kernel]
    kernels = {(p.engine, p.name, p.format): p.kernel for p in probes if p.kernel}
    spans, _ = campaign(model, [(key, None) for key in kernels], RANGES)
    return TorchBench(device=device, model=model, kernels=kernels), spans, device


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How well profiles repeat and predict.")
    parser.add_argument("--model", default="qwen3-0.6b")
    parser.add_argument("--time-limit", type=float, default=300, help="seconds")
    options = parser.parse_args()
    bench, spans, device = bench_of(find_model(options.model))
    start = monotonic()
    with tempfile.TemporaryDirectory() as folder, device:
        found = compared(bench, spans, Path(folder), device.share, options.time_limit)
    print(f"{options.model} on {device.name}, {monotonic() - start:.0f} s, load {os.getloadavg()}")
    for title, field in (("two tables", "tables"), ("places kept out", "predictions")):
        print(f"\n{title}")
        for each in found:
            if values := getattr(each, field):
                print(_line(f"  {each.subject.label}", values))
        print(_line("  all", [value for each in found for value in getattr(each, field)]))


if __name__ == "__main__":
    main()
