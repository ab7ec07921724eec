"""Prices that plans can have: the values over which the cost goal branches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from solver.instance import Instance
from solver.problem import FloatArray, PipelineProblem

__all__ = ["PriceLevels"]

_MOST_LEVELS = 4096
# Levels closer than this share of the price of everything are one interval.
_SAME = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class PriceLevels:
    """
    Intervals of attainable prices, rising and apart.

    Parameters
    ----------
    low, high
        Shape (number of intervals,): USD per hour. Where prices are too many to list there is one
        interval from nothing to everything, which is halved instead.
    """

    low: FloatArray
    high: FloatArray
    is_listed: bool

    @classmethod
    def of(cls, problem: PipelineProblem) -> "PriceLevels":
        """Every price that a choice of GPUs can have."""
        nodes = problem.node_price_usd_per_hour
        everything = float(
            sum(d.price_usd_per_hour * d.count for d in problem.devices) + nodes.sum()
        )
        steps = [np.arange(d.min_used, d.count + 1) * d.price_usd_per_hour for d in problem.devices]
        steps += [np.array([0.0, price]) for price in nodes if price > 0]
        values = np.zeros(1)
        for step in steps:
            values = np.unique(np.add.outer(values, step).ravel())
            if len(values) > _MOST_LEVELS:
                return cls(np.zeros(1), np.array([everything]), is_listed=False)
        starts = np.append(True, np.diff(values) > _SAME * everything)
        ends = np.append(starts[1:], True)
        return cls(values[starts], values[ends], is_listed=True)

    @property
    def lowest(self) -> float:
        """Least price."""
        return float(self.low[0])

    @property
    def highest(self) -> float:
        """Greatest price."""
        return float(self.high[-1])

    def at_least(self, price: float) -> float:
        """The least of these prices that is not below; itself where there are too many."""
        place = int(np.searchsorted(self.high, price - _SAME * self.highest))
        return float(self.low[place]) if self.is_listed and place < len(self.low) else price

    def halves(self, instance: Instance) -> Iterator[Instance]:
        """The instance at the lower and at the upper half of its price interval."""
        low, high = instance.price_low, instance.price_high
        if not self.is_listed:
            middle = (low + high) / 2
            yield replace(instance, price_high=middle)
            yield replace(instance, price_low=middle)
            return
        inside = np.flatnonzero((self.low >= low) & (self.high <= high))
        half = (len(inside) + 1) // 2
        for part in (inside[:half], inside[half:]):
            if len(part):
                yield replace(
                    instance,
                    price_low=float(self.low[part[0]]),
                    price_high=float(self.high[part[-1]]),
                )

    def is_single(self, instance: Instance) -> bool:
        """Whether the interval cannot be halved further."""
        low, high = instance.price_low, instance.price_high
        if not self.is_listed:
            return high - low <= _SAME * self.highest
        return bool(np.count_nonzero((self.low >= low) & (self.high <= high)) <= 1)
