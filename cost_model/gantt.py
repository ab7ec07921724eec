"""Who was busy when: the rows of a Gantt chart."""

from dataclasses import dataclass
from typing import Literal

from cost_model.simulated_pipeline import Phase

__all__ = ["GANTT_COLUMNS", "GanttRow"]

GANTT_COLUMNS = ("machine", "kind", "phase", "micro_batch", "round", "start_s", "end_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttRow:
    """
    One micro-batch on one stage or link.

    Parameters
    ----------
    machine
        ``stage 1``, or the name of the link.
    kind
        ``stage`` or ``link``.
    phase
        Phase of the micro-batch.
    micro_batch
        Its number within the phase, from 1.
    round
        0 in prefill; the decode step, from 1: step r produces token r + 1.
    start_s, end_s
        Seconds from the start of the batch.
    """

    machine: str
    kind: Literal["stage", "link"]
    phase: Phase
    micro_batch: int
    round: int
    start_s: float
    end_s: float
