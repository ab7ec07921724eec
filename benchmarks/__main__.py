"""
Measure and print: ``python -m benchmarks [--quick] [FAMILY ...]``; all families by default.

Keeps the results, adds to the history, and writes the page and the plot anew from all results kept.
``--quick`` tries the first instance of every family and writes nothing.
"""

import argparse
from pathlib import Path

from benchmarks.growth import plot
from benchmarks.history import append_rows, rows_of
from benchmarks.instances import Family, find_family, load_families
from benchmarks.llmpq_family import run_llmpq
from benchmarks.page import page, table
from benchmarks.results import FamilyResult, load_results, save_result
from benchmarks.runs import run_family
from profiles.errors import InputError

DOCS = Path(__file__).parent.parent / "docs"


def measured(family: Family, *, quick: bool) -> FamilyResult:
    """Measure a family and print its table."""
    print(f"\n{family.name}: {family.about}", flush=True)
    family = family.quick() if quick else family
    if family.llmpq:
        result = run_llmpq(family, tell=tell)
    else:
        result = run_family(family, quick=quick, tell=tell)
    print(f"\n{table(family, result)}", flush=True)
    return result


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def write_page() -> str:
    """Write page and plot from the results kept; returns the page."""
    families, results = load_families(), load_results()
    text = page(families, results)
    (DOCS / "benchmarks.md").write_text(text, encoding="utf-8")
    grown = [(f.grows, results[f.name]) for f in families if f.grows and f.name in results]
    if grown:
        plot(grown, DOCS / "growth.svg")
    return text


def main() -> None:
    """Measure the families named, or all."""
    parser = argparse.ArgumentParser(description="Measure how fast hetplan plans.")
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes nothing")
    options = parser.parse_args()
    try:
        chosen = [find_family(name) for name in options.families] or load_families()
    except InputError as error:
        parser.error(str(error))
    for family in chosen:
        result = measured(family, quick=options.quick)
        if not options.quick:
            save_result(result)
            append_rows(rows_of(result))
    if not options.quick:
        print(write_page())


if __name__ == "__main__":
    main()
