"""What the command line reads, and how it tells what is wrong with it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import typer
from pydantic import TypeAdapter

from api.prepared import Prepared
from api.problems import InvalidRequestError, Problem
from api.reading import Lines, read_text
from api.request import check_data, parse_request, prepare
from api.schemas.plan import PlanSpec
from profiles.errors import HetplanError, InputError
from solver import Goal

__all__ = ["BAD_INPUT", "Overrides", "read_plan", "read_request", "stop", "telling"]

BAD_INPUT = 2
STANDARD_INPUT = "-"
MAX_FILE_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Options that take the place of what the request says; None leaves it."""

    time_limit_s: float | None = None
    gap: float | None = None
    seed: int | None = None
    goal: Goal | None = None

    def apply(self, data: object) -> object:
        """The data of a request with the options in place."""
        if not isinstance(data, dict):
            return data
        given = {"time_limit_s": self.time_limit_s, "gap": self.gap, "seed": self.seed}
        solver = {name: value for name, value in given.items() if value is not None}
        old = data.get("solver")
        if solver and (old is None or isinstance(old, dict)):
            data = {**data, "solver": {**(old or {}), **solver}}
        return data if self.goal is None else {**data, "objective": self._objective(data)}

    def _objective(self, data: dict[str, Any]) -> object:
        old = data.get("objective")
        if isinstance(old, dict) and old.get("goal") == self.goal:
            return old
        return None if self.goal is None else self.goal.value


@dataclass(frozen=True, slots=True)
class _Source:
    data: object
    folder: Path
    lines: Lines = field(default_factory=dict)


def read_request(argument: str, overrides: Overrides) -> Prepared:
    """The request in a file (or standard input), made ready; ends the program if it is wrong."""
    with telling(argument):
        source = _read(argument)
    with telling(argument, source.lines):
        request = parse_request(overrides.apply(source.data))
        return prepare(request, folder=source.folder)


def read_plan(argument: str) -> PlanSpec:
    """The plan in a file: an answer's, or a plan by itself; ends the program if it is wrong."""
    with telling(argument):
        source = _read(argument)
    with telling(argument, source.lines):
        data = source.data
        if isinstance(data, dict) and "stages" in data and "plan" not in data:
            data = {"plan": data}
        plan = data.get("plan") if isinstance(data, dict) else None
        if plan is None:
            raise InputError(
                "There is no plan in it; give an answer with a plan, or its plan object."
            )
        return check_data(plan, TypeAdapter(PlanSpec), PlanSpec)


def _read(argument: str) -> _Source:
    if argument == STANDARD_INPUT:
        data, lines = read_text(sys.stdin.read())
        return _Source(data, Path.cwd(), lines)
    path = Path(argument)
    if "\0" in argument or not path.is_file():
        raise InputError(
            "There is no such file; see `hetplan examples` for requests to start from."
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"The file has more than {MAX_FILE_BYTES} bytes; make it smaller.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file cannot be read as UTF-8 text: {error}.") from error
    data, lines = read_text(text)
    return _Source(data, path.parent, lines)


@contextmanager
def telling(source: str, lines: Lines | None = None) -> Iterator[None]:
    """Turn expected failures of the block into one text on standard error and exit code 2."""
    try:
        yield
    except InvalidRequestError as error:
        stop(_block(error.problems, source, lines or {}))
    except InputError as error:
        stop(_block([Problem(error.pointer, str(error))], source, lines or {}))
    except HetplanError as error:
        stop(_block([Problem("", str(error))], source, {}))


def stop(text: str, code: int = BAD_INPUT) -> NoReturn:
    """Print to standard error and end the program."""
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _block(problems: Sequence[Problem], source: str, lines: Lines) -> str:
    name = "standard input" if source == STANDARD_INPUT else source
    count = f"{len(problems)} errors" if len(problems) > 1 else "1 error"
    told = [_told(problem, lines) for problem in problems]
    return "\n".join([f"Bad input in {name}: {count}", *told])


def _told(problem: Problem, lines: Lines) -> str:
    line = _line(problem.pointer, lines)
    where = " ".join(
        part for part in (None if line is None else f"line {line}", problem.pointer) if part
    )
    return f"  {where}\n    {problem.detail}" if where else f"  {problem.detail}"


def _line(pointer: str, lines: Lines) -> int | None:
    """Line of the value, or of the nearest value around it."""
    while pointer and pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer) if pointer else None
