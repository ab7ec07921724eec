"""Names of the variables that the parts of the formulation share."""

from dataclasses import dataclass, field

__all__ = ["Columns"]


@dataclass(slots=True)
class Columns:
    """
    Column indices; see `solver.formulation` for the variables.

    Parameters
    ----------
    count
        By (run, slot, format); only where the format is allowed.
    held
        The columns of ``count`` by (run, slot).
    start, cross
        By run, then slot; ``cross[r]`` is the border between run r and run r + 1.
    first, last, both
        By slot.
    prefill_pace, decode_pace, period
        Single columns.
    prefill_last, decode_last
        Single columns; None where the last micro-batch is a full one.
    rent
        By node that is rented whole.
    """

    count: dict[tuple[int, int, int], int] = field(default_factory=dict)
    held: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)
    start: list[list[int]] = field(default_factory=list)
    cross: list[list[int]] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    both: list[int] = field(default_factory=list)
    prefill_pace: int = -1
    decode_pace: int = -1
    period: int = -1
    prefill_last: int | None = None
    decode_last: int | None = None
    rent: dict[int, int] = field(default_factory=dict)
