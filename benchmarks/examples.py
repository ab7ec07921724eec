"""
Solve every example and print what came of it: ``python -m benchmarks.examples [NAME ...]``.

One solver thread; CPU seconds of this process after imports, building the coefficients apart.
Every example is solved once, to the gap and within the time limit given here, not its own.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import process_time

from api.example_files import example_names, example_path
from api.reading import read_text
from api.request import parse_request, prepare
from solver import Goal, SolveReport, StopRule, score, solve

STOP = StopRule(gap=1e-3, time_limit_s=120.0)
HEADER = (
    "| example | goal | objective | bound | gap | build s | CPU s | even split | ratio |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One example solved; times in CPU seconds, ``even`` the objective of the even split."""

    name: str
    goal: Goal
    report: SolveReport
    build_s: float
    solve_s: float
    even: float | None

    def row(self) -> str:
        """A line of the table; the ratio says how much better than the even split the plan is."""
        report = self.report
        if report.objective is None:
            return f"| {self.name} | {self.goal} | {report.status} | | | {self._times()} | | |"
        even = ratio = "none"
        if self.even is not None:
            better = self.even / report.objective
            even, ratio = f"{self.even:.3f}", f"{1 / better if self.goal.maximise else better:.2f}"
        numbers = f"{report.objective:.3f} | {report.bound:.3f} | {report.gap:.4%}"
        return f"| {self.name} | {self.goal} | {numbers} | {self._times()} | {even} | {ratio} |"

    def _times(self) -> str:
        return f"{self.build_s:.2f} | {self.solve_s:.1f}"


def run(name: str) -> Result:
    """Build and solve one example."""
    path = example_path(name)
    body, _ = read_text(path.read_text(encoding="utf-8"))
    begun = process_time()
    prepared = prepare(parse_request(body), folder=path.parent)
    built = process_time()
    stop = replace(STOP, seed=prepared.stop.seed)
    report = solve(
        prepared.problem, objective=prepared.objective, limits=prepared.limits, stop=stop
    )
    solved = process_time()
    even = report.even_split
    return Result(
        name=name,
        goal=prepared.objective.goal,
        report=report,
        build_s=built - begun,
        solve_s=solved - built,
        even=None if even is None else score(even[1], prepared.objective),
    )


def lines(names: list[str]) -> Iterator[str]:
    """The table, line by line."""
    yield HEADER
    for name in names:
        yield run(name).row()


def main() -> None:
    """Print the table of the examples named, or of all."""
    for line in lines(sys.argv[1:] or example_names()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
