"""How the command line tells what went wrong: one text on standard error, and an exit code."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer

from api.problems import InvalidRequestError, Problem
from api.reading import Lines
from profiles.errors import BackendError, HetplanError, InputError

__all__ = ["BAD_INPUT", "NO_PLAN", "STANDARD_INPUT", "stop", "telling"]

BAD_INPUT, NO_PLAN = 2, 4
STANDARD_INPUT = "-"


@contextmanager
def telling(
    source: str, lines: Lines | None = None, options: Mapping[str, str] | None = None
) -> Iterator[None]:
    """
    Turn expected failures of the block into one text and exit code 2; the solver's into 4.

    Parameters
    ----------
    source
        File that was read.
    lines
        Lines of its values, by JSON pointer.
    options
        Options of the command line, by the pointers of the values that they gave.
    """
    try:
        yield
    except InvalidRequestError as error:
        stop(_blocks(error.problems, source, lines or {}, options or {}))
    except InputError as error:
        stop(_blocks([Problem(error.pointer, str(error))], source, lines or {}, options or {}))
    except BackendError as error:
        stop(f"The solver failed on {_name(source)}: {error}", NO_PLAN)
    except HetplanError as error:
        stop(_block([Problem("", str(error))], source, {}))


def stop(text: str, code: int = BAD_INPUT) -> NoReturn:
    """Print to standard error and end the program."""
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _name(source: str) -> str:
    return "standard input" if source == STANDARD_INPUT else source


def _blocks(
    problems: Sequence[Problem], source: str, lines: Lines, options: Mapping[str, str]
) -> str:
    """What is wrong in the options, then what is wrong in the file."""
    of_options = [
        Problem(options[at.pointer], _of_option(at, options[at.pointer]))
        for at in problems
        if at.pointer in options
    ]
    others = [at for at in problems if at.pointer not in options]
    texts = [_block(of_options, "the options", {})] if of_options else []
    return "\n".join([*texts, *([_block(others, source, lines)] if others else [])])


def _of_option(problem: Problem, option: str) -> str:
    """The problem in the words of the command line: ``--gap is 5`` for ``solver.gap is 5``."""
    field = problem.pointer.strip("/").replace("/", ".")
    is_named = problem.detail.startswith(f"{field} ")
    return f"{option}{problem.detail.removeprefix(field)}" if is_named else problem.detail


def _block(problems: Sequence[Problem], source: str, lines: Lines) -> str:
    count = f"{len(problems)} errors" if len(problems) > 1 else "1 error"
    told = [_told(problem, lines) for problem in problems]
    return "\n".join([f"Bad input in {_name(source)}: {count}", *told])


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
