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
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from cost_model.grid import Grid, GridPoint
from cost_model.profiler.bench import Bench, measure, refined_of
from cost_model.profiler.campaign import Ranges, campaign
from cost_model.profiler.journal import Journal, Visit
from cost_model.profiler.subjects import Place, Span, Subject
from cost_model.source import Source
from profiles.architecture import Model
from profiles.gpus import Gpu
from profiles.models import find_model

if TYPE_CHECKING:
    from cost_model.profiler.torch_devices import CpuDevice

__all__ = ["Differences", "bench_of", "compared", "held_out_places", "main"]

RANGES = Ranges(batch=(1, 4), prompt_tokens=(8, 32), context_tokens=(32, 512))
KERNELS = ("bf16", "int-mm")
TOLERANCE, VISITS = 0.02, 5
HELD_OUT = 12


@dataclass(frozen=True, slots=True)
class Differences:
    """Relative differences of a subject: of two tables, and of a table to places kept out."""

    subject: Subject
    tables: Sequence[float]
    predictions: Sequence[float]


class _Interleaved:
    """Visits every place for two journals in turn, and then one of the places kept out."""

    def __init__(
        self, bench: Bench, twin: Journal, kept: Journal, places: Mapping[Subject, list[Place]]
    ) -> None:
        self._bench, self._twin, self._kept, self._places = bench, twin, kept, places
        self._turns = dict.fromkeys(places, 0)

    def visit(self, subject: Subject, place: Place) -> Visit:
        """The first table's visit; the others' go to their own journals."""
        first = self._bench.visit(subject, place)
        self._twin.add(subject, place, self._bench.visit(subject, place))
        places, turn = self._places[subject], self._turns[subject]
        other = places[turn % len(places)]
        self._kept.add(subject, other, self._bench.visit(subject, other))
        self._turns[subject] = turn + 1
        return first


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
    bench: Bench, spans: Mapping[Subject, Span], folder: Path, share: float
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
    """
    names = ("first", "second", "kept-out")
    first, second, kept = (Journal.open(folder / f"{n}.jsonl", {"table": n}, share) for n in names)
    places = {subject: held_out_places(span) for subject, span in spans.items()}
    measure(
        _Interleaved(bench, second, kept, places),
        spans,
        first,
        tolerance=TOLERANCE,
        visits=VISITS,
        on_event=lambda event: print(
            f"\r{event.visits_done} of {event.visits_known} visits", end="", flush=True
        ),
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
        if place not in points:
            seconds, _ = grid.at(np.array([place.batch]), place.tokens)
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
    options = parser.parse_args()
    bench, spans, device = bench_of(find_model(options.model))
    start = monotonic()
    with tempfile.TemporaryDirectory() as folder, device:
        found = compared(bench, spans, Path(folder), device.share)
    print(f"{options.model} on {device.name}, {monotonic() - start:.0f} s, load {os.getloadavg()}")
    for title, field in (("two tables", "tables"), ("places kept out", "predictions")):
        print(f"\n{title}")
        for each in found:
            if values := getattr(each, field):
                print(_line(f"  {each.subject.label}", values))
        print(_line("  all", [value for each in found for value in getattr(each, field)]))


if __name__ == "__main__":
    main()
