"""
The journal of a measurement: a line per visit, only ever added to.

Line 1 says what is measured, where and how; each later line is one visit, or one place that did
not fit the memory. A measurement that was killed goes on from its journal. A last line that was cut
off in the writing is dropped; any other line that cannot be read is named.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

from cost_model.lookup import Phase
from cost_model.profiler.subjects import Place, Reading, Subject, reading_of
from profiles.errors import InputError

__all__ = ["Journal", "Visit"]

VERSION = 1
_HEADER, _VISIT, _TOO_LARGE = "profile", "visit", "too-large"
_VARIES = "started"
"""The part of the header that may differ when a measurement goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """
    One stay at a place.

    Parameters
    ----------
    seconds
        Of one run of the layer: the median over the runs of this stay.
    runs
        How many there were, warm-up aside.
    anchor_s
        The same at the subject's anchor just before; None as a bench returns it.
    clock_mhz
        Clock of the device right after; None where it is not told.
    """

    seconds: float
    runs: int
    anchor_s: float | None = None
    clock_mhz: float | None = None


@dataclass(slots=True, eq=False)
class Journal:
    """
    What was measured so far, kept in a file.

    Parameters
    ----------
    path
        The file.
    header
        Its first line.
    visits
        By subject and place, in the order of the file.
    too_large
        Places of a subject that did not fit the memory.
    share
        Of the visits to an anchor, the fastest, that count; see `reading_of`.
    """

    path: Path
    header: Mapping[str, Any]
    share: float = 1.0
    visits: dict[Subject, dict[Place, list[Visit]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    too_large: dict[Subject, set[Place]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def open(cls, path: Path, header: Mapping[str, Any], share: float = 1.0) -> "Journal":
        """
        Begin a journal, or go on with the one that is there.

        Parameters
        ----------
        path
            The file.
        header
            What is measured, where and how; plain JSON values.
        share
            See `reading_of`.

        Raises
        ------
        InputError
            When the file belongs to another measurement, or a line of it cannot be read.
        """
        plain = json.loads(json.dumps({"kind": _HEADER, "version": VERSION, **header}))
        if not path.is_file() or not _without_cut_line(path):
            journal = cls(path, plain, share)
            journal._append(plain)
            return journal
        journal = cls.read(path, share)
        _check_header(journal, plain)
        return journal

    @classmethod
    def read(cls, path: Path, share: float = 1.0) -> "Journal":
        """
        Read a journal as it is.

        Raises
        ------
        InputError
            Naming the file and the line that cannot be read.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} cannot be read as text ({error}); choose another --output."
            ) from None
        journal = cls(path, {}, share)
        for number, line in enumerate(lines, start=1):
            try:
                journal._take(json.loads(line), is_first=number == 1)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}, line {number}: it is not a line of a journal ({_reason(error)}). "
                    "Take the line out to measure its place again, or the file to begin anew."
                ) from None
        return journal

    def _take(self, line: Mapping[str, Any], *, is_first: bool) -> None:
        kind = line["kind"]
        if is_first != (kind == _HEADER):
            raise ValueError(f"kind is {kind!r}; the header stands first, and once")
        if is_first:
            if line["version"] != VERSION:
                raise ValueError(f"version is {line['version']!r}, not {VERSION}")
            self.header = line
            return
        subject, place = Subject(**line["subject"]), Place(line["batch"], line["tokens"])
        _check_place(subject, place)
        if kind == _TOO_LARGE:
            self.too_large[subject].add(place)
        elif kind == _VISIT:
            seconds, anchor_s = (_seconds(line, name) for name in ("s", "anchor_s"))
            clock = line["clock_mhz"]
            visit = Visit(seconds=seconds, runs=line["runs"], anchor_s=anchor_s, clock_mhz=clock)
            self.visits[subject][place].append(visit)
        else:
            raise ValueError(f"kind is {kind!r}")

    # -- adding ---------------------------------------------------------------------------------

    def add(self, subject: Subject, place: Place, visit: Visit) -> None:
        """Keep a visit; it is in the file when this returns."""
        self.visits[subject][place].append(visit)
        self._append(
            _line(_VISIT, subject, place)
            | {"s": visit.seconds, "anchor_s": visit.anchor_s}
            | {"runs": visit.runs, "clock_mhz": visit.clock_mhz}
        )

    def add_too_large(self, subject: Subject, place: Place, reason: str) -> None:
        """Keep that a place does not fit the memory."""
        self.too_large[subject].add(place)
        self._append(_line(_TOO_LARGE, subject, place) | {"reason": reason})

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}. Choose another --output."
            ) from None

    # -- reading --------------------------------------------------------------------------------

    def readings(self, subject: Subject) -> dict[Place, Reading]:
        """
        What the visits to each place of a subject say.

        Each visit counts by its ratio to the anchor's just before, so that a machine that is slower
        for a while is so for both; the ratios' median is scaled by the anchor's own time, which
        all visits of the subject tell together.
        """
        found = self.visits.get(subject, {})
        anchors = [v.anchor_s for visits in found.values() for v in visits if v.anchor_s]
        if not anchors:
            return {}
        level = reading_of(anchors, self.share).seconds
        readings = {}
        for place, visits in found.items():
            ratios = reading_of([v.seconds / v.anchor_s for v in visits if v.anchor_s])
            readings[place] = replace(ratios, seconds=ratios.seconds * level)
        return readings

    @property
    def num_visits(self) -> int:
        """Visits to all places."""
        return sum(len(v) for places in self.visits.values() for v in places.values())


def _check_header(journal: Journal, header: Mapping[str, Any]) -> None:
    for name in sorted({*header, *journal.header} - {_VARIES}):
        old, new = journal.header.get(name), header.get(name)
        if old != new:
            raise InputError(
                f"{journal.path} was begun with {name} {_short(old)}, but this run has "
                f"{_short(new)}. Say the same to go on with it, or choose another --output."
            )


def _line(kind: str, subject: Subject, place: Place) -> dict[str, Any]:
    return {"kind": kind, "subject": subject.as_dict(), **place._asdict()}


def _check_place(subject: Subject, place: Place) -> None:
    if subject.phase not in cast("tuple[str, ...]", get_args(Phase)):
        raise ValueError(f"phase is {subject.phase!r}")
    for name, value in (*place._asdict().items(), ("tp", subject.tp)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _seconds(line: Mapping[str, Any], name: str) -> float:
    value = line[name]
    if not (isinstance(value, float) and 0 < value < float("inf")):
        raise ValueError(f"{name} is {value!r}; it must be a positive number of seconds")
    return value


def _without_cut_line(path: Path) -> bool:
    """Drop a last line that has no end; whether any line is left."""
    with path.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
    return whole > 0


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
