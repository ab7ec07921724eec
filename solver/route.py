"""
Links between stages, as part of the linear program.

Stages of one node are joined by the node's link; a border between stages on different nodes crosses
the network. The order of stages is free inside a run of equal layers, so the model follows the
*walk over nodes*, run by run:

    go[r,u,v]  borders from node u to node v at stages that start in run r          whole
    at[r,u]    the last stage that started in run r or before is on node u          binary
    back[u,v]  the last stage is on node u and the first on node v
    flow[r,u,v] keeps the walk of a run connected (it may visit a node more than once)

    at[r-1,u] + sum_v go[r,v,u] = at[r,u] + sum_v go[r,u,v]      (at[-1,u]: node of the first stage)
    visits to u in r <= stages that start on u in r
    a stage starts on u only where the walk passes u

A walk that keeps to these can be filled with the stages of each node, at least one a visit, so
nothing is lost. The stage that crosses into the next run is the last one before the border.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from solver.columns import Columns
from solver.instance import Instance, Slot
from solver.linear import Expression, ModelBuilder, minus, total
from solver.problem import FloatArray

__all__ = ["Route", "add_route"]

Pair = tuple[int, int]


@dataclass(slots=True)
class Route:
    """Columns of the walk, and seconds on links as expressions of them."""

    go: list[dict[Pair, int]] = field(default_factory=list)
    at: list[dict[int, int]] = field(default_factory=list)
    prefill_s: Expression = field(default_factory=dict)
    decode_s: Expression = field(default_factory=dict)
    return_s: Expression = field(default_factory=dict)
    prefill_occupancy: list[Expression] = field(default_factory=list)
    decode_occupancy: list[Expression] = field(default_factory=list)
    prefill_last_occupancy: list[Expression] = field(default_factory=list)
    decode_last_occupancy: list[Expression] = field(default_factory=list)


def add_route(
    builder: ModelBuilder,
    slots: Sequence[Slot],
    columns: Columns,
    sizes: list[int],
    instance: Instance,
) -> Route:
    """
    Add the walk over nodes and return what its links cost.

    Parameters
    ----------
    builder
        Receives columns and rows.
    slots
        The slots; their nodes are the places of the walk.
    columns
        Those of the formulation.
    sizes
        Most stages that can start within each run.
    instance
        Gives the link times of its micro-batch sizes.
    """
    walk = _Walk(builder, slots, columns)
    route = Route()
    if len(walk.nodes) > 1:
        route.go, route.at = walk.lay(sizes)
    inside = {u: walk.inside(u, route.go) for u in walk.nodes}
    back = walk.back()
    _charge(route, walk, inside, back, instance)
    return route


@dataclass(slots=True)
class _Walk:
    """The columns that the walk hangs on."""

    builder: ModelBuilder
    slots: Sequence[Slot]
    columns: Columns

    @property
    def nodes(self) -> list[int]:
        return sorted({slot.node for slot in self.slots})

    @property
    def num_stages(self) -> int:
        """Most stages that a plan can have."""
        return sum(slot.copies for slot in self.slots)

    @property
    def pairs(self) -> list[Pair]:
        return [(u, v) for u in self.nodes for v in self.nodes if u != v]

    def on(self, node: int, columns: list[int]) -> dict[int, float]:
        """Sum of a column per slot over the slots of a node."""
        return {c: 1.0 for c, slot in zip(columns, self.slots, strict=True) if slot.node == node}

    def lay(self, sizes: list[int]) -> tuple[list[dict[Pair, int]], list[dict[int, int]]]:
        """Add the walk, run by run; returns columns go and at."""
        go: list[dict[Pair, int]] = []
        at: list[dict[int, int]] = []
        before = {u: self.on(u, self.columns.first) for u in self.nodes}
        for r, size in enumerate(sizes):
            most = min(size, self.num_stages)
            go.append({pair: self.builder.add(most, integer=True) for pair in self.pairs})
            is_end = r == len(sizes) - 1
            at.append({} if is_end else {u: self.builder.add(1, integer=True) for u in self.nodes})
            after = {
                u: self.on(u, self.columns.last) if is_end else {at[r][u]: 1.0} for u in self.nodes
            }
            self._step(r, go[r], before, after)
            if size > 1 and len(self.nodes) > 2:
                self._connect(r, go[r], before)
            before = after
        return go, at

    def _step(
        self,
        r: int,
        go: dict[Pair, int],
        before: Mapping[int, Expression],
        after: Mapping[int, Expression],
    ) -> None:
        for u in self.nodes:
            entering = {c: 1.0 for (_, v), c in go.items() if v == u}
            leaving = {c: -1.0 for (v, _), c in go.items() if v == u}
            balance = total(entering, leaving, before[u], minus(after[u]))
            self.builder.row(balance, lower=0, upper=0)
            starts = self.on(u, self.columns.start[r])
            taken = minus(self.on(u, self.columns.first)) if r == 0 else {}
            self.builder.row(total(entering, minus(starts), minus(taken)), upper=0)
            for share in self._shares(u, r):
                self.builder.row(total(share, minus(entering), minus(before[u])), upper=0)
            if r < len(self.columns.cross):
                crossing = self.on(u, self.columns.cross[r])
                self.builder.row(total(crossing, minus(after[u])), upper=0)

    def _shares(self, node: int, run: int) -> list[Expression]:
        """Whether a stage starts in a run, for every slot of a node (of a pool: the average)."""
        return [
            {column: 1.0 / slot.copies}
            for column, slot in zip(self.columns.start[run], self.slots, strict=True)
            if slot.node == node
        ]

    def _connect(self, r: int, go: dict[Pair, int], before: Mapping[int, Expression]) -> None:
        """Send one unit from where the walk is to every node on which a stage starts."""
        most = float(len(self.nodes))
        flow = {pair: self.builder.add(most) for pair in self.pairs}
        for pair, column in flow.items():
            self.builder.row({column: 1.0, go[pair]: -most}, upper=0)
        for u in self.nodes:
            arriving = {c: -1.0 if v == u else 1.0 for (w, v), c in flow.items() if u in (v, w)}
            for share in self._shares(u, r):
                supply = {c: -most * x for c, x in before[u].items()}
                self.builder.row(total(arriving, share, supply), upper=0)

    def inside(self, node: int, go: list[dict[Pair, int]]) -> Expression:
        """Number of borders between two stages that are both on the node."""
        starts = total(*(self.on(node, row) for row in self.columns.start))
        entering = {c: -1.0 for step in go for (_, v), c in step.items() if v == node}
        return total(starts, entering, minus(self.on(node, self.columns.first)))

    def back(self) -> dict[Pair, Expression]:
        """The return from the last stage to the first; none where they are the same."""
        if len(self.nodes) == 1:
            u = self.nodes[0]
            return {
                (u, u): total(self.on(u, self.columns.last), minus(self.on(u, self.columns.both)))
            }
        column = {(u, v): self.builder.add(1) for u in self.nodes for v in self.nodes}
        for u in self.nodes:
            leaving = {column[u, v]: 1.0 for v in self.nodes}
            entering = {column[v, u]: 1.0 for v in self.nodes}
            self.builder.row(total(leaving, minus(self.on(u, self.columns.last))), lower=0, upper=0)
            self.builder.row(
                total(entering, minus(self.on(u, self.columns.first))), lower=0, upper=0
            )
        back: dict[Pair, Expression] = {pair: {c: 1.0} for pair, c in column.items()}
        for u in self.nodes:
            back[u, u] = total(back[u, u], minus(self.on(u, self.columns.both)))
        return back


def _charge(
    route: Route,
    walk: _Walk,
    inside: dict[int, Expression],
    back: dict[Pair, Expression],
    instance: Instance,
) -> None:
    p, prefill, decode = instance.problem, instance.prefill, instance.decode
    borders: dict[Pair, Expression] = {(u, u): e for u, e in inside.items()}
    for pair in walk.pairs:
        borders[pair] = {step[pair]: 1.0 for step in route.go}
    route.prefill_s = _weigh(borders, p.prefill_link_s[..., prefill])
    route.decode_s = _weigh(borders, p.decode_link_s[..., decode])
    route.return_s = _weigh(back, p.return_link_s[..., decode])
    away = {pair: e for pair, e in back.items() if pair[0] != pair[1]}
    has_border = {u: walk.builder.add(1, integer=True) for u in walk.nodes}
    for u, column in has_border.items():
        most = float(walk.num_stages)
        walk.builder.row(total(inside[u], {column: -most}), upper=0)

    def busy(seconds: FloatArray, back_s: FloatArray | None = None) -> list[Expression]:
        """Seconds for which each card and each link inside a node is busy."""
        uses = [(borders, seconds)] + ([] if back_s is None else [(away, back_s)])
        links: list[Expression] = [{c: float(seconds[u, u])} for u, c in has_border.items()]
        if back_s is not None:
            own = ((back[u, u], float(back_s[u, u])) for u in walk.nodes)
            links += [{c: s * x for c, x in returns.items()} for returns, s in own]
        return _shared(walk, uses) + links

    def of_prefill(size: int) -> list[Expression]:
        return busy(p.prefill_occupancy_s[..., size])

    def of_decode(size: int) -> list[Expression]:
        return busy(p.decode_occupancy_s[..., size], p.return_occupancy_s[..., size])

    route.prefill_occupancy, route.decode_occupancy = of_prefill(prefill), of_decode(decode)
    if instance.prefill_last is not None:
        route.prefill_last_occupancy = of_prefill(instance.prefill_last)
    if instance.decode_last is not None:
        route.decode_last_occupancy = of_decode(instance.decode_last)


def _shared(walk: _Walk, uses: list[tuple[dict[Pair, Expression], np.ndarray]]) -> list[Expression]:
    """Seconds for which each network card is busy, in each direction."""
    cards: dict[tuple[str, int], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for borders, seconds in uses:
        for u, v in walk.pairs:
            for column, times in borders[u, v].items():
                cards["out", u][column] += times * float(seconds[u, v])
                cards["in", v][column] += times * float(seconds[u, v])
    return list(cards.values())


def _weigh(borders: dict[Pair, Expression], seconds: np.ndarray) -> Expression:
    return total(
        *({c: x * float(seconds[pair]) for c, x in e.items()} for pair, e in borders.items())
    )
