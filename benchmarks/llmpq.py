"""
Set hetplan beside LLM-PQ: ``python -m benchmarks.llmpq [--quick] [--output FILE] [NAME ...]``.

One solver thread; CPU seconds of this process after imports. Two tables:

1. LLM-PQ's own problem as published: every case by its integer program (60 s each) against the
   search over all cases together, both to a gap of 1e-4.
2. The same model, GPUs, batch, quality loss and theta: hetplan's search over everything, gap 1e-3
   or 120 s, against the best of LLM-PQ's plans that hetplan's check finds feasible.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import process_time

from benchmarks.llmpq_instances import LlmPqInstance, drawn, examples
from profiles.units import GIB
from solver import (
    Goal,
    Limits,
    Objective,
    Plan,
    SolveReport,
    StopRule,
    evaluate,
    score,
    solve,
    violations,
)
from solver.llmpq import (
    LlmPqReport,
    LlmPqRules,
    from_pipeline,
    prefill_sizes,
    solve_fast,
    solve_naive,
    to_plan,
)

STOP = StopRule(gap=1e-3, time_limit_s=120.0)
QUICK = ("llmpq-03-3xT4-1xV100-opt-30b-today", "drawn-17", "drawn-20")
OWN = (
    "| instance | GPUs | cases | naive s | fast s | ratio | naive | gap | fast | gap |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
AGAINST = (
    "| instance | GPUs | hetplan | gap | CPU s | LLM-PQ | ratio | corrected | ratio | why not |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """LLM-PQ's best plan by hetplan's check, or why none of its plans is feasible."""

    objective: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An instance solved in every way; times in CPU seconds."""

    instance: LlmPqInstance
    naive: LlmPqReport
    naive_s: float
    fast: LlmPqReport
    fast_s: float
    ours: SolveReport
    ours_s: float
    theirs: Theirs
    corrected: Theirs

    @property
    def num_gpus(self) -> int:
        """GPUs of the cluster."""
        return self.instance.problem.num_gpus

    @property
    def is_beaten(self) -> bool:
        """Whether a feasible plan of LLM-PQ's is better than hetplan's by more than the gap."""
        mine = self.ours.objective
        found = [each.objective for each in (self.theirs, self.corrected)]
        return any(
            other is not None and (mine is None or mine > (1 + STOP.gap) * other) for other in found
        )

    def own_row(self) -> str:
        """A line of the first table."""
        ratio = self.naive_s / self.fast_s
        return (
            f"| {self.instance.name} | {self.num_gpus} | {len(self.naive.cases)} "
            f"| {self.naive_s:.2f} | {self.fast_s:.2f} | {ratio:.1f} "
            f"| {_value(self.naive)} | {_value(self.fast)} |"
        )

    def against_row(self) -> str:
        """A line of the second table."""
        ours = self.ours
        mine = "none | " if ours.objective is None else f"{ours.objective:.3f} | {ours.gap:.3%}"
        columns = [_against(each, ours.objective) for each in (self.theirs, self.corrected)]
        why = "; ".join(
            f"{name}: {each.reason}"
            for name, each in (("published", self.theirs), ("corrected", self.corrected))
            if each.reason
        )
        return (
            f"| {self.instance.name} | {self.num_gpus} | {mine} | {self.ours_s:.1f} "
            f"| {columns[0]} | {columns[1]} | {why} |"
        )


def _value(report: LlmPqReport) -> str:
    if report.objective is None:
        return f"{report.status} | "
    gap = "unknown" if report.gap is None else f"{report.gap:.4%}"
    return f"{report.objective:.3f} | {gap}"


def _against(theirs: Theirs, mine: float | None) -> str:
    if theirs.objective is None:
        return "none | "
    ratio = "" if mine is None else f"{theirs.objective / mine:.4f}"
    return f"{theirs.objective:.3f} | {ratio}"


def compare(instance: LlmPqInstance) -> Comparison:
    """Solve an instance in every way."""
    problem, theta = instance.problem, instance.theta_s_per_nat
    goal = Objective(goal=Goal.LATENCY_AND_QUALITY, theta_s_per_nat=theta)
    own = from_pipeline(problem, theta_s_per_nat=theta)
    published, corrected = LlmPqRules.as_published(), LlmPqRules.corrected()
    times = [process_time()]
    naive = solve_naive(own, published)
    times.append(process_time())
    fast = solve_fast(own, published)
    times.append(process_time())
    ours = solve(problem, objective=goal, stop=STOP)
    times.append(process_time())
    empty = "" if prefill_sizes(own, published) else "no prefill micro-batch above 1 divides"
    return Comparison(
        instance=instance,
        naive=naive,
        naive_s=times[1] - times[0],
        fast=fast,
        fast_s=times[2] - times[1],
        ours=ours,
        ours_s=times[3] - times[2],
        theirs=judged(instance, goal, naive, empty),
        corrected=judged(instance, goal, solve_fast(own, corrected), ""),
    )


def judged(instance: LlmPqInstance, goal: Objective, report: LlmPqReport, reason: str) -> Theirs:
    """The best plan of any case by hetplan's check; without one, what its own best breaks."""
    plans = [to_plan(instance.problem, case.plan) for case in report.cases if case.plan is not None]
    values = [_score(instance, goal, plan) for plan in plans]
    feasible = [value for value in values if value is not None]
    if feasible:
        return Theirs(objective=min(feasible))
    if report.plan is None:
        return Theirs(objective=None, reason=reason or "no plan found")
    return Theirs(objective=None, reason=_excess(instance, to_plan(instance.problem, report.plan)))


def _score(instance: LlmPqInstance, goal: Objective, plan: Plan) -> float | None:
    values = evaluate(instance.problem, plan)
    return None if violations(instance.problem, values, Limits()) else score(values, goal)


def _excess(instance: LlmPqInstance, plan: Plan) -> str:
    """By how much memory is exceeded."""
    stages = evaluate(instance.problem, plan).stages
    worst = min(range(len(stages)), key=lambda number: stages[number].memory.free_bytes)
    missing = -stages[worst].memory.free_bytes / GIB
    return f"stage {worst + 1} of {len(stages)} exceeds its memory by {missing:.2f} GiB"


def instances(names: Iterable[str]) -> Iterator[LlmPqInstance]:
    """Those named, or all."""
    chosen = set(names)
    return (each for each in chain(examples(), drawn()) if not chosen or each.name in chosen)


def totals(rows: list[Comparison]) -> Iterator[str]:
    """What the tables come to."""
    of_three = [row for row in rows if row.num_gpus >= 3]
    if of_three:
        naive, fast = sum(r.naive_s for r in of_three), sum(r.fast_s for r in of_three)
        worst = min(of_three, key=lambda row: row.naive_s / row.fast_s)
        yield (
            f"{len(of_three)} clusters of 3 GPUs or more: naive {naive:.1f} s, fast {fast:.1f} s, "
            f"ratio {naive / fast:.1f}; least ratio {worst.naive_s / worst.fast_s:.1f} "
            f"({worst.instance.name})."
        )
    beaten = [row.instance.name for row in rows if row.is_beaten]
    judged_rows = [row for row in rows if row.theirs.objective is not None]
    yield (
        f"{len(rows)} instances, a feasible plan of LLM-PQ's in {len(judged_rows)}; better than "
        f"hetplan's by more than the gap in {len(beaten)}{': ' if beaten else '.'}"
        f"{', '.join(beaten)}"
    )


def report(rows: list[Comparison]) -> str:
    """Both tables and their totals, as markdown."""
    parts = [
        "## Its own problem, as published",
        "\n".join([OWN, *(row.own_row() for row in rows)]),
        "## Against hetplan's search",
        "\n".join([AGAINST, *(row.against_row() for row in rows)]),
        "\n".join(totals(rows)),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Solve the instances named, a handful, or all; print as they come, then both tables."""
    parser = argparse.ArgumentParser(description="Set hetplan beside LLM-PQ.")
    parser.add_argument("names", nargs="*", help="instances; default: all")
    parser.add_argument("--quick", action="store_true", help="a handful of small ones")
    parser.add_argument("--output", type=Path, help="write the tables to this markdown file")
    options = parser.parse_args()
    rows: list[Comparison] = []
    for instance in instances(QUICK if options.quick else options.names):
        rows.append(compare(instance))
        print(rows[-1].own_row(), rows[-1].against_row(), sep="\n", flush=True)
        if options.output is not None:
            options.output.write_text(report(rows), encoding="utf-8")
    print(report(rows))


if __name__ == "__main__":
    main()
