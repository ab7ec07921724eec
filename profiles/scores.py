"""
Scores of layers that other tools made: how much worse a model gets by a module at a width.

Three forms are read:

- CSV with the columns ``layer``, ``bits``, ``score`` and, if wanted, ``module``;
- JSON with ``candidate_stats``, the state of ModelOpt's AutoQuantize: by module, lists of
  ``formats`` (whose names end in "(effective-bits: 4.0)") and ``scores``;
- JSON with ``options`` and ``total_scores`` of AutoRound's AutoScheme: by module, rows of
  ``[index of the option, bits in all, loss, names of the modules]``; options are names such as
  "W4A16", or objects with ``bits``.

Scores may be in any unit, so long as they add up. Those below 0 are noise and count as 0.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiles.csv_lines import CsvLine, csv_lines, read_csv_text
from profiles.errors import InputError, TableError

__all__ = ["Score", "ScoreTable", "read_scores"]

_COLUMNS, _MODULE = ("layer", "bits", "score"), "module"
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blk)\.(\d+)\.(.+)$")
_EFFECTIVE = re.compile(r"effective-bits:\s*([\d.]+)")
_SCHEME = re.compile(r"^W(\d+)|^(?:BF|FP)(16)$", re.IGNORECASE)
_MOST_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """
    How much worse the model gets.

    Parameters
    ----------
    layer, module
        Decoder layer from 0; the module within it, empty for the whole layer.
    bits
        Width of its weights.
    score
        At least 0, in the unit of its table.
    """

    layer: int
    module: str
    bits: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """
    The scores of a file.

    Parameters
    ----------
    scores
        One per layer, module and width.
    tool
        What made them, as far as the form tells.
    left_out
        Modules outside the layers, such as the LM head, which have no format.
    """

    scores: tuple[Score, ...]
    tool: str
    left_out: tuple[str, ...] = ()


def read_scores(path: Path) -> ScoreTable:
    """
    The scores in a file.

    Raises
    ------
    TableError
        When it is of none of the forms, holds a value that cannot be, or scores something twice.
    """
    table = _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path)
    if not table.scores:
        raise TableError("It has no scores of layers; add at least one.", file=path.name)
    seen = set()
    for score in table.scores:
        key = (score.layer, score.module, score.bits)
        if key in seen:
            what = f"layer {score.layer} {score.module}".rstrip()
            raise TableError(
                f"It scores {what} at {score.bits} bits twice; keep one.", file=path.name
            )
        seen.add(key)
    return table


# -- CSV ----------------------------------------------------------------------------------------


def _read_csv(path: Path) -> ScoreTable:
    def check_header(header: Sequence[str]) -> None:
        missing = [each for each in _COLUMNS if each not in header]
        if missing:
            raise TableError(
                f"Column {missing[0]} is missing; scores have the columns {', '.join(_COLUMNS)} "
                f"and, if wanted, {_MODULE}.",
                file=path.name,
                line=1,
            )

    lines = csv_lines(read_csv_text(path), path.name, check_header)
    return ScoreTable(scores=tuple(_of_line(line, path.name) for line in lines), tool="a CSV table")


def _of_line(line: CsvLine, name: str) -> Score:
    try:
        return Score(
            layer=_whole(line.cells["layer"], "layer", 0, 10**6),
            module=line.cells.get(_MODULE, ""),
            bits=_whole(line.cells["bits"], "bits", 1, _MOST_BITS),
            score=_score(line.cells["score"]),
        )
    except InputError as error:
        raise TableError(error.message, file=name, line=line.number) from None


def _whole(value: object, what: str, least: int, most: int) -> int:
    number = _number(value, what)
    if not number.is_integer() or not least <= number <= most:
        raise InputError(f"{what} is {value}; it must be a whole number from {least} to {most}.")
    return int(number)


def _score(value: object) -> float:
    return max(0.0, _number(value, "score"))


def _number(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{what} is {value!r}; it must be a finite number.")
    return number


# -- JSON ---------------------------------------------------------------------------------------


def _read_json(path: Path) -> ScoreTable:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(f"It cannot be read as JSON ({error}).", file=path.name) from None
    keys = data.keys() if isinstance(data, dict) else ()
    try:
        if "candidate_stats" in keys:
            return _table(list(_of_modelopt(data["candidate_stats"])), "ModelOpt AutoQuantize")
        if {"options", "total_scores"} <= set(keys):
            found = _of_autoround(data["options"], data["total_scores"])
            return _table(list(found), "AutoRound AutoScheme")
    except InputError as error:
        raise TableError(error.message, file=path.name) from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise TableError(f"Its scores are not as expected ({error!r}).", file=path.name) from None
    raise TableError(
        "It has neither `candidate_stats` (ModelOpt) nor `options` and `total_scores` (AutoRound); "
        "write a CSV table with the columns layer, bits, score instead.",
        file=path.name,
    )


_Found = tuple[str, int, float]
"""Name of a module, bits, score."""


def _table(found: Sequence[_Found], tool: str) -> ScoreTable:
    placed = [(_LAYER.search(name), bits, score) for name, bits, score in found]
    scores = tuple(
        Score(layer=int(at[1]), module=at[2], bits=bits, score=score)
        for at, bits, score in placed
        if at is not None
    )
    left_out = dict.fromkeys(name for name, _, _ in found if _LAYER.search(name) is None)
    return ScoreTable(scores=scores, tool=tool, left_out=tuple(left_out))


def _of_modelopt(stats: Mapping[str, Mapping[str, Sequence[object]]]) -> Iterator[_Found]:
    for name, each in stats.items():
        for label, score in zip(each["formats"], each["scores"], strict=True):
            effective = _EFFECTIVE.search(str(label))
            if effective is None:
                raise InputError(f"Format {label!r} of {name} does not tell its effective bits.")
            yield name.removesuffix(".quant_recipe"), round(float(effective[1])), _score(score)


def _of_autoround(
    options: Sequence[object], total: Mapping[str, Sequence[Sequence[object]]]
) -> Iterator[_Found]:
    widths = [_scheme_bits(option) for option in options]
    for name, rows in total.items():
        for row in rows:
            index = _whole(row[0], "option", 0, len(widths) - 1)
            yield name, widths[index], _score(row[2])


def _scheme_bits(option: object) -> int:
    if isinstance(option, Mapping):
        return _whole(option.get("bits"), "bits", 1, _MOST_BITS)
    found = _SCHEME.search(str(option))
    if found is None:
        raise InputError(f"Option {option!r} does not tell its bits; write it as W4A16 or BF16.")
    return int(found[1] or found[2])
