"""Reading the CSV catalogues that ship in ``profiles/data``."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TypeVar

from profiles.errors import unknown_name

__all__ = ["look_up", "optional_float", "read_rows", "read_text"]

Entry = TypeVar("Entry")


def read_text(file_name: str) -> str:
    """Text of a file in ``profiles/data``."""
    return files("profiles").joinpath("data", file_name).read_text(encoding="utf-8")


def read_rows(file_name: str) -> Iterator[dict[str, str]]:
    """Rows of a CSV file in ``profiles/data``, each a mapping from column to text."""
    return csv.DictReader(read_text(file_name).splitlines())


def optional_float(text: str) -> float | None:
    """A number, or None for an empty cell."""
    return float(text) if text else None


def look_up(
    catalogue: Mapping[str, Entry],
    aliases: Mapping[str, str],
    name: str,
    *,
    kind: str,
    pointer: str = "",
    known: Sequence[str] | None = None,
) -> Entry:
    """
    The entry that a user's name means, whatever its case.

    Parameters
    ----------
    catalogue
        Entries by name.
    aliases
        Name by lower-case alias; lower-case names of the catalogue itself need no row.
    name
        What the user wrote.
    kind
        What is looked for, for the error text.
    pointer
        JSON pointer to the name within the request.
    known
        Names to list in the error text; by default those of the catalogue.

    Raises
    ------
    InputError
        When no entry has this name or alias.
    """
    if name in catalogue:
        return catalogue[name]
    lowered = name.lower() if isinstance(name, str) else ""
    by_lower = {key.lower(): key for key in catalogue} | dict(aliases)
    if lowered not in by_lower:
        raise unknown_name(kind, name, known or list(catalogue), pointer=pointer)
    return catalogue[by_lower[lowered]]
