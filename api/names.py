"""Names of the catalogues: what a user's name was read as, and which were close to a wrong one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

from profiles.errors import InputError

__all__ = ["alias_warnings", "closest", "found"]

Entry = TypeVar("Entry")
MAX_CLOSE = 3
CUTOFF = 0.6


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Names that hold this one, else those spelt much like it; at most three, nearest first."""
    lowered = {each.lower(): each for each in known}
    wanted = name.lower()
    holding = [each for low, each in lowered.items() if len(wanted) > 1 and wanted in low]
    alike = get_close_matches(wanted, lowered, n=MAX_CLOSE, cutoff=CUTOFF)
    return (holding or [lowered[low] for low in alike])[:MAX_CLOSE]


def found(
    find: Callable[[str, str], Entry], name: str, pointer: str, known: Iterable[str], hint: str = ""
) -> Entry:
    """
    The entry of a catalogue by name.

    Parameters
    ----------
    find
        Looks it up: name and pointer.
    name, pointer
        What the user wrote, and where.
    known
        Names to suggest from.
    hint
        What else one can do, for the error.

    Raises
    ------
    InputError
        When there is none, with the closest names first.
    """
    try:
        return find(name, pointer)
    except InputError as error:
        close = closest(name, known)
        meant = f" Did you mean {_or(close)}?" if close else ""
        text = str(error).replace(" Known:", f"{meant} Known:", 1)
        raise InputError(f"{text} {hint}".rstrip(), pointer=error.pointer) from error


def _or(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def alias_warnings(
    names: Iterable[str], aliases: Mapping[str, str], known: Sequence[str]
) -> Iterator[str]:
    """
    A line for every name that stands for another one.

    Parameters
    ----------
    names
        As the user wrote them.
    aliases
        Name of the catalogue by lower-case alias.
    known
        Names of the catalogue.
    """
    lower = {name.lower() for name in known}
    for name in dict.fromkeys(names):
        target = aliases.get(name.lower())
        # Repository names are exact; they could not mean anything else.
        if target is None or name.lower() in lower or "/" in name:
            continue
        others = [k for k in known if k != target and k.lower().startswith(name.lower())]
        advice = f"; write {_or(others)} if that is what you have" if others else ""
        yield f"{name} is read as {target}{advice}."
