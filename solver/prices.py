"""Prices that plans can have, over which the cost goal branches, and the GPUs of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from solver.instance import Instance
from solver.problem import FloatArray, PipelineProblem

__all__ = ["PriceLevels"]

_MOST_LEVELS = 4096
# Levels closer than this share of the price of everything are one interval.
_SAME = 1e-6
# More choices of GPUs than this are not told apart.
_MOST_CHOICES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class PriceLevels:
    """
    Intervals of attainable prices, rising and apart.

    Parameters
    ----------
    low, high
        Shape (number of intervals,): USD per hour.
    is_listed
        False where prices are too many to list: there is one interval from nothing to everything,
        which is halved instead.
    choices
        By interval: GPUs of each device class, for every choice that costs as much; empty where
        the choices are too many to list.
    """

    low: FloatArray
    high: FloatArray
    is_listed: bool
    choices: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @classmethod
    def of(cls, problem: PipelineProblem) -> "PriceLevels":
        """Every price that a choice of GPUs can have."""
        nodes = problem.node_price_usd_per_hour
        everything = _price(problem, [d.count for d in problem.devices])
        steps = [np.arange(d.min_used, d.count + 1) * d.price_usd_per_hour for d in problem.devices]
        steps += [np.array([0.0, price]) for price in nodes if price > 0]
        values = np.zeros(1)
        for step in steps:
            values = np.unique(np.add.outer(values, step).ravel())
            if len(values) > _MOST_LEVELS:
                return cls(np.zeros(1), np.array([everything]), is_listed=False)
        starts = np.append(True, np.diff(values) > _SAME * everything)
        low, high = values[starts], values[np.append(starts[1:], True)]
        return cls(low, high, is_listed=True, choices=_choices(problem, low))

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

    def parts(self, instance: Instance) -> Iterator[Instance]:
        """The instance at either half of its price interval; a single price: by choice of GPUs."""
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
                low, high = float(self.low[part[0]]), float(self.high[part[-1]])
                halved = replace(instance, price_low=low, price_high=high)
                if len(part) == 1 and self.choices:
                    yield from (replace(halved, gpus=gpus) for gpus in self.choices[part[0]])
                else:
                    yield halved

    def is_single(self, instance: Instance) -> bool:
        """Whether the interval cannot be halved further."""
        low, high = instance.price_low, instance.price_high
        if not self.is_listed:
            return high - low <= _SAME * self.highest
        return bool(np.count_nonzero((self.low >= low) & (self.high <= high)) <= 1)


def _choices(
    problem: PipelineProblem, lowest: FloatArray
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Every choice of GPUs that stages can be made of, by the interval of its price."""
    ranges = [range(device.min_used, device.count + 1) for device in problem.devices]
    if prod(map(len, ranges)) > _MOST_CHOICES:
        return ()
    least = {d: device.count + 1 for d, device in enumerate(problem.devices)}
    for group in problem.groups:
        least[group.device] = min(least[group.device], group.tensor_parallel)
    found: list[list[tuple[int, ...]]] = [[] for _ in lowest]
    for gpus in product(*ranges):
        if any(gpus) and all(not n or n >= least[d] for d, n in enumerate(gpus)):
            price = _price(problem, gpus) * (1 + _SAME / 2)
            found[int(np.searchsorted(lowest, price, side="right")) - 1].append(gpus)
    return tuple(map(tuple, found))


def _price(problem: PipelineProblem, gpus: Sequence[int]) -> float:
    """Rent of these GPUs and of their nodes, in USD per hour."""
    devices = zip(problem.devices, gpus, strict=True)
    used = {device.node for device, n in devices if n}
    rent = sum(float(problem.node_price_usd_per_hour[node]) for node in used)
    return rent + sum(d.price_usd_per_hour * n for d, n in zip(problem.devices, gpus, strict=True))
