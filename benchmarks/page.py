"""The page of the benchmarks, ``docs/benchmarks.md``, from the results kept in files."""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from statistics import median

from benchmarks.figures import figures, seconds
from benchmarks.growth import SHOWN_GAPS, Curve, curve_of
from benchmarks.instances import Family
from benchmarks.llmpq_family import OURS
from benchmarks.results import GAPS, FamilyResult, Measured

__all__ = ["page", "table"]

INTRODUCTION = """\
# Benchmarks

`make bench` measures every family of `benchmarks/families/index.yaml` and rewrites this page;
`make bench FAMILY=large` measures one, `make bench-quick` tries each shortly and writes nothing.
Results are kept in `benchmarks/results/`, and every run adds a row per family to
[benchmarks/history.csv](../benchmarks/history.csv), where rows are never changed.

CPU seconds of the process after imports, solver processes included, one solver thread, every
instance in a process of its own; building the coefficients apart. Seconds to a gap are the median
over the loosest searches that had to reach it. Peak memory is that of the whole process, libraries
included.
"""
GROWTH = """\
![CPU seconds by layers, GPUs, formats and pairs of micro-batch sizes](growth.svg)

Exponents e of seconds = c · size^e, fitted by least squares to the points that reached the gap, and
between the two largest of them alone.
"""


def page(families: tuple[Family, ...], results: Mapping[str, FamilyResult]) -> str:
    """The whole page, of the families that were measured."""
    parts = [INTRODUCTION, "## Asked for and measured\n", "\n".join(_figure_lines(results))]
    for family in families:
        if family.name in results:
            result = results[family.name]
            rules = _rules(family, result)
            parts.append(f"\n## {_title(family)}\n\n{rules}\n\n{table(family, result)}")
    grown = [(f, results[f.name]) for f in families if f.grows and f.name in results]
    if grown:
        parts.append("\n## How time grows\n\n" + GROWTH + "\n" + "\n".join(_exponents(grown)))
    return "\n".join(parts) + "\n"


def table(family: Family, result: FamilyResult) -> str:
    """A family's table in markdown."""
    if family.llmpq:
        return "\n".join(_llmpq_lines(result))
    lines = _prover_lines if len(family.backends) > 1 else _plain_lines
    return "\n".join(lines(result))


def _title(family: Family) -> str:
    return family.name.replace("-", " ").capitalize().replace("Llmpq", "LLM-PQ's")


def _rules(family: Family, result: FamilyResult) -> str:
    asks = ", ".join(f"{100 * asked:g} %" for asked in family.asks)
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    seeds = ", ".join(str(seed) for seed in family.seeds)
    searches = f"searches for each: {len(family.seeds) * family.repeats}, seeds {seeds}"
    return (
        f"{family.about} Asked for: gap {asks} or {family.time_limit_s:g} s by the clock; "
        f"{searches}.\n{result.date}, commit {result.commit or 'unknown'}, "
        f"{result.machine}; {versions}."
    )


def _figure_lines(results: Mapping[str, FamilyResult]) -> Iterator[str]:
    yield "| what | asked | measured | |"
    yield "|---|---|--:|---|"
    for figure in figures(results):
        yield figure.row()


# -- one table per family -----------------------------------------------------------------------


def _plain_lines(result: FamilyResult) -> Iterator[str]:
    gaps = [gap for gap in GAPS if result.seconds_to(gap)]
    heads = [f"to {100 * gap:g} %" for gap in gaps]
    values = ["instance", "goal", "status", "objective", "bound", "gap"]
    yield f"| {' | '.join([*values, *heads, 'even split', 'build s', 'MiB'])} |"
    yield f"|---|---|---|--:|--:|--:|{'--:|' * len(gaps)}--:|--:|--:|"
    for each in result.measured:
        times = " | ".join(_seconds(each, gap) for gap in gaps)
        memory = f"{each.build_s:.2f} | {each.peak_mib:.0f}"
        yield (
            f"| {each.instance} | {each.goal} | {_status(each)} | {_objective(each)} "
            f"| {_bound(each)} | {_gap(each)} | {times} | {_against_even(each)} | {memory} |"
        )
    totals = " | ".join(_median_and_most(result.seconds_to(gap)) for gap in gaps)
    yield f"| **median; most** | | | | | | {totals} | | | |"


def _status(each: Measured) -> str:
    return f"failed: {each.failure}" if each.best is None else each.best.status


def _objective(each: Measured) -> str:
    run = each.best
    return "" if run is None or run.objective is None else f"{run.objective:.3f}"


def _value(each: Measured) -> str:
    """The objective, or why there is none."""
    return _objective(each) or _status(each)


def _bound(each: Measured) -> str:
    run = each.best
    return "" if run is None or run.bound is None else f"{run.bound:.3f}"


def _gap(each: Measured) -> str:
    run = each.best
    return "" if run is None or run.gap is None else f"{run.gap:.4%}"


def _seconds(each: Measured, gap: float) -> str:
    if each.is_infeasible:
        return f"{each.cpu_s():.2f}"
    time = each.seconds_to(gap)
    return "" if time is None else "not reached" if time == inf else f"{time:.2f}"


def _against_even(each: Measured) -> str:
    """How many times better than the even split, by the value to minimise."""
    run = each.best
    if run is None or not run.objective:
        return ""
    if each.even is None:
        return "breaks a limit"
    ratio = each.even / run.objective
    return f"{1 / ratio if each.goal == 'throughput' else ratio:.2f}x"


def _median_and_most(times: list[float]) -> str:
    return f"{seconds(median(times))}; {seconds(max(times))}" if times else ""


def _prover_lines(result: FamilyResult) -> Iterator[str]:
    names = result.backends
    gap = next(gap for gap in reversed(GAPS) if result.seconds_to(gap))
    yield f"Seconds to gap {100 * gap:g} %, or the gap left at the limit.\n"
    yield f"| instance | objective | {' | '.join(names)} | objectives differ by |"
    yield f"|---|--:|{'--:|' * len(names)}--:|"
    for instance in dict.fromkeys(each.instance for each in result.measured):
        by = {each.backend: each for each in result.measured if each.instance == instance}
        cells = " | ".join(_until(by[name], gap) for name in names)
        yield f"| {instance} | {_value(by[names[0]])} | {cells} | {_spread(list(by.values()))} |"
    totals = " | ".join(_median_and_most(result.by(name).seconds_to(gap)) for name in names)
    yield f"| **median; most** | | {totals} | |"


def _until(each: Measured, gap: float) -> str:
    if each.failure:
        return f"failed: {each.failure}"
    time = _seconds(each, gap)
    if time != "not reached":
        return time
    left = _gap(each)
    return f"limit, gap {left}" if left else "limit, no plan"


def _spread(measured: list[Measured]) -> str:
    values = [each.best.objective for each in measured if each.best and each.best.objective]
    return f"{max(values) / min(values) - 1:.1e}" if len(values) > 1 else ""


def _llmpq_lines(result: FamilyResult) -> Iterator[str]:
    naive, fast, *others = result.backends
    yield f"| instance | GPUs | {naive}, s | {fast}, s | {' | '.join(others)} | hetplan s | gap |"
    yield f"|---|--:|--:|--:|{'--:|' * len(others)}--:|--:|"
    for instance in dict.fromkeys(each.instance for each in result.measured):
        by = {each.backend: each for each in result.measured if each.instance == instance}
        times = f"{by[naive].cpu_s():.2f} | {by[fast].cpu_s():.2f}"
        values = " | ".join(_value(by[who]) for who in others)
        ours = f"{by[OURS].cpu_s():.2f} | {_gap(by[OURS])}"
        yield f"| {instance} | {by[naive].size} | {times} | {values} | {ours} |"


# -- growth -------------------------------------------------------------------------------------


def _exponents(grown: list[tuple[Family, FamilyResult]]) -> Iterator[str]:
    yield "| what grows | gap | exponent | at the end | points: size, seconds |"
    yield "|---|--:|--:|--:|---|"
    for family, result in grown:
        for gap in SHOWN_GAPS:
            curve = curve_of(result, gap)
            left_out = len(result.measured) - len(curve.sizes)
            note = f"; {left_out} not reached" if left_out else ""
            points = ", ".join(
                f"{x}: {y:.2f}" for x, y in zip(curve.sizes, curve.seconds, strict=True)
            )
            fitted = f"{_exponent(curve, lambda c: c.fit()[0])} | "
            fitted += _exponent(curve, Curve.last_exponent)
            yield f"| {family.grows} | {100 * gap:g} % | {fitted} | {points}{note} |"


def _exponent(curve: Curve, of: Callable[[Curve], float]) -> str:
    return f"{of(curve):.2f}" if len(curve.sizes) > 1 else ""
