"""The history of the benchmarks: a row per family, backend and run, appended and never changed."""

import csv
from collections.abc import Callable, Iterable, Mapping
from math import inf
from pathlib import Path
from statistics import median

from benchmarks.results import GAPS, FamilyResult
from benchmarks.runs import PACKAGES

__all__ = ["COLUMNS", "HISTORY", "append_rows", "read_history", "rows_of"]

HISTORY = Path(__file__).parent / "history.csv"
GAP_TEXTS = tuple(f"{100 * gap:g}" for gap in GAPS)
COLUMNS = (
    "date",
    "commit",
    *PACKAGES,
    "machine",
    "family",
    "backend",
    "instances",
    "failed",
    *(f"{name}_s_to_{text}_percent" for text in GAP_TEXTS for name in ("median", "max")),
    "median_objective",
    "max_gap",
    "max_build_s",
    "max_peak_mib",
)


def rows_of(result: FamilyResult) -> list[dict[str, str]]:
    """
    A family's rows, one per backend: medians over searches, then median and maximum over instances.

    A cell is empty where nothing was asked, and ``inf`` where a gap was not reached.
    """
    return [_row(result.by(backend), backend) for backend in result.backends]


def _row(result: FamilyResult, backend: str) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    best = [run for run in (each.best for each in result.measured) if run is not None]
    gaps = [inf if run.gap is None else run.gap for run in best if run.status != "infeasible"]
    row |= {"date": result.date, "commit": result.commit, **result.versions}
    row |= {"machine": result.machine, "family": result.family, "backend": backend}
    row["instances"] = str(len(result.measured))
    row["failed"] = str(sum(bool(each.failure) for each in result.measured))
    for gap, text in zip(GAPS, GAP_TEXTS, strict=True):
        times = result.seconds_to(gap)
        row[f"median_s_to_{text}_percent"] = _number(times, median)
        row[f"max_s_to_{text}_percent"] = _number(times, max)
    row["median_objective"] = _number([run.objective for run in best if run.objective], median, 6)
    row["max_gap"] = _number(gaps, max, 6)
    measured = [each for each in result.measured if each.peak_mib]
    row["max_build_s"] = _number([each.build_s for each in measured], max)
    row["max_peak_mib"] = _number([each.peak_mib for each in measured], max)
    return row


def _number(values: list[float], of: Callable[[list[float]], float], digits: int = 3) -> str:
    """A figure over values with so many significant digits; empty without values."""
    return f"{of(values):.{digits}g}" if values else ""


def append_rows(rows: Iterable[Mapping[str, str]], path: Path = HISTORY) -> None:
    """Add rows at the end; what stands there stays as it is."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def read_history(path: Path = HISTORY) -> list[dict[str, str]]:
    """All rows, oldest first."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
