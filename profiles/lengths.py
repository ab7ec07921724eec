"""Lengths of requests: buckets of prompt and output tokens, read from a trace and grouped."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import fsum, isfinite
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.csv_lines import CsvLine, csv_lines, read_csv_text
from profiles.errors import InputError, TableError

__all__ = [
    "LEAST_WEIGHT",
    "MOST_BUCKETS",
    "MOST_TOKENS",
    "MOST_WEIGHT",
    "LengthBucket",
    "group_lengths",
    "lengths_from_text",
    "merge_lengths",
    "read_lengths",
]

MOST_BUCKETS = 16
"""Buckets that a longer trace is grouped into: stage times stay within 1 % of all its rows'."""

MOST_TOKENS = 10_000_000
LEAST_WEIGHT, MOST_WEIGHT = 1e-9, 1e9

FloatArray = NDArray[np.float64]

_COLUMNS = ("prompt_tokens", "output_tokens")
_WEIGHT = "weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBucket:
    """
    Requests of one length.

    Parameters
    ----------
    prompt_tokens, output_tokens
        Length of their prompts and answers, in tokens, at least 1.
    weight
        How many there are, in any unit; more than 0.
    """

    prompt_tokens: int
    output_tokens: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not (isfinite(self.weight) and self.weight > 0):
            raise InputError(f"weight is {self.weight}; it must be a finite number over 0.")

    @property
    def tokens(self) -> int:
        """Prompt and output together."""
        return self.prompt_tokens + self.output_tokens


def read_lengths(path: Path) -> tuple[LengthBucket, ...]:
    """
    The rows of a trace.

    Parameters
    ----------
    path
        CSV with the columns ``prompt_tokens``, ``output_tokens`` and, if wanted, ``weight``;
        others are left alone.

    Raises
    ------
    TableError
        Naming the file, the line (the header is line 1) and what is wrong there.
    """
    return lengths_from_text(read_csv_text(path), path.name)


def lengths_from_text(text: str, name: str) -> tuple[LengthBucket, ...]:
    """
    The rows of a trace given as CSV text, each a bucket.

    Parameters
    ----------
    text
        The rows, their header first.
    name
        What errors call the trace.

    Raises
    ------
    TableError
        Naming the trace and the line (the header is line 1).
    """

    def check_header(header: Sequence[str]) -> None:
        _check_header(header, name)

    rows = tuple(_bucket(line, name) for line in csv_lines(text, name, check_header))
    if not rows:
        raise TableError("It has no rows; add at least one.", file=name)
    return rows


def _check_header(header: Sequence[str], name: str) -> None:
    known = (*_COLUMNS, _WEIGHT)
    absent = [each for each in known if each not in header]
    others = [each for each in header if each not in known]
    # A column misspelt would otherwise pass for one of the user's own, which are left alone.
    meant = [(each, close) for each in others for close in get_close_matches(each, absent, n=1)]
    problems = [
        *(f"column {each!r} is not known; write {close}" for each, close in meant),
        *(f"column {each} is missing; add it" for each in _COLUMNS if each not in header),
        *(f"column {each} stands twice; keep one" for each in known if header.count(each) > 1),
    ]
    if problems:
        raise TableError(f"In the header, {problems[0]}.", file=name, line=1)


def _bucket(line: CsvLine, name: str) -> LengthBucket:
    try:
        return LengthBucket(
            prompt_tokens=_tokens(line, "prompt_tokens"),
            output_tokens=_tokens(line, "output_tokens"),
            weight=_weight(line),
        )
    except InputError as error:
        raise TableError(error.message, file=name, line=line.number) from None


def _tokens(line: CsvLine, column: str) -> int:
    found = line.cells[column]
    try:
        tokens = int(found)
    except ValueError:
        raise InputError(f"{column} is {found[:40]!r}; it must be a whole number.") from None
    if tokens > MOST_TOKENS:
        raise InputError(f"{column} is {found[:40]}; it must be {MOST_TOKENS} or less.")
    return tokens


def _weight(line: CsvLine) -> float:
    found = line.cells.get(_WEIGHT, "1")
    try:
        weight = float(found)
    except ValueError:
        raise InputError(f"{_WEIGHT} is {found[:40]!r}; it must be a number.") from None
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise InputError(
            f"{_WEIGHT} is {found[:40]}; it must be {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}."
        )
    return weight


def merge_lengths(buckets: Sequence[LengthBucket]) -> tuple[LengthBucket, ...]:
    """The same requests, each length once and the weights summing to 1; shortest first."""
    weights: dict[tuple[int, int], float] = {}
    for bucket in buckets:
        key = (bucket.prompt_tokens, bucket.output_tokens)
        weights[key] = weights.get(key, 0.0) + bucket.weight
    total = fsum(weights.values())
    return tuple(
        LengthBucket(
            prompt_tokens=prompt, output_tokens=output, weight=weights[prompt, output] / total
        )
        for prompt, output in sorted(weights)
    )


def group_lengths(
    buckets: Sequence[LengthBucket], at_most: int = MOST_BUCKETS
) -> tuple[LengthBucket, ...]:
    """
    A trace as a few buckets.

    Parameters
    ----------
    buckets
        The requests; weights in any unit.
    at_most
        How many buckets are wanted, at least 4.

    Returns
    -------
    tuple of LengthBucket
        Those given, each length once, where they are few enough. Else the longest prompt, answer
        and request stay apart, since memory and warnings ask for them, and the others are split
        where they differ most, each part standing for its mean length. Weights sum to 1.
    """
    merged = merge_lengths(buckets)
    if len(merged) <= at_most:
        return merged
    longest = {max(merged, key=attrgetter(each)) for each in (*_COLUMNS, "tokens")}
    others = np.array(
        [(b.prompt_tokens, b.output_tokens, b.weight) for b in merged if b not in longest]
    )
    parts = _split(others, at_most - len(longest))
    return merge_lengths([*longest, *map(_mean_bucket, parts)])


def _split(rows: FloatArray, num_parts: int) -> list[FloatArray]:
    """Rows (prompt, output, weight), parted again and again where the spread is largest."""
    scale = np.average(rows[:, :2], axis=0, weights=rows[:, 2])
    parts = [(*_spread(rows, scale), rows)]
    while len(parts) < num_parts:
        at = max(range(len(parts)), key=lambda index: parts[index][0])
        _, column, part = parts.pop(at)
        below = part[:, column] <= _middle(part[:, column], part[:, 2])
        parts += [(*_spread(half, scale), half) for half in (part[below], part[~below])]
    return [part for _, _, part in parts]


def _middle(tokens: FloatArray, weights: FloatArray) -> float:
    """The mean, kept off the largest value, so that neither half is empty."""
    mean = float(np.average(tokens, weights=weights))
    return min(max(mean, float(tokens.min())), float(tokens.max()) - 0.5)


def _spread(rows: FloatArray, scale: FloatArray) -> tuple[float, int]:
    """Weighted squares of the relative deviations, and the column to split at."""
    lengths, weights = rows[:, :2] / scale, rows[:, 2]
    deviations = weights @ (lengths - np.average(lengths, axis=0, weights=weights)) ** 2
    varies = np.ptp(lengths, axis=0) > 0
    return float(deviations[varies].sum()), int(np.where(varies, deviations, -1.0).argmax())


def _mean_bucket(rows: FloatArray) -> LengthBucket:
    prompt, output = np.average(rows[:, :2], axis=0, weights=rows[:, 2])
    return LengthBucket(
        prompt_tokens=round(prompt), output_tokens=round(output), weight=float(rows[:, 2].sum())
    )
