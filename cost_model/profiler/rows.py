"""From readings to the rows of a cost table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cost_model.answer import FULL_BITS
from cost_model.communication import all_reduce_s
from cost_model.profiler.bench import refined_of
from cost_model.profiler.journal import Journal
from cost_model.profiler.refinement import Check
from cost_model.profiler.subjects import EMBEDDING, HEAD, Place, Span, Subject
from profiles.architecture import Model
from profiles.formats import find_format
from profiles.links import Link
from profiles.table_schema import COLUMNS, PHASES
from profiles.units import US

__all__ = ["ROW_COLUMNS", "TableMaker"]

_EXTRA = ("noise_percent", "visits", "clock_mhz")
ROW_COLUMNS = (*COLUMNS, *_EXTRA)
"""Columns of a profiled table: the schema's, and what says how sure a row is."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMaker:
    """
    Makes rows of a table.

    Parameters
    ----------
    gpu
        The device, as the table is to call it.
    model
        Whose layers were measured.
    source
        What the column ``source`` says.
    group_sizes
        Group size of each kernel by (engine, kernel, format); None for none.
    link
        Joins the GPUs of a tensor-parallel group; None where every ``tp`` is 1. Its all-reduces
        are added, for a part of a layer is measured on one GPU.
    tolerance, visits
        See `refine`.
    """

    gpu: str
    model: Model
    source: str
    group_sizes: Mapping[tuple[str, str, str], int | None]
    link: Link | None
    tolerance: float
    visits: int

    def rows(self, journal: Journal, spans: Mapping[Subject, Span]) -> list[Row]:
        """A row for every point of the table, unfinished subjects included as far as they are."""
        refined = refined_of(journal, spans, tolerance=self.tolerance, visits=self.visits)
        return [
            row
            for subject, each in refined.items()
            for row in self._of_subject(journal, subject, spans[subject], each.places)
        ]

    def checks(self, journal: Journal, spans: Mapping[Subject, Span]) -> dict[Subject, list[Check]]:
        """The checks of settled intervals: what interpolation said where it was measured."""
        refined = refined_of(journal, spans, tolerance=self.tolerance, visits=self.visits)
        return {subject: list(each.checks) for subject, each in refined.items()}

    def _of_subject(
        self, journal: Journal, subject: Subject, span: Span, places: Sequence[Place]
    ) -> Iterator[Row]:
        readings = journal.readings(subject)
        for place in places:
            reading = readings[place]
            clocks = [visit.clock_mhz for visit in journal.visits[subject][place]]
            told = [clock for clock in clocks if clock is not None]
            added = self._communication_s(subject, place)
            for tokens, phase in _repeated(subject, span, place):
                yield self._key(subject, phase) | {
                    "batch": place.batch,
                    "tokens": tokens,
                    "latency_us": float(f"{(reading.seconds + added) / US:.6g}"),
                    "source": self._source(subject),
                    "provenance": self._provenance(subject),
                    "noise_percent": round(100 * reading.noise, 2),
                    "visits": reading.visits,
                    "clock_mhz": round(float(np.median(told))) if told else None,
                }

    def _key(self, subject: Subject, phase: str) -> Row:
        form = find_format(subject.format)
        return {
            "gpu": self.gpu,
            "engine": subject.engine,
            "model": self.model.name,
            "layer_kind": subject.layer_kind,
            "kernel": subject.kernel,
            "weight_bits": form.weight_bits,
            "act_bits": form.act_bits,
            "kv_bits": FULL_BITS,
            "group_size": self.group_sizes[subject.engine, subject.kernel, subject.format],
            "tp": subject.tp,
            "phase": phase,
        }

    # -- tensor parallel ------------------------------------------------------------------------

    def _communication_s(self, subject: Subject, place: Place) -> float:
        """All-reduces of a layer or an embedding, the gather of a head; see `cost_model.ends`."""
        if subject.tp == 1 or self.link is None:
            return 0.0
        rows = place.batch * (place.tokens if subject.phase == "prefill" else 1)
        if subject.layer_kind == HEAD:
            num_bytes, times = place.batch * self.model.vocab * FULL_BITS / 8 / 2, 1
        else:
            num_bytes = rows * self.model.hidden * FULL_BITS / 8
            times = 1 if subject.layer_kind == EMBEDDING else 2
        one = all_reduce_s(self.link, np.array([num_bytes]), subject.tp)
        return times * float(one[0])

    def _source(self, subject: Subject) -> str:
        if subject.tp == 1 or self.link is None:
            return self.source
        return f"{self.source}; all-reduce of {self.link.name} added: {self.link.source}"

    def _provenance(self, subject: Subject) -> str:
        """``measured``, unless all-reduces that nobody measured were added."""
        if subject.tp == 1 or self.link is None or self.link.provenance == "measured":
            return "measured"
        return "analytic"


def _repeated(subject: Subject, span: Span, place: Place) -> list[tuple[int, str]]:
    """Tokens and phases that a reading answers; that of a head, both phases."""
    if span.repeats is None:
        return [(place.tokens, subject.phase)]
    phases = PHASES if subject.layer_kind == HEAD else (subject.phase,)
    return [(tokens, phase) for phase in phases for tokens in sorted(set(span.repeats))]
