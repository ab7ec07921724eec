"""A small Gantt chart in text: who computes when, at the start of each phase."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from api.schemas.simulation import GanttRowReport, SimulationAnswer
from cost_model.gantt import GanttRow

__all__ = ["PICTURE_ROUNDS", "AnyGanttRow", "gantt_picture", "gantt_windows"]

AnyGanttRow = GanttRow | GanttRowReport
"""A row of a replay, or of an answer."""
PICTURE_ROUNDS = 3
"""Decode rounds that the picture needs as rows."""
MOSTLY, PARTLY = 2 / 3, 1 / 6
NAME_WIDTH, LEAST_COLUMNS = 12, 16


def gantt_picture(answer: SimulationAnswer, width: int) -> Table | None:
    """
    The picture; None where the answer has no rows.

    Parameters
    ----------
    answer
        One with the rows of at least `PICTURE_ROUNDS` first rounds.
    width
        Columns there are.
    """
    rows = [row for row in answer.gantt if row.kind == "stage"]
    if not rows:
        return None
    windows = gantt_windows(rows)
    columns = max(LEAST_COLUMNS, (width - NAME_WIDTH) // len(windows) - 2)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row("", *(Text(_title(name, window), style="dim") for name, window in windows))
    for stage in range(1, len(answer.stages) + 1):
        own = [row for row in rows if row.machine == f"stage {stage}"]
        bars = [_bar(own, window, columns) for _, window in windows]
        table.add_row(f"stage {stage}", *bars)
    return table


def gantt_windows(rows: Sequence[AnyGanttRow]) -> list[tuple[str, tuple[float, float]]]:
    """
    Stretches of time of which the rows tell everything: ``start`` or ``prefill``, and ``decode``.

    Parameters
    ----------
    rows
        Rows of stages, with all of prefill and the first decode rounds.

    Returns
    -------
    list of (str, (float, float))
        Name, first and last second of each.
    """
    prefill_end_s = max(row.end_s for row in rows if row.phase == "prefill")
    decode = [row for row in rows if row.phase == "decode"]
    if not decode:
        return [("prefill", (0.0, prefill_end_s))]
    num_stages = len({row.machine for row in rows})
    last = [row for row in decode if row.machine == f"stage {num_stages}"]
    kept = {row.round for row in last}
    whole = [r for r in range(1, PICTURE_ROUNDS + 1) if kept.issuperset(range(1, r + 1))]
    end_s = min(row.end_s for row in last if row.round == whole[-1])
    start_s = min(row.start_s for row in decode)
    return [("start", (0.0, min(prefill_end_s, end_s))), ("decode", (start_s, end_s))]


def _title(name: str, window: tuple[float, float]) -> str:
    return f"{name}, {window[0]:.3f} to {window[1]:.3f} s"


def _bar(rows: Sequence[GanttRowReport], window: tuple[float, float], columns: int) -> str:
    start_s, end_s = window
    step_s = (end_s - start_s) / columns
    if step_s <= 0:
        return ""
    busy = [0.0] * columns
    for row in rows:
        first = max(0, int((row.start_s - start_s) / step_s))
        last = min(columns - 1, int((row.end_s - start_s) / step_s))
        for at in range(first, last + 1):
            left, right = start_s + at * step_s, start_s + (at + 1) * step_s
            busy[at] += max(0.0, min(right, row.end_s) - max(left, row.start_s))
    shares = [seconds / step_s for seconds in busy]
    return "".join("█" if s >= MOSTLY else "░" if s >= PARTLY else " " for s in shares)
