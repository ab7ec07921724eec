"""
Fit the latency model to published measurements: ``python -m benchmarks.calibrate``.

The folder of measurements is named by HETPLAN_MEASUREMENTS. Writes ``coefficients.csv``,
``coefficients_alone.csv``, ``engine_factors.csv`` and the fitted figures of ``links.csv`` in
``profiles/data``, and ``docs/held_out.csv``: the errors on points that took
no part in a fit, which it also prints. It takes some minutes.
"""

import os
import sys
from pathlib import Path

import pandas as pd

from benchmarks.calibration.assemble import (
    Calibration,
    calibrate,
    coefficient_rows,
    factor_rows,
    rows_alone,
)
from benchmarks.calibration.fitted import Judged
from benchmarks.calibration.held_out import COLUMNS, held_out_rows
from benchmarks.calibration.links import link_figures, write_links

__all__ = ["main", "report"]

DATA = Path(__file__).parents[1] / "profiles" / "data"
HELD_OUT_FILE = Path(__file__).parents[1] / "docs" / "held_out.csv"
_HEAD = f"{'':34}{'decode':^17}{'prefill':^17}\n{'':34}" + f"{'MAPE':>8}{'P90':>8} " * 2


def _line(title: str, judged: Judged) -> str:
    cells = []
    for decode in (True, False):
        mean, p90 = judged.errors.mean(decode=decode), judged.errors.p90(decode=decode)
        cells += ["" if value is None else f"{value:.1%}" for value in (mean, p90)]
    return f"{title:34}{cells[0]:>8}{cells[1]:>8} {cells[2]:>8}{cells[3]:>8}"


def report(found: Calibration) -> str:
    """The table of errors, mean and 90th percentile, per GPU and phase."""
    lines = [
        _HEAD,
        "whole layers, fp16, each model left out, or every second point where there is but one",
    ]
    lines += [_line(f"  {gpu}", judged) for gpu, judged in found.layers.items()]
    lines += ["layers without attention, fp16, each model left out"]
    lines += [_line(f"  {gpu}", judged) for gpu, judged in found.linear.items()]
    lines += ["matrix products of 15 million weights and more, a fifth of the shapes left out"]
    lines += [_line(f"  {gpu} {form}", judged) for (gpu, form), judged in found.products.items()]
    return "\n".join(lines)


def write(found: Calibration, folder: Path) -> None:
    """Write every table of fitted figures."""
    coefficient_rows(found.coefficients).to_csv(DATA / "coefficients.csv", index=False)
    alone = coefficient_rows(rows_alone(found))
    alone.to_csv(DATA / "coefficients_alone.csv", index=False)
    factor_rows(found.engines).to_csv(DATA / "engine_factors.csv", index=False)
    write_links(DATA / "links.csv", link_figures(folder, found.layers, found.linear))
    rows = pd.DataFrame(held_out_rows(found, folder), columns=COLUMNS)
    rows.to_csv(HELD_OUT_FILE, index=False)


def main() -> int:
    """Calibrate, write, report; 2 where there are no measurements."""
    folder = os.environ.get("HETPLAN_MEASUREMENTS", "")
    if not folder or not (Path(folder) / "layers.csv").is_file():
        print("Set HETPLAN_MEASUREMENTS to the folder that holds layers.csv.", file=sys.stderr)
        return 2
    found = calibrate(Path(folder), tell=lambda step: print(step, file=sys.stderr, flush=True))
    write(found, Path(folder))
    print(report(found))
    print(f"{len(found.coefficients)} coefficients in {DATA / 'coefficients.csv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
