"""Corrections of predicted times by what a user measured, as factors with their origin."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from profiles.errors import InputError

__all__ = ["Calibration", "CalibrationOrigin", "Factor", "FactorKey"]

Phase = Literal["prefill", "decode"]


class FactorKey(NamedTuple):
    """What a factor multiplies: one phase of a kernel with a format on a GPU type."""

    gpu: str
    kernel: str
    format: str
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """
    Measured time over predicted time.

    Parameters
    ----------
    factor
        Multiplies the times, over 0.
    low, high
        90 % interval.
    is_identified
        Whether the measurements say more of it than was assumed before them.
    """

    factor: float
    low: float
    high: float
    is_identified: bool

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.factor <= self.high:
            raise InputError(
                f"factor is {self.factor} with an interval of {self.low} to {self.high}; all must "
                "be over 0 and in order."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOrigin:
    """
    Who calibrated, when (ISO 8601, UTC), and by which plans.

    Parameters
    ----------
    made_by, made_at
        Who and when.
    plans
        SHA-256 of each plan that was measured.
    num_rows
        Rows of measurements.
    """

    made_by: str
    made_at: str
    plans: tuple[str, ...]
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """
    Factors on the times of an engine.

    Parameters
    ----------
    engine
        Its name.
    of_engine
        By phase: the factor of kernels and GPUs that have none of their own.
    factors
        By key: the whole factor of a kernel on a GPU, that of the engine included.
    origin
        Where they come from.
    """

    engine: str
    of_engine: dict[str, Factor]
    factors: dict[FactorKey, Factor]
    origin: CalibrationOrigin

    def factor(self, key: FactorKey) -> float:
        """What multiplies the times of a kernel on a GPU; 1 where nothing is known."""
        found = self.factors.get(key) or self.of_engine.get(key.phase)
        return 1.0 if found is None else found.factor
