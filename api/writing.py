"""Answers to standard output or a file, as text or as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import realpath
from pathlib import Path

import typer
from pydantic import BaseModel
from rich.console import Console

from api.console import make_console
from api.telling import stop

__all__ = [
    "Outputs",
    "check_suffix",
    "keep_inputs",
    "wants_json",
    "write_answer",
    "write_bytes",
    "write_text",
]

JSON, YAML = (".json",), (".yaml", ".yml")
Outputs = Mapping[str, Path | None]
"""Files to write by the option that names them; None where it is not given."""


def wants_json(form: str | None, output: Path | None) -> bool:
    """
    Whether to write JSON, not text; ends the program where the file's name asks for neither.

    Parameters
    ----------
    form
        ``json`` or ``text``; None leaves it to the file's name.
    output
        The file; None is standard output.
    """
    if form is not None:
        return form == "json"
    suffix = "" if output is None else output.suffix.lower()
    if suffix in YAML:
        stop(
            f"--output is {output}; answers are written as JSON or text, not as YAML. Choose a "
            "name that ends in .json or .txt, or say which with --format."
        )
    return suffix in JSON


def keep_inputs(outputs: Outputs, inputs: Iterable[Path]) -> None:
    """
    End the program where a file would be written over one that is read, or over another output.

    Parameters
    ----------
    outputs
        Files to write.
    inputs
        Files that are read.
    """
    taken = {"an input": list(inputs), "another output": list[Path]()}
    for option, output in outputs.items():
        if output is None:
            continue
        for what, files in taken.items():
            if any(_is_same(output, file) for file in files):
                stop(f"{option} is {output}, which is {what} of this run; choose another {option}.")
        taken["another output"].append(output)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, links followed."""
    try:
        return realpath(one) == realpath(other) or one.samefile(other)
    except (OSError, ValueError):  # a file that is not there, a name that no file can have
        return False


def write_answer(
    answer: BaseModel, show: Callable[[Console], None], output: Path | None, *, as_json: bool
) -> None:
    """
    Write an answer; ends the program where that is not possible.

    Parameters
    ----------
    answer
        What to write.
    show
        Prints it as text.
    output
        The file; None is standard output.
    as_json
        Whether to write JSON, not text.
    """
    if output is None:
        if as_json:
            typer.echo(answer.model_dump_json(indent=2))
        else:
            show(make_console())
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            if as_json:
                file.write(answer.model_dump_json(indent=2) + "\n")
            else:
                show(make_console(file))
    except OSError as error:
        stop(f"{output} cannot be written: {error.strerror}. Choose another --output.")


def check_suffix(path: Path, option: str, suffixes: Sequence[str]) -> None:
    """End the program where a file of an option has another suffix than these."""
    if path.suffix.lower() not in suffixes:
        *most, last = suffixes
        stop(f"{option} is {path}; its name must end in {', '.join(most)} or {last}.")


def write_text(text: str, path: Path, option: str) -> None:
    """Write a text to a file; ends the program, naming the option, where that is not possible."""
    write_bytes(text.encode(), path, option)


def write_bytes(content: bytes, path: Path, option: str) -> None:
    """Write bytes to a file; ends the program, naming the option, where that is not possible."""
    try:
        path.write_bytes(content)
    except OSError as error:
        stop(f"{path} cannot be written: {error.strerror}. Choose another {option}.")
