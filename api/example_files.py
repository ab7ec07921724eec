"""The example requests that ship with the program."""

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from api.reading import read_text
from profiles.errors import unknown_name

__all__ = ["example_body", "example_names", "example_path", "example_summary", "examples_folder"]

SUFFIXES = (".yaml", ".json")


def examples_folder() -> Path:
    """Where the examples lie: inside the package when installed, beside it in a checkout."""
    here = Path(__file__).parent
    inside = here / "examples"
    return inside if inside.is_dir() else here.parent / "examples"


@cache
def _paths() -> dict[str, Path]:
    found = sorted(path for path in examples_folder().glob("*") if path.suffix in SUFFIXES)
    return {path.stem: path for path in found}


def example_names() -> list[str]:
    """Names of all examples."""
    return list(_paths())


def example_path(name: str) -> Path:
    """
    The file of an example, by its name with or without suffix.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    path = _paths().get(name.removesuffix(".yaml").removesuffix(".json"))
    if path is None:
        raise unknown_name("example", name, example_names())
    return path


def example_summary(name: str) -> str:
    """What the example shows: the comment it opens with, or its description."""
    path = example_path(name)
    if path.suffix == ".json":
        return _JSON_SUMMARIES.get(name, "")
    return " ".join(_opening_comment(path.read_text(encoding="utf-8")))


_JSON_SUMMARIES = {
    "coefficients": "A problem stated by its coefficients alone, without any catalogue.",
    "llama-2-70b-plan": "A plan to evaluate: hetplan evaluate llama-2-70b.yaml --plan "
    "llama-2-70b-plan.json.",
}


def _opening_comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line.lstrip("# ").strip()


def example_body(name: str) -> dict[str, Any]:
    """The example as a body for HTTP: the rows of its cost tables stand in it."""
    path = example_path(name)
    body, _ = read_text(path.read_text(encoding="utf-8"))
    tables = body.pop("tables", [])
    rows = [row for table in tables for row in _rows(path.parent / table)]
    return {**body, "cost_table": rows} if rows else dict(body)


def _rows(path: Path) -> list[dict[str, str | float | None]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: _cell(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def _cell(text: str) -> str | float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
