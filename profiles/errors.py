"""
Errors of hetplan. All are expected outcomes with a text for the user; bugs keep their own types.

HetplanError
├── InputError            something in the request, a table or a catalogue name is wrong
│   └── TableError        a row of a cost table is wrong (names file and line)
├── MissingProfileError   no measurement and no calibrated model answers what was asked
└── BackendError          a solver stopped in a way that gives no answer
"""

from collections.abc import Sequence

__all__ = [
    "BackendError",
    "HetplanError",
    "InputError",
    "MissingProfileError",
    "TableError",
    "unknown_name",
]


class HetplanError(Exception):
    """Root of every expected failure."""


class InputError(HetplanError):
    """
    A value from the user cannot be used.

    Parameters
    ----------
    message
        What was found, what is allowed, what to do.
    pointer
        JSON pointer (RFC 6901) to the value within the request; empty for the whole.
    """

    def __init__(self, message: str, *, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


class TableError(InputError):
    """
    A cost table breaks the schema.

    Parameters
    ----------
    message
        What is wrong and what is allowed.
    file, line
        Where; ``line`` counts from 1 with the header as line 1, and is None for the whole file.
    """

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        where = file if line is None else f"{file}, line {line}"
        super().__init__(f"{where}: {message}", pointer="/tables")
        self.file = file
        self.line = line


class MissingProfileError(HetplanError):
    """No table row, interpolation or calibrated model covers a question about cost."""


class BackendError(HetplanError):
    """A solver ended in a state that is neither a solution nor a proof."""


def unknown_name(kind: str, name: object, known: Sequence[str], *, pointer: str = "") -> InputError:
    """An `InputError` for a name that no catalogue has, listing the names there are."""
    return InputError(f"Unknown {kind} {name!r}. Known: {', '.join(known)}.", pointer=pointer)
