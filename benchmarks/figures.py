"""The figures asked for, each beside what was measured."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from statistics import median

from benchmarks.growth import curve_of
from benchmarks.llmpq_family import CORRECTED, FAST, NAIVE, OURS, PUBLISHED
from benchmarks.results import FamilyResult, Measured, Run

__all__ = ["Figure", "figures", "seconds"]

Results = Mapping[str, FamilyResult]
# An exponent up to this is called near-linear.
NEAR_LINEAR = 1.2
MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was asked for and what was measured; ``is_met`` is None where nothing was."""

    what: str
    asked: str
    measured: str = "not measured"
    is_met: bool | None = None

    def row(self) -> str:
        """A line of the table."""
        verdict = {None: "", True: "met", False: "**not met**"}[self.is_met]
        return f"| {self.what} | {self.asked} | {self.measured} | {verdict} |"


def seconds(value: float) -> str:
    """Seconds for reading."""
    return "not reached" if value == inf else f"{value:.2f} s"


def figures(results: Results) -> list[Figure]:
    """All figures."""
    return [
        *_joint(results),
        _first_plan(results),
        *_large(results),
        _layers(results),
        _memory(results),
        _building(results),
        *_llmpq(results),
    ]


def _joint(results: Results) -> Iterator[Figure]:
    what = "joint optimum, gap 0.1 %: LLM-PQ's clusters and 10 GPUs x 80 layers"
    families = [results[name] for name in ("llmpq-clusters", "flagship") if name in results]
    times = [time for family in families for time in family.seconds_to(0.001)]
    for of, name, limit in ((max, "each", 10.0), (median, "median", 2.0)):
        asked = f"{name} ≤ {limit:g} s"
        yield _time(f"{what}, {len(times)} instances" if times else what, asked, times, of, limit)


def _time(
    what: str,
    asked: str,
    times: list[float],
    of: Callable[[list[float]], float],
    limit: float,
) -> Figure:
    if not times:
        return Figure(what=what, asked=asked)
    value = of(times)
    return Figure(what=what, asked=asked, measured=seconds(value), is_met=value <= limit)


def _first_plan(results: Results) -> Figure:
    what = "a plan proven within 1 %, all pairs, 10 GPUs x 80 layers"
    times = results["flagship"].seconds_to(0.01) if "flagship" in results else []
    return _time(what, "≤ 1 s", times, max, 1.0)


def _large(results: Results) -> Iterator[Figure]:
    what = "Llama-3.1-405b on 64 GPUs of 4 types, B = 256, gap 1 %"
    times = results["large"].seconds_to(0.01) if "large" in results else []
    yield _time(what, "≤ 20 s", times, max, 20.0)


def _layers(results: Results) -> Figure:
    what, asked = "growth with layers, 20 to 160, gap 1 %", f"near-linear: exponent ≤ {NEAR_LINEAR}"
    if "growth-layers" not in results:
        return Figure(what=what, asked=asked)
    curve = curve_of(results["growth-layers"], 0.01)
    if len(curve.sizes) < 2:
        return Figure(what=what, asked=asked, measured="not reached", is_met=False)
    fitted, last = curve.fit()[0], curve.last_exponent()
    return Figure(
        what=what,
        asked=asked,
        measured=f"{fitted:.2f}; {last:.2f} at the end",
        is_met=max(fitted, last) <= NEAR_LINEAR,
    )


def _memory(results: Results) -> Figure:
    what, asked = "peak memory of a 64-GPU solve", "≤ 2 GiB"
    families = [results[name] for name in ("large", "growth-devices") if name in results]
    peaks = [
        each.peak_mib / MIB_PER_GIB
        for family in families
        for each in family.measured
        if each.peak_mib and each.size in (None, 64)
    ]
    if not peaks:
        return Figure(what=what, asked=asked)
    measured = f"{max(peaks):.2f} GiB"
    return Figure(what=what, asked=asked, measured=measured, is_met=max(peaks) <= 2)


def _building(results: Results) -> Figure:
    what, asked = "building the coefficients, any instance", "≤ 0.3 s"
    times = [
        each.build_s for result in results.values() for each in result.measured if each.peak_mib
    ]
    return _time(what, asked, times, max, 0.3)


def _llmpq(results: Results) -> Iterator[Figure]:
    if "llmpq-search" not in results:
        yield Figure(what="against LLM-PQ's search", asked="objective ≤ (1 + gap) x its")
        return
    result = results["llmpq-search"]
    by = {who: {e.instance: e for e in result.by(who).measured} for who in result.backends}
    yield _not_beaten(by)
    large = [name for name, each in by[NAIVE].items() if (each.size or 0) >= 3]
    if large:
        yield from _ratios([(by[NAIVE][name].cpu_s(), by[FAST][name].cpu_s()) for name in large])


def _not_beaten(by: Mapping[str, Mapping[str, Measured]]) -> Figure:
    judged = [(name, each) for who in (PUBLISHED, CORRECTED) for name, each in by[who].items()]
    pairs = [(by[OURS][name].best, each.best) for name, each in judged if each.best is not None]
    beaten = sum(_is_beaten(ours, theirs) for ours, theirs in pairs)
    return Figure(
        what=f"against LLM-PQ's plans that are feasible, {len(pairs)} of {len(judged)}",
        asked="objective ≤ (1 + gap) x its",
        measured=f"{len(pairs) - beaten} of {len(pairs)}",
        is_met=not beaten if pairs else None,
    )


def _is_beaten(ours: Run | None, theirs: Run | None) -> bool:
    if theirs is None or theirs.objective is None:
        return False
    if ours is None or ours.objective is None:
        return True
    return ours.objective > (1 + ours.asked) * theirs.objective


def _ratios(times: list[tuple[float, float]]) -> Iterator[Figure]:
    naive, fast = (sum(column) for column in zip(*times, strict=True))
    what = f"LLM-PQ's own problem, the same HiGHS, {len(times)} clusters of 3 GPUs or more"
    for asked, ratio, least in (
        ("≥ 20x less CPU in total", naive / fast, 20),
        ("≥ 5x less CPU on each", min(slow / quick for slow, quick in times), 5),
    ):
        yield Figure(what=what, asked=asked, measured=f"{ratio:.1f}x", is_met=ratio >= least)
