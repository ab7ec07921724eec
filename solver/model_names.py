"""Readable names for the columns and rows of a formulation, legal in LP and MPS files."""

import re
from collections.abc import Iterator, Sequence

from solver.formulation import Formulation
from solver.linear import LinearModel

__all__ = ["NAME_LEGEND", "column_names", "row_names"]

NAME_LEGEND = (
    "n_run0_box.t4x2.1_w8a8: layers of run 0 on copy 1 of the stage of two T4 of node box, in w8a8",
    "start_, cross_, first_, last_, both_: see solver/formulation.py",
    "go_, at_, link_: borders between nodes, see solver/route.py",
    "prefill_pace, decode_pace, period: A, D, tau over the least time of layers and both ends",
    "prefill_last, decode_last: A, D of a smaller last micro-batch, over the same",
    "rent_: nodes rented whole; rows are numbered and name the kinds of columns that they join",
)
"""What the names mean, for the head of a file."""

_MOST_LETTERS = 24


def column_names(form: Formulation) -> list[str]:
    """
    A unique name for every column.

    Parameters
    ----------
    form
        An exact formulation (not merged).
    """
    names = [f"link_{column}" for column in range(len(form.builder.lower))]
    for column, name in _named(form):
        names[column] = name
    taken: set[str] = set()
    for column, name in enumerate(names):
        names[column] = name if name not in taken else f"{name}_{column}"
        taken.add(names[column])
    return names


def _named(form: Formulation) -> Iterator[tuple[int, str]]:
    columns, slots = form.columns, _slot_names(form)
    formats = [_plain(name) for name in form.instance.problem.format_names]
    for (r, k, f), column in columns.count.items():
        yield column, f"n_run{r}_{slots[k]}_{formats[f]}"
    for kind, by_run in (("start", columns.start), ("cross", columns.cross)):
        for r, by_slot in enumerate(by_run):
            for k, column in enumerate(by_slot):
                yield column, f"{kind}_run{r}_{slots[k]}"
    for kind in ("first", "last", "both"):
        for k, column in enumerate(getattr(columns, kind)):
            yield column, f"{kind}_{slots[k]}"
    for kind in ("prefill_pace", "decode_pace", "prefill_last", "decode_last", "period"):
        column = getattr(columns, kind)
        if column is not None:
            yield column, kind
    yield from _named_nodes(form)


def _named_nodes(form: Formulation) -> Iterator[tuple[int, str]]:
    nodes = [_plain(name) for name in form.instance.problem.node_names]
    for node, column in form.columns.rent.items():
        yield column, f"rent_{nodes[node]}"
    if form.route is None:
        return
    for r, go in enumerate(form.route.go):
        for (u, v), column in go.items():
            yield column, f"go_run{r}_{nodes[u]}_{nodes[v]}"
    for r, at in enumerate(form.route.at):
        for u, column in at.items():
            yield column, f"at_run{r}_{nodes[u]}"


def _slot_names(form: Formulation) -> list[str]:
    """``box.t4x2.1``: node, GPU type, GPUs, and which copy of the group."""
    devices = form.instance.problem.devices
    copies: dict[int, int] = {}
    names = []
    for slot in form.slots:
        copies[slot.group] = copies.get(slot.group, 0) + 1
        device = _plain(devices[slot.device].name)
        names.append(f"{device}x{slot.tensor_parallel}.{copies[slot.group]}")
    return names


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", ".", text.lower()).strip(".")[:_MOST_LETTERS]


def row_names(model: LinearModel, columns: Sequence[str]) -> list[str]:
    """
    A unique name for every row: its number and the kinds of columns that it joins.

    Parameters
    ----------
    model
        The model.
    columns
        Names as `column_names` gives them; the kind is what comes before the first ``_``.
    """
    names = []
    for row in range(len(model.row_lower)):
        inside = model.column[model.row_start[row] : model.row_start[row + 1]]
        kinds = dict.fromkeys(columns[column].split("_")[0] for column in inside)
        names.append("_".join([f"r{row}", *kinds]))
    return names
