"""Consoles: a readable width, and plain text where no terminal reads it."""

from collections.abc import Sequence
from typing import IO

from rich.console import Console, RenderableType

__all__ = ["MIN_WIDTH", "make_console", "print_plainly"]

MIN_WIDTH, PLAIN_WIDTH, MAX_WIDTH = 80, 100, 120
_ASCII = str.maketrans(
    {
        **dict.fromkeys("╭╮╰╯", "+"),
        **dict.fromkeys("─━–", "-"),
        "│": "|",
        "→": ">",
        "×": "x",
        "█": "#",
        "░": ".",
        "·": "|",
        "≤": "<=",
        "≥": ">=",
        "✔": "ok:",
        "✘": "no:",
        "…": "...",
    }
)


def make_console(file: IO[str] | None = None) -> Console:
    """A console of a readable width; plain where the output is not a terminal."""
    console = Console(file=file, highlight=False)
    width = console.width if console.is_terminal else PLAIN_WIDTH
    console.width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    return console


def print_plainly(console: Console, parts: Sequence[RenderableType]) -> None:
    """Print without trailing blanks where no terminal needs them, in ASCII where it must be."""
    if console.is_terminal and not console.options.ascii_only:
        console.print(*parts, sep="\n")
        return
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    text = "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    console.file.write(text.translate(_ASCII) if console.options.ascii_only else text)
