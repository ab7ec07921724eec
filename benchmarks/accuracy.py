"""
Hold the shipped latency model against every measured row: ``python -m benchmarks.accuracy``.

The folder of measurements is named by HETPLAN_MEASUREMENTS. Writes ``docs/accuracy.md`` and
``docs/accuracy.csv``, with the change since the figures that stood there. With ``--check`` nothing
is written; the exit code is 1 where a group got worse.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.calibration.shipped import Group, measured_groups

__all__ = ["COLUMNS", "RECORD", "figures_of", "main", "read_record", "worse"]

DOCS = Path(__file__).parents[1] / "docs"
RECORD, HELD_OUT, PAGE = DOCS / "accuracy.csv", DOCS / "held_out.csv", DOCS / "accuracy.md"
KEY = ("gpu", "engine", "what", "phase", "format")
FIGURES = ("points", "mean_percent", "median_percent", "p90_percent", "coverage_percent")
COLUMNS = (*KEY, *FIGURES)
# Half of the last digit written, and what another build of numpy may make of it.
TOLERANCE_PERCENT = 0.15

Record = dict[tuple[str, ...], dict[str, float]]


def figures_of(groups: Iterable[Group]) -> Record:
    """Errors and coverage of every group, in percent, as the record keeps them."""
    found: Record = {}
    for group in groups:
        errors = 100 * group.errors
        values = (
            len(errors),
            errors.mean(),
            np.median(errors),
            np.quantile(errors, 0.9),
            100 * group.coverage,
        )
        key = tuple(str(getattr(group, name)) for name in KEY)
        rounded = [round(float(value), 1) for value in values]
        found[key] = dict(zip(FIGURES, rounded, strict=True))
    return dict(sorted(found.items()))


def read_record(path: Path = RECORD) -> Record:
    """The figures of the last run; empty before the first."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        tuple(row[name] for name in KEY): {name: float(row[name]) for name in FIGURES}
        for row in rows
    }


def worse(found: Record, recorded: Record) -> list[str]:
    """
    A sentence for every group whose mean or median error grew, or that is predicted no more.

    A folder of other measurements has other numbers of rows: such groups are not compared.
    """
    shared = [key for key in recorded if key in found]
    same = [key for key in shared if found[key]["points"] == recorded[key]["points"]]
    texts = [
        f"{', '.join(key)}: {figure.partition('_')[0]} error {found[key][figure]:.1f} %, "
        f"recorded {recorded[key][figure]:.1f} %"
        for key in same
        for figure in ("mean_percent", "median_percent")
        if found[key][figure] > recorded[key][figure] + TOLERANCE_PERCENT
    ]
    if same == shared:
        gone = recorded.keys() - found.keys()
        texts += [f"{', '.join(key)}: recorded, and predicted no more" for key in sorted(gone)]
    return texts


def _write_record(found: Record) -> None:
    with RECORD.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, figures in found.items():
            writer.writerow([*key, *(f"{figures[name]:g}" for name in FIGURES)])


def _table(head: Sequence[str], numbers: int, rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose last ``numbers`` columns are numbers."""
    marks = ["---"] * (len(head) - numbers) + ["--:"] * numbers
    lines = [head, marks, *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _change(now: Mapping[str, float], before: Mapping[str, float] | None) -> str:
    if before is None:
        return "new"
    change = now["mean_percent"] - before["mean_percent"]
    return "0" if abs(change) < TOLERANCE_PERCENT else f"{change:+.1f}"


def _page(found: Record, before: Record) -> str:
    shown = (
        [*key, f"{f['points']:.0f}", *(f"{f[name]:.1f}" for name in FIGURES[1:]),
         _change(f, before.get(key))]
        for key, f in found.items()
    )  # fmt: skip
    with HELD_OUT.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    titles = [name.replace("_percent", " %").replace("_", " ") for name in head]
    return "\n".join(
        [
            *_INTRODUCTION,
            *_table(titles, 7, rows),
            "",
            *_EVERY_ROW,
            *_table(
                ["GPU", "engine", "rows", "phase", "format, kernel", "number", "mean %",
                 "median %", "P90 %", "in interval %", "change of mean"],
                6,
                shown,
            ),
            "",
        ]
    )  # fmt: skip


_INTRODUCTION = """\
# Accuracy of predicted times

`make accuracy` writes this page; `HETPLAN_MEASUREMENTS` names the folder of published measurements.
The tests hold the shipped model against the figures recorded in `docs/accuracy.csv`: a group whose
error grows fails. The error is |predicted / measured - 1|.

## On points that took no part in a fit

`make calibrate` fits without the points of the column *left out*, predicts them, and takes the 90 %
interval of measured over predicted time from them. *Coverage* is judged on points that took no
part in the interval either: each tenth of them against the interval of the other nine. Interval and
coverage are empty with too few points.
""".splitlines()

_EVERY_ROW = """\
## The shipped coefficients on every row

*In interval* is the share of rows inside the shipped 90 % interval. Where the
model of one source is held against another (vLLM's whole models of Splitwise and Argonne against
layers of Helix and Vidur), the interval does not speak of that difference, and the share shows it.
""".splitlines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check: 2 without measurements, 1 where a group got worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on worse groups")
    chosen = parser.parse_args(arguments)
    folder = os.environ.get("HETPLAN_MEASUREMENTS", "")
    if not folder or not (Path(folder) / "layers.csv").is_file():
        print("Set HETPLAN_MEASUREMENTS to the folder that holds layers.csv.", file=sys.stderr)
        return 2
    found, before = figures_of(measured_groups(Path(folder))), read_record()
    texts = worse(found, before)
    for text in texts:
        print(text, file=sys.stderr)
    if chosen.check:
        return 1 if texts else 0
    PAGE.write_text(_page(found, before), encoding="utf-8")
    _write_record(found)
    print(f"{len(found)} groups in {PAGE} and {RECORD}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
