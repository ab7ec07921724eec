"""LLM-PQ's search beside hetplan's, in the form of the other families; see `benchmarks.llmpq`."""

from collections.abc import Callable, Iterator

from benchmarks.instances import Family
from benchmarks.llmpq import STOP, Comparison, Theirs, compare, instances
from benchmarks.results import GAPS, FamilyResult, Measured, Run, reaches
from benchmarks.runs import described
from solver import SolveReport
from solver.llmpq import LlmPqReport

__all__ = ["CORRECTED", "FAST", "NAIVE", "OURS", "PUBLISHED", "run_llmpq"]

NAIVE = "LLM-PQ, case by case"
FAST = "LLM-PQ, all cases together"
OURS = "hetplan"
PUBLISHED = "LLM-PQ's plan as published"
CORRECTED = "LLM-PQ's plan, corrected"
NOT_ASKED = 1.0


def run_llmpq(family: Family, *, tell: Callable[[str], None]) -> FamilyResult:
    """Compare on the instances that the family names."""
    measured: list[Measured] = []
    for instance in instances(family.llmpq):
        comparison = compare(instance)
        measured += _all(comparison)
        tell(comparison.own_row() + "\n" + comparison.against_row())
    return described(family.name, tuple(measured))


def _all(found: Comparison) -> Iterator[Measured]:
    for who, report, seconds in (
        (NAIVE, found.naive, found.naive_s),
        (FAST, found.fast, found.fast_s),
        (OURS, found.ours, found.ours_s),
    ):
        run = _run(report, seconds)
        yield Measured(instance=found.instance.name, backend=who, size=found.num_gpus, runs=(run,))
    for who, theirs in ((PUBLISHED, found.theirs), (CORRECTED, found.corrected)):
        yield _judged(found, who, theirs)


def _run(report: LlmPqReport | SolveReport, seconds: float) -> Run:
    return Run(
        asked=STOP.gap if isinstance(report, SolveReport) else min(GAPS),
        seed=0,
        cpu_s=seconds,
        reached=tuple(seconds if reaches(report.gap, least) else None for least in GAPS),
        status=report.status,
        stop_reason=report.stop_reason if isinstance(report, SolveReport) else "",
        objective=report.objective,
        bound=report.bound,
        gap=report.gap,
    )


def _judged(found: Comparison, who: str, theirs: Theirs) -> Measured:
    """The best of its plans by hetplan's check; the seconds are those of the search."""
    name, size = found.instance.name, found.num_gpus
    if theirs.objective is None:
        return Measured(instance=name, backend=who, size=size, failure=theirs.reason)
    run = Run(
        asked=NOT_ASKED,
        seed=0,
        cpu_s=found.naive_s,
        reached=(None,) * len(GAPS),
        status="feasible",
        stop_reason="",
        objective=theirs.objective,
        bound=None,
        gap=None,
    )
    return Measured(instance=name, backend=who, size=size, runs=(run,))
