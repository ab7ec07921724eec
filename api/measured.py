"""
What a user measured of a launched plan: CSV, JSON or YAML rows, or results of vLLM's own benchmark.

vLLM's results are those of ``vllm bench serve --save-result`` (``benchmark_serving.py`` before),
with the fields that it wrote in versions 0.9 to 0.15: ``completed, num_prompts, request_rate,
max_concurrency, total_input_tokens, total_output_tokens, request_throughput, output_throughput,
mean_ttft_ms, mean_tpot_ms``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import TypeAdapter

from api.problems import InvalidRequestError, Problem, ProblemList, pointer_to
from api.reading import read_text
from api.request import check_data
from api.schemas.calibration import MeasuredSpec
from profiles.csv_lines import csv_lines, read_csv_text
from profiles.errors import InputError, TableError
from profiles.units import MS

__all__ = ["MeasuredRow", "measured_rows", "read_measured"]

MAX_FILE_BYTES = 64 * 1024**2
MAX_ROWS = 1000
COLUMNS = tuple(MeasuredSpec.model_fields)
VALUES = ("ttft_ms", "tpot_ms", "throughput_tokens_per_s")
VLLM_MARKS = {"completed", "total_input_tokens"}
VLLM_NUMBERS = (
    "completed",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "output_throughput",
    "mean_ttft_ms",
    "mean_tpot_ms",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """
    One load, in base units.

    Parameters
    ----------
    batch_size, prompt_tokens, output_tokens
        Requests at once, and their lengths.
    values
        ``ttft_s``, ``tpot_s``, ``latency_s`` of the batch: those that can be compared.
    pointer
        Where it stood.
    """

    batch_size: int
    prompt_tokens: int
    output_tokens: int
    values: Mapping[str, float]
    pointer: str


def read_measured(path: Path) -> tuple[MeasuredRow, ...]:
    """
    The measurements in a file.

    Raises
    ------
    InvalidRequestError, InputError
        With everything that is wrong in it, by line (CSV) or JSON pointer.
    """
    if path.suffix.lower() == ".csv":
        return _csv_rows(read_csv_text(path), path.name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file cannot be read as UTF-8 text: {error}.") from error
    return measured_rows(_data(text))


def _data(text: str) -> object:
    """JSON, YAML, or one JSON object a line as vLLM appends them."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines):
        return [read_text(line)[0] for line in lines]
    return read_text(text)[0]


def measured_rows(data: object) -> tuple[MeasuredRow, ...]:
    """
    The measurements in plain data: one object, or a list of them.

    Raises
    ------
    InvalidRequestError
        With everything that is wrong.
    """
    rows = data if isinstance(data, list) else [data]
    if not 0 < len(rows) <= MAX_ROWS:
        raise InputError(f"There are {len(rows)} measured loads; give 1 to {MAX_ROWS}.")
    problems, found = ProblemList(), []
    for position, row in enumerate(rows):
        pointer = pointer_to(position) if isinstance(data, list) else ""
        with problems.catching(pointer):
            try:
                found.append(_row(row, pointer))
            except InvalidRequestError as error:
                moved = [Problem(pointer + each.pointer, each.detail) for each in error.problems]
                raise InvalidRequestError(moved) from error
    problems.raise_if_any()
    return tuple(found)


def _row(data: object, pointer: str) -> MeasuredRow:
    if not isinstance(data, dict):
        raise InputError(
            "A measured load is an object with batch_size, prompt_tokens, output_tokens and "
            "ttft_ms, tpot_ms or throughput_tokens_per_s; or a result of "
            "`vllm bench serve --save-result`.",
            pointer=pointer,
        )
    if data.keys() >= VLLM_MARKS:
        return _vllm_row(data, pointer)
    return _own_row(check_data(data, TypeAdapter(MeasuredSpec), MeasuredSpec), pointer)


def _own_row(row: MeasuredSpec, pointer: str) -> MeasuredRow:
    if (row.batch_size is None) == (row.request_rate is None):
        raise InputError(
            f"batch_size is {row.batch_size} and request_rate is {row.request_rate}; give exactly "
            "one of them.",
            pointer=pointer,
        )
    if all(getattr(row, name) is None for name in VALUES):
        raise InputError(
            f"None of {', '.join(VALUES)} is given; measure at least one.", pointer=pointer
        )
    if row.batch_size is not None:
        return _together(
            row.batch_size,
            (row.prompt_tokens, row.output_tokens),
            (row.ttft_ms, row.tpot_ms, row.throughput_tokens_per_s),
            pointer,
        )
    if row.ttft_ms is None or row.tpot_ms is None:
        raise InputError(
            "A load by request_rate needs ttft_ms and tpot_ms, which give how many requests run at "
            "once (Little's law); add them, or give batch_size.",
            pointer=pointer,
        )
    seconds = _request_s(row.ttft_ms, row.tpot_ms, row.output_tokens)
    batch = max(round((row.request_rate or 0.0) * seconds), 1)
    return _stream(batch, (row.prompt_tokens, row.output_tokens), seconds, pointer)


def _request_s(ttft_ms: float, tpot_ms: float, output_tokens: float) -> float:
    """Seconds that a request takes from its arrival to its last token."""
    return (ttft_ms + tpot_ms * (output_tokens - 1)) * MS


def _together(
    batch: int,
    lengths: tuple[int, int],
    measured: tuple[float | None, float | None, float | None],
    pointer: str,
) -> MeasuredRow:
    """Requests that were sent together: the batch of a plan."""
    ttft_ms, tpot_ms, tokens_per_s = measured
    prompt, output = lengths
    values = {
        "ttft_s": None if ttft_ms is None else ttft_ms * MS,
        "tpot_s": None if tpot_ms is None else tpot_ms * MS,
        "latency_s": None if tokens_per_s is None else batch * output / tokens_per_s,
    }
    return MeasuredRow(
        batch_size=batch,
        prompt_tokens=prompt,
        output_tokens=output,
        values={name: value for name, value in values.items() if value is not None},
        pointer=pointer,
    )


def _stream(batch: int, lengths: tuple[int, int], seconds: float, pointer: str) -> MeasuredRow:
    """
    Requests that came one by one: a request's time is that of a batch of as many.

    TTFT and TPOT by themselves are not comparable there: prompts and answers take turns.
    """
    prompt, output = lengths
    return MeasuredRow(
        batch_size=batch,
        prompt_tokens=prompt,
        output_tokens=output,
        values={"latency_s": seconds},
        pointer=pointer,
    )


# -- vLLM ---------------------------------------------------------------------------------------


def _vllm_row(data: Mapping[str, Any], pointer: str) -> MeasuredRow:
    for name in VLLM_NUMBERS:
        value = data.get(name)
        if not _is_number(value) or value <= 0:
            raise InputError(
                f"{name} is {value!r}; a result of `vllm bench serve --save-result` has a number "
                "over 0 there. Measure again, with answers of several tokens.",
                pointer=f"{pointer}/{name}",
            )
    completed, prompts = int(data["completed"]), data.get("num_prompts", 0)
    if not _is_number(prompts) or completed < int(prompts):
        raise InputError(
            f"completed is {completed} of num_prompts {prompts!r}: requests failed. Measure again.",
            pointer=f"{pointer}/completed",
        )
    lengths = (
        max(round(data["total_input_tokens"] / completed), 1),
        max(round(data["total_output_tokens"] / completed), 1),
    )
    most = _most_at_once(data, completed, pointer)
    if most >= completed and not _is_number(data.get("request_rate")):
        measured = (data["mean_ttft_ms"], data["mean_tpot_ms"], data["output_throughput"])
        return _together(completed, lengths, measured, pointer)
    seconds = _request_s(data["mean_ttft_ms"], data["mean_tpot_ms"], lengths[1])
    batch = max(round(min(data["request_throughput"] * seconds, most)), 1)
    return _stream(batch, lengths, seconds, pointer)


def _most_at_once(data: Mapping[str, Any], completed: int, pointer: str) -> int:
    limit = data.get("max_concurrency")
    if limit is None:
        return completed
    if not _is_number(limit) or limit < 1:
        raise InputError(
            f"max_concurrency is {limit!r}; it must be a number of at least 1, or null.",
            pointer=f"{pointer}/max_concurrency",
        )
    return int(limit)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


# -- CSV ----------------------------------------------------------------------------------------


def _csv_rows(text: str, name: str) -> tuple[MeasuredRow, ...]:
    def check(header: Sequence[str]) -> None:
        unknown = [column for column in header if column not in COLUMNS]
        if unknown or len(set(header)) < len(header):
            what = f"Unknown column {unknown[0]!r}" if unknown else "A column occurs twice"
            raise TableError(f"{what}; known: {', '.join(COLUMNS)}.", file=name, line=1)

    rows = []
    for line in csv_lines(text, name, check):
        cells = {column: _cell(cell) for column, cell in line.cells.items() if cell}
        try:
            rows.append(_row(cells, ""))
        except InvalidRequestError as error:
            detail = " ".join(problem.detail for problem in error.problems)
            raise TableError(detail, file=name, line=line.number) from error
        except InputError as error:
            raise TableError(str(error), file=name, line=line.number) from error
    if not 0 < len(rows) <= MAX_ROWS:
        raise TableError(f"It has {len(rows)} rows; give 1 to {MAX_ROWS}.", file=name)
    return tuple(rows)


def _cell(text: str) -> object:
    """The number that a cell holds; else its text, which the schema then names."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if _is_number(value) else text
