"""
Which points a table needs, so that interpolation between them is right to a tolerance.

A table interpolates along lines of equal tokens, then between lines, on logarithms of both
(`cost_model.grid`). Starting from a coarse grid, the middle of every interval is measured and set
beside what the table would say there; where that is off by more than the tolerance, and by more
than noise explains, the middle becomes a point and both halves are asked in turn. Nothing is
remembered between calls: the same readings always want the same points, which is what lets a
measurement that was cut off go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from math import log, sqrt

import numpy as np

from cost_model.grid import Grid, GridPoint
from cost_model.profiler.subjects import Place, Reading, Span
from cost_model.source import Source

__all__ = ["COARSEST", "Check", "Refined", "refine"]

COARSEST = 8.0
"""Most that neighbours of the first grid are apart, as a ratio."""
FINEST = 1.2
"""Neighbours this close are not halved any further."""
_SIGMAS = 2.0
_HALVED = 1.5
"""Halving an interval divides its error by four where the curve is smooth, by two at a kink: an
error of no more than this many tolerances needs no second look."""
_MOST_ROUNDS = 3
"""A noisy place is visited this many times as often."""


@dataclass(frozen=True, slots=True)
class Check:
    """
    A measured middle of an interval beside what the table says there without it.

    Parameters
    ----------
    place
        Where.
    error
        Predicted over measured seconds, less 1.
    noise
        Relative standard error of that comparison.
    is_in_table
        Whether the point was then made one of the table.
    """

    place: Place
    error: float
    noise: float
    is_in_table: bool


@dataclass(frozen=True, slots=True)
class Refined:
    """
    What a subject's readings say.

    Parameters
    ----------
    wanted
        Places to visit next, with the number of visits each needs in all; empty when done.
    places
        Points of the table so far.
    checks
        The last check of every interval that is settled.
    """

    wanted: Mapping[Place, int]
    places: tuple[Place, ...]
    checks: tuple[Check, ...]

    @property
    def is_done(self) -> bool:
        """Whether the table is as fine as it needs to be."""
        return not self.wanted


def refine(
    span: Span,
    readings: Mapping[Place, Reading],
    *,
    blocked: frozenset[Place] = frozenset(),
    tolerance: float,
    visits: int,
) -> Refined:
    """
    The points that a subject's table has and still needs.

    Parameters
    ----------
    span
        What the table is to cover.
    readings
        What was measured.
    blocked
        Places that do not fit the memory, nor then any larger one.
    tolerance
        Relative error that is good enough, such as 0.02.
    visits
        Visits that a place needs; twice as many where noise leaves a check in doubt.
    """
    refiner = _Refiner(readings, blocked, tolerance, visits)
    refiner.fill(span)
    return Refined(refiner.wanted, tuple(sorted(set(refiner.places))), tuple(refiner.checks))


class _Verdict(IntEnum):
    """What interpolation is worth in an interval, the worst last."""

    RIGHT = 0
    RIGHT_ONCE_HALVED = 1
    WRONG = 2


class _Refiner:
    def __init__(
        self,
        readings: Mapping[Place, Reading],
        blocked: frozenset[Place],
        tolerance: float,
        visits: int,
    ) -> None:
        self._readings, self._blocked = readings, blocked
        self._tolerance, self._visits = tolerance, visits
        self.wanted: dict[Place, int] = {}
        self.places: list[Place] = []
        self.checks: list[Check] = []

    def fill(self, span: Span) -> None:
        """Refine every line of the coarse grid, then the intervals between lines."""
        batches = span.axis("batch", COARSEST)
        lines = {tokens: self._line(tokens, batches) for tokens in span.axis("tokens", COARSEST)}
        if self.wanted:
            return
        for low, high in pairwise(sorted(tokens for tokens, line in lines.items() if line)):
            self._between_lines(lines[low], lines[high], batches)

    # -- along a line ---------------------------------------------------------------------------

    def _line(self, tokens: int, batches: Sequence[int]) -> list[Place]:
        """Points of a line, all that are known; its places are those of the table."""
        ends = self._reachable([Place(batch, tokens) for batch in batches])
        known = [place for place in ends if self._read(place) is not None]
        line = list(known)
        if len(known) == len(ends):
            for low, high in pairwise(ends):
                line += self._between(low, high)
        self.places += line
        return sorted(line)

    def _between(self, low: Place, high: Place) -> list[Place]:
        """Points inside an interval of a line."""
        middle = _middle_batch(low, high)
        if middle is None:
            return []
        verdict = self._verdict(middle, [low, high], [low, high], keeps=True)
        if verdict is None:
            return []
        if verdict is not _Verdict.WRONG:
            return [middle]
        return [*self._between(low, middle), middle, *self._between(middle, high)]

    def _reachable(self, places: list[Place]) -> list[Place]:
        """Those places that fit the memory, and beyond them the largest found to."""
        fitting = [place for place in places if not self._is_blocked(place)]
        if fitting and len(fitting) < len(places):
            low, high = fitting[-1], places[len(fitting)]
            while (middle := _middle_batch(low, high)) and high.batch > 2 * low.batch:
                if not self._is_blocked(middle):
                    return [*fitting, middle]
                high = middle
        return fitting

    # -- between lines --------------------------------------------------------------------------

    def _between_lines(self, low: list[Place], high: list[Place], batches: Sequence[int]) -> None:
        tokens = _middle(low[0].tokens, high[0].tokens)
        if tokens is None:
            return
        tests = [Place(batch, tokens) for batch in _shared_batches(low, high)]
        alone = len(batches) == 1
        found = [
            self._verdict(test, [*low, *high], _around(test, low, high), keeps=alone)
            for test in tests
            if not self._is_blocked(test)
        ]
        known = [each for each in found if each is not None]
        worst = max(known, default=_Verdict.RIGHT)
        if worst is not _Verdict.RIGHT:
            line = self._line(tokens, batches)
            if worst is _Verdict.WRONG and not self.wanted and line:
                self._between_lines(low, line, batches)
                self._between_lines(line, high, batches)
        elif alone and len(known) == len(tests):
            self.places += tests

    # -- readings -------------------------------------------------------------------------------

    def _is_blocked(self, place: Place) -> bool:
        return place.is_beyond(self._blocked)

    def _read(self, place: Place, visits: int | None = None) -> Reading | None:
        """The reading of a place; where it needs more visits, these are noted as wanted."""
        needed = self._visits if visits is None else visits
        reading = self._readings.get(place)
        if reading is not None and reading.visits >= needed:
            most = _MOST_ROUNDS * self._visits
            if reading.noise <= self._tolerance or reading.visits >= most:
                return reading
            needed = min((reading.visits // self._visits + 1) * self._visits, most)
        self.wanted[place] = max(needed, self.wanted.get(place, 0))
        return None

    def _verdict(
        self, test: Place, line: Sequence[Place], ends: Sequence[Place], *, keeps: bool
    ) -> "_Verdict | None":
        """What the table is worth at a place; None while that is not known."""
        if self._is_blocked(test):
            return _Verdict.RIGHT
        reading = self._read(test)
        if reading is None:
            return None
        predicted = _predicted(test, line, self._readings)
        noise = reading.noise_with(*(self._readings[end] for end in ends))
        error = abs(log(predicted / reading.seconds))
        is_clear = error > _SIGMAS * noise
        if error > self._tolerance and not is_clear and self._read(test, 2 * self._visits) is None:
            return None
        if is_clear and error > _HALVED * self._tolerance:
            return _Verdict.WRONG
        is_right = error <= self._tolerance or not is_clear
        if is_right:
            self.checks.append(Check(test, predicted / reading.seconds - 1, noise, keeps))
        return _Verdict.RIGHT if is_right else _Verdict.RIGHT_ONCE_HALVED


def _predicted(test: Place, line: Sequence[Place], readings: Mapping[Place, Reading]) -> float:
    points = [GridPoint(*place, readings[place].seconds, Source.MEASURED) for place in line]
    seconds, _ = Grid(points).at(np.array([test.batch]), test.tokens)
    return float(seconds[0])


def _middle(low: int, high: int) -> int | None:
    """The whole number in the middle of two on a logarithmic scale; None where too close."""
    middle = round(sqrt(low * high))
    return middle if low < middle < high and high > FINEST * low else None


def _middle_batch(low: Place, high: Place) -> Place | None:
    middle = _middle(low.batch, high.batch)
    return None if middle is None else Place(middle, low.tokens)


def _shared_batches(low: Sequence[Place], high: Sequence[Place]) -> list[int]:
    """First, middle and last batch of the shorter of two lines."""
    shorter = min(low, high, key=lambda line: line[-1].batch)
    return sorted({shorter[0].batch, shorter[len(shorter) // 2].batch, shorter[-1].batch})


def _around(test: Place, low: Sequence[Place], high: Sequence[Place]) -> list[Place]:
    """The point nearest in batch on each of two lines."""
    return [min(line, key=lambda place: abs(place.batch - test.batch)) for line in (low, high)]
