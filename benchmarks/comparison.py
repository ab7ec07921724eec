"""
Set baselines beside the best plan on every example: ``python -m benchmarks.comparison``.

Writes ``docs/comparison.md``, or the file given by ``--output``, and every figure beside it as CSV;
names of examples pick some. One solver thread, the gap and the limits of each example.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import geometric_mean, mean

from api.comparisons import compared
from api.example_files import example_names, example_path
from api.reading import read_text
from api.request import parse_request, prepare
from api.schemas.answer import Metrics
from api.schemas.comparison import BaselineReport, ComparisonAnswer
from solver import BASELINES, Baseline

__all__ = ["Result", "page", "write_csv"]

STAR = " *"
OUTPUT = Path(__file__).parent.parent / "docs" / "comparison.md"
INTRODUCTION = """\
# Compared with the baselines

`hetplan compare REQUEST` plans as others do, judges their plans as its own, and says how far each
is from the best plan and why. This page is written by `make compare-results`
(`python -m benchmarks.comparison`): every example that ships, one solver thread, gap 0.1 %, and for
the search as for each baseline the time limit of the example (20 to 120 s). Times are those of the
cost model, not of runs on GPUs.

A ratio is a baseline's value of the goal (mostly latency) over that of the best plan found: 1.50
takes half as long again. *Gap* is that of the best plan to its bound: no single pipeline is better
than hetplan's by more than that. Every plan, baselines too, may lose the quality that the example
allows, by default what uniform 4 bits lose.

[comparison.csv](comparison.csv) has every plan's latency, TTFT, TPOT, throughput, cost and
perplexity, what it breaks, its gap to the bound, and why it loses.

## The baselines

Where a rule leaves something open, the best is taken, in the baseline's favour.

"""
NOTES = """
- Every baseline but the even split with TP makes each GPU a stage by itself, as its rule says;
  hetplan joins GPUs by tensor parallelism stage by stage, and may leave GPUs out.
- A *pipeline per type* is several pipelines, which a bound on one does not cover; it may be better
  than hetplan's plan. Its pipelines share one batch: TTFT, TPOT and latency are those of the
  slowest, prices add up.
- LLM-PQ books embedding and head on the first GPU; where that makes its plan exceed the last GPU's
  memory, it is planned again with room for the head on every GPU.
- Means are over the examples where the baseline has a feasible plan; where it has none, the last
  table says what it exceeds. Of LLM-PQ's clusters 1, 4 and 6 count twice, with long and with short
  prompts.
- A star marks a search that was cut short by its time limit, or that left orders of GPU types out
  for having too many.
"""
GROUPS = (
    ("LLM-PQ's eleven clusters, kernels of 2023", "llmpq-*-2023"),
    ("LLM-PQ's eleven clusters, kernels of today", "llmpq-*-today"),
    ("All examples", "*"),
)
_OF_METRICS = (
    "latency_s",
    "ttft_ms",
    "tpot_ms",
    "throughput_tokens_per_s",
    "usd_per_hour",
    "usd_per_million_tokens",
    "perplexity",
    "perplexity_increase_percent",
    "gpus",
)
COLUMNS = (
    *("example", "planner", "feasible", "goal", "objective", "unit", "ratio", "gap"),
    *_OF_METRICS,
    *("was_cut", "why"),
)
_DIGITS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An example and its comparison."""

    name: str
    answer: ComparisonAnswer


def results(names: Sequence[str]) -> Iterator[Result]:
    """Compare on the examples named, or on all."""
    for name in names or example_names():
        path = example_path(name)
        body, _ = read_text(path.read_text(encoding="utf-8"))
        yield Result(name=name, answer=compared(prepare(parse_request(body), folder=path.parent)))


def page(found: Sequence[Result]) -> str:
    """The page on these comparisons, as markdown."""
    rules = [f"- **{b.title}**: {b.rule} Open: {b.chosen}. Source: {b.source}." for b in BASELINES]
    parts = ["\n".join(rules), NOTES, "## Mean and range", "\n".join(_summaries(found))]
    parts += ["\n## Every example\n", "\n".join(_rows(found))]
    return INTRODUCTION + "\n".join(parts) + "\n"


def _summaries(found: Sequence[Result]) -> Iterator[str]:
    """Feasible plans and their ratios, a table per group of examples."""
    for title, pattern in GROUPS:
        solved = [result for result in found if result.answer.objective is not None]
        chosen = [result for result in solved if fnmatch(result.name, pattern)]
        if chosen:
            yield f"\n### {title}\n"
            yield "| baseline | feasible | mean | geometric mean | least | most |"
            yield "|---|--:|--:|--:|--:|--:|"
            yield from (_summary(baseline, chosen) for baseline in BASELINES)


def _summary(baseline: Baseline, chosen: Sequence[Result]) -> str:
    rows = [_row(result, baseline.name) for result in chosen]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    cells = f"| {baseline.title} | {len(ratios)} of {len(rows)} |"
    if not ratios:
        return f"{cells} | | | |"
    figures = (mean(ratios), geometric_mean(ratios), min(ratios), max(ratios))
    return cells + "".join(f" {figure:.2f} |" for figure in figures)


def _row(result: Result, name: str) -> BaselineReport:
    return next(row for row in result.answer.baselines if row.name == name)


def _rows(found: Sequence[Result]) -> Iterator[str]:
    yield f"| example | hetplan | gap | {' | '.join(b.title for b in BASELINES)} |"
    yield f"|---|--:|--:|{'--:|' * len(BASELINES)}"
    for result in found:
        best = result.answer.best
        value = best.status if best.objective is None else f"{best.objective:.3f} {best.unit}"
        cells = " | ".join(_cell(_row(result, baseline.name)) for baseline in BASELINES)
        gap = "" if best.gap is None else f"{100 * best.gap:.2f} %"
        yield f"| {result.name} | {value} | {gap} | {cells} |"


def _cell(row: BaselineReport) -> str:
    """The ratio, or the limits that are broken and by how much; a star where it was cut short."""
    return _found(row) + (STAR if row.was_cut else "")


def _found(row: BaselineReport) -> str:
    if row.ratio is not None:
        return f"{row.ratio:.2f}"
    if not row.plans:
        return "no plan"
    broken = {}
    for violation in row.violations:
        if violation.value is not None and violation.allowed is not None:
            excess = abs(violation.value - violation.allowed)
            broken[violation.limit] = max(excess, broken.get(violation.limit, 0.0))
    units = {violation.limit: violation.unit for violation in row.violations}
    return ", ".join(f"{name} by {by:.3g} {units[name]}" for name, by in broken.items())


def write_csv(found: Sequence[Result], path: Path) -> None:
    """Every figure, a row per example and planner."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for result in found:
            best = result.answer.best
            shared = {"example": result.name, "goal": best.goal, "unit": best.unit}
            ours = {"planner": "hetplan", "feasible": best.plan is not None, "was_cut": False}
            ratio = None if best.plan is None else 1.0
            values = {"objective": best.objective, "ratio": ratio, "gap": best.gap}
            writer.writerow(shared | ours | _rounded(values | _figures(best.metrics)))
            writer.writerows(shared | _csv_row(row) for row in result.answer.baselines)


def _csv_row(row: BaselineReport) -> dict[str, object]:
    facts = {
        "planner": row.name,
        "feasible": row.feasible,
        "was_cut": row.was_cut,
        "why": row.why,
    }
    values = {"objective": row.objective, "ratio": row.ratio, "gap": row.gap}
    return facts | _rounded(values | _figures(row.metrics))


def _figures(metrics: Metrics | None) -> dict[str, float | None]:
    return {} if metrics is None else metrics.model_dump(include=set(_OF_METRICS))


def _rounded(values: Mapping[str, float | None]) -> dict[str, object]:
    """To so many digits, that the last bits of a sum change no file."""
    return {name: None if x is None else f"{x:.{_DIGITS}g}" for name, x in values.items()}


def main() -> None:
    """Compare on the examples named, or on all; tell each as it comes, then write the page."""
    parser = argparse.ArgumentParser(description="Set baselines beside the best plan.")
    parser.add_argument("names", nargs="*", help="examples; default: all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="markdown file to write")
    options = parser.parse_args()
    found = []
    for result in results(options.names):
        found.append(result)
        print(*list(_rows([result]))[2:], sep="\n", flush=True)
    options.output.write_text(page(found), encoding="utf-8")
    write_csv(found, options.output.with_suffix(".csv"))


if __name__ == "__main__":
    main()
