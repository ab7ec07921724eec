"""What a device has to offer to be measured, and the loop that measures on it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from cost_model.profiler.journal import Journal, Visit
from cost_model.profiler.refinement import Refined, refine
from cost_model.profiler.subjects import Place, Span, Subject
from profiles.errors import HetplanError

__all__ = [
    "Bench",
    "DoesNotFitError",
    "MeasuringEvent",
    "measure",
    "refined_of",
    "visit_with_anchor",
]


class DoesNotFitError(HetplanError):
    """A layer, its cache or its activations are larger than the memory that is free."""


class Bench(Protocol):
    """A device with kernels on it."""

    def visit(self, subject: Subject, place: Place) -> Visit:
        """
        Run a subject at a place for a short while.

        Raises
        ------
        DoesNotFitError
            When the memory does not suffice.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringEvent:
    """
    How far a measurement is.

    Parameters
    ----------
    visits_done, visits_known
        Visits made, and those known to be needed so far: refinement adds to them.
    subject, place
        What comes next.
    """

    visits_done: int
    visits_known: int
    subject: Subject
    place: Place


def refined_of(
    journal: Journal, spans: Mapping[Subject, Span], *, tolerance: float, visits: int
) -> dict[Subject, Refined]:
    """What the journal says about every subject; see `refine`."""
    return {
        subject: refine(
            span,
            journal.readings(subject),
            blocked=frozenset(journal.too_large.get(subject, ())),
            tolerance=tolerance,
            visits=visits,
        )
        for subject, span in spans.items()
    }


def measure(
    bench: Bench,
    spans: Mapping[Subject, Span],
    journal: Journal,
    *,
    tolerance: float,
    visits: int,
    stopped: Callable[[], bool] = lambda: False,
    on_event: Callable[[MeasuringEvent], None] = lambda _: None,
) -> bool:
    """
    Visit places until every subject's table is fine enough.

    All places that are wanted at a time are visited in turn, again and again and every other time
    in reverse order, each right after its subject's anchor, so that what changes slowly (a clock, a
    neighbour's load) meets all alike.

    Parameters
    ----------
    bench
        The device.
    spans
        What to measure, and over which places.
    journal
        Keeps every visit; what it holds already is not measured again.
    tolerance, visits
        See `refine`.
    stopped
        Asked before every visit; once true, the measurement ends.
    on_event
        Told before every visit.

    Returns
    -------
    bool
        Whether all is done; False when ``stopped`` ended it.
    """
    while True:
        refined = refined_of(journal, spans, tolerance=tolerance, visits=visits)
        wave = [(s, p, n) for s, each in refined.items() for p, n in each.wanted.items()]
        if not wave:
            return True
        for subject, place, known in _turns(journal, wave):
            if stopped():
                return False
            done = journal.num_visits
            on_event(
                MeasuringEvent(
                    visits_done=done, visits_known=done + known, subject=subject, place=place
                )
            )
            visit_with_anchor(bench, journal, spans, subject, place)


def _turns(
    journal: Journal, wave: list[tuple[Subject, Place, int]]
) -> Iterator[tuple[Subject, Place, int]]:
    """Subject and place of every visit of a wave, with the number still to come."""

    def missing(subject: Subject, place: Place, needed: int) -> int:
        if place.is_beyond(journal.too_large.get(subject, ())):
            return 0
        return max(needed - len(journal.visits.get(subject, {}).get(place, ())), 0)

    backward = False
    while left := [each for each in sorted(wave) if missing(*each)]:
        for subject, place, needed in reversed(left) if backward else left:
            if not missing(subject, place, needed):
                continue
            yield subject, place, sum(missing(*each) for each in wave)
        backward = not backward


def visit_with_anchor(
    bench: Bench, journal: Journal, spans: Mapping[Subject, Span], subject: Subject, place: Place
) -> None:
    """Visit a subject's anchor and then a place of it, and keep both, or what did not fit."""
    span, blocked = spans[subject], journal.too_large.get(subject, set())
    anchor = span.lowest if span.anchor.is_beyond(blocked) else span.anchor
    at = anchor
    try:
        anchor_s = bench.visit(subject, at).seconds
        at = place
        visit = bench.visit(subject, at)
    except DoesNotFitError as error:
        journal.add_too_large(subject, at, str(error))
    else:
        journal.add(subject, place, replace(visit, anchor_s=anchor_s))
