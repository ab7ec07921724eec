"""Where a predicted number comes from."""

from enum import IntEnum

__all__ = ["Source"]


class Source(IntEnum):
    """
    Provenance of a number, the strongest first; ``max`` of several is their weakest.

    A number made from several inherits the weakest of them.
    """

    MEASURED = 0
    """A measured point of a table, as it stands."""
    INTERPOLATED = 1
    """Between measured points of a table."""
    ANALYTIC = 2
    """From the calibrated model."""

    @property
    def label(self) -> str:
        """The word used in tables and answers: ``measured``, ``interpolated`` or ``analytic``."""
        return self.name.lower()

    @classmethod
    def from_label(cls, label: str) -> "Source":
        """The source with this word, as the column ``provenance`` of a table has it."""
        return cls[label.upper()]
