"""What an axis, a bar or a colour measures."""

from dataclasses import dataclass
from typing import Self

from api.plots.canvas import plain
from api.quantities import with_unit
from solver import Goal

__all__ = ["Quantity", "short"]

_WORDS = {Goal.TTFT: "TTFT", Goal.TPOT: "TPOT", Goal.GPUS: "GPUs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """
    A value by which plans are judged.

    Parameters
    ----------
    name
        In plain words.
    unit
        Unit of the values; empty where there is none.
    maximise
        Whether more is better.
    """

    name: str
    unit: str = ""
    maximise: bool = False

    @classmethod
    def of(cls, goal: Goal | str) -> Self:
        """That of a goal, or of its name, in the unit of its objective."""
        goal = Goal(goal)
        name = _WORDS.get(goal, goal.value.replace("_", " "))
        return cls(name=name, unit=goal.unit, maximise=goal.maximise)

    @property
    def label(self) -> str:
        """``latency (s), less is better``."""
        unit = "" if self.unit in ("", self.name) else f" ({self.unit})"
        return plain(f"{self.name}{unit}, {'more' if self.maximise else 'less'} is better")

    def told(self, value: float) -> str:
        """A value with its unit: ``7.947 s``."""
        return with_unit(short(value), self.unit)

    def named(self, value: float) -> str:
        """A value with its name: ``latency 7.947 s``, ``3 GPUs``."""
        told = self.told(value)
        return told if self.name == self.unit else f"{self.name} {told}"


def short(value: float) -> str:
    """Four digits, thousands parted: ``0.1234``, ``12,345``."""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
