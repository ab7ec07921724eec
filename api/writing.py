"""Answers to standard output or a file, as text or as JSON."""

from collections.abc import Callable
from pathlib import Path

import typer
from pydantic import BaseModel
from rich.console import Console

from api.console import make_console
from api.telling import stop

__all__ = ["write_answer", "write_text"]


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
        The file; None is standard output. A name ending in .json is written as JSON.
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
            if as_json or output.suffix == ".json":
                file.write(answer.model_dump_json(indent=2) + "\n")
            else:
                show(make_console(file))
    except OSError as error:
        stop(f"{output} cannot be written: {error.strerror}. Choose another --output.")


def write_text(text: str, path: Path, option: str) -> None:
    """Write a text to a file; ends the program, naming the option, where that is not possible."""
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        stop(f"{path} cannot be written: {error.strerror}. Choose another {option}.")
