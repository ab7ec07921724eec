"""
Measure one instance: ``python -m benchmarks.measure FAMILY INSTANCE BACKEND [--quick]``.

Started by `benchmarks.runs` as a process of its own, so that peak memory is that of the instance
alone. Prints JSON. CPU seconds are those of this process and of the solvers it starts.
"""

import argparse
import json
import resource
import sys
from dataclasses import asdict, dataclass, field
from time import process_time

from api.prepared import Prepared
from benchmarks.instances import Family, Instance, find_family
from benchmarks.results import GAPS, Measured, Run, reaches
from solver import Progress, SolveReport, StopRule, score, solve
from solver.backends.registry import backend_of
from solver.linear import Backend

__all__ = ["cpu_seconds", "measure"]

MIB = 1024**2


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


@dataclass(slots=True, kw_only=True)
class Watch:
    """Notes when each gap is reached."""

    begun: float = field(default_factory=cpu_seconds)
    reached: list[float | None] = field(default_factory=lambda: [None] * len(GAPS))

    def see(self, progress: Progress) -> None:
        """Take note of a step of the search."""
        if progress.phase == "search":  # a tie-break is not timed
            self.note(progress.gap)

    def note(self, gap: float | None) -> None:
        """Take note of a gap that is proven now."""
        now = cpu_seconds() - self.begun
        for number, least in enumerate(GAPS):
            if self.reached[number] is None and reaches(gap, least):
                self.reached[number] = now


def search(
    ready: Prepared, asked: float, seed: int, time_limit_s: float, backend: Backend
) -> tuple[Run, SolveReport]:
    """One search, watched."""
    stop = StopRule(gap=asked, time_limit_s=time_limit_s, seed=seed)
    watch = Watch()
    report = solve(
        ready.problem,
        objective=ready.objective,
        limits=ready.limits,
        stop=stop,
        on_progress=watch.see,
        backend=backend,
    )
    cpu_s = cpu_seconds() - watch.begun
    watch.note(report.gap)
    run = Run(
        asked=asked,
        seed=seed,
        cpu_s=cpu_s,
        reached=tuple(watch.reached),
        status=report.status,
        stop_reason=report.stop_reason,
        objective=report.objective,
        bound=report.bound,
        gap=report.gap,
    )
    return run, report


def measure(family: Family, instance: Instance, backend_name: str) -> Measured:
    """Build an instance once and search it as often as its family says."""
    backend = backend_of(backend_name)
    begun = cpu_seconds()
    ready = instance.prepared()
    build_s = cpu_seconds() - begun
    found = [
        search(ready, asked, seed, family.time_limit_s, backend)
        for asked in family.asks
        for seed in family.seeds
        for _ in range(family.repeats)
    ]
    even = found[0][1].even_split
    return Measured(
        instance=instance.name,
        backend=backend_name,
        goal=ready.objective.goal,
        size=instance.size,
        build_s=build_s,
        peak_mib=peak_mib(),
        even=None if even is None else score(even[1], ready.objective),
        runs=tuple(run for run, _ in found),
    )


def peak_mib() -> float:
    """Peak memory of this process in MiB; the system counts KiB, that of macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak * 1024 / MIB


def main() -> None:
    """Measure the instance named and print JSON."""
    parser = argparse.ArgumentParser(description="Measure one instance.")
    parser.add_argument("family")
    parser.add_argument("instance")
    parser.add_argument("backend")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    family = find_family(options.family)
    family = family.quick() if options.quick else family
    measured = measure(family, family.instance(options.instance), options.backend)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
