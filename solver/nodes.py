"""Subproblems of the search, and the tree that keeps them."""

import heapq
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from math import inf

from solver.instance import Instance, Pair

__all__ = ["Level", "Node", "Tree"]


class Level(IntEnum):
    """How far a node has been worked on; see `solver.search`."""

    QUICK = 0
    PHASED = 1
    RELAXED = 2
    BOXED = 3
    COUNTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """
    The plans of an instance with values from ``bound`` to ``window``.

    Parameters
    ----------
    instance
        Batch, pair of micro-batch sizes, intervals of price and pace.
    bound
        No plan of the instance has a lower value.
    level
        What has been done.
    latency_low_s
        No plan has a lower latency; used by the cost goal only.
    gap_divisor
        Share of the gap to which the integer program is solved.
    window, is_covered
        Plans from this value on are not looked for here; whether another node holds them.
    reach
        Width of the next window, as a share of the bound.
    is_scouted
        Whether any plan has been looked for.
    """

    instance: Instance
    bound: float
    level: Level = Level.QUICK
    latency_low_s: float = 0.0
    gap_divisor: int = 1
    window: float = inf
    is_covered: bool = False
    reach: float
    is_scouted: bool = False


@dataclass(slots=True)
class Tree:
    """Open nodes by bound, and the least bound of those that were closed."""

    closed_bound: float = inf
    _closed: dict[Pair, float] = field(default_factory=dict)
    _open: list[tuple[float, int, Node]] = field(default_factory=list)
    _order: "count[int]" = field(default_factory=count)

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def lowest(self) -> float:
        """Least bound of the open nodes; inf where there is none."""
        return self._open[0][0] if self._open else inf

    def push(self, node: Node) -> None:
        """Open a node."""
        heapq.heappush(self._open, (node.bound, next(self._order), node))

    def pop(self) -> Node:
        """Take the open node of least bound."""
        return heapq.heappop(self._open)[2]

    def pop_relaxed(self, below: float) -> Node | None:
        """Take the best node that is relaxed at least, the furthest on; None if none is below."""
        relaxed = [entry for entry in self._open if entry[2].level >= Level.RELAXED]
        found = min(relaxed, key=lambda e: (e[0], -e[2].level, e[1]), default=None)
        if found is None or found[0] >= below:
            return None
        self._open.remove(found)
        heapq.heapify(self._open)
        return found[2]

    def close(self, node: Node) -> None:
        """Nothing more can be learnt here; the bound stays, unless another node holds the rest."""
        if not (node.is_covered and node.bound >= node.window):
            self.closed_bound = min(self.closed_bound, node.bound)
            pair = node.instance.pair
            self._closed[pair] = min(self._closed.get(pair, inf), node.bound)

    def bounds(self) -> dict[Pair, float]:
        """Least bound by pair of micro-batch sizes; pairs with nothing left are not in it."""
        known = dict(self._closed)
        for bound, _, node in self._open:
            pair = node.instance.pair
            known[pair] = min(known.get(pair, inf), bound)
        return {pair: bound for pair, bound in known.items() if bound < inf}
