"""The formats a layer can be planned in: weight bits, activation bits and method."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from profiles.catalogue import look_up, read_rows

__all__ = ["Format", "LossKind", "find_format", "load_formats"]

LossKind = Literal["none", "t2", "activation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """
    How the weights of a layer are stored and with what they are multiplied.

    Parameters
    ----------
    name
        Unique within the catalogue, such as ``w4a16``.
    weight_bits, act_bits
        Nominal widths of weights and activations.
    method
        Quantisation method, ``none`` at 16 bits.
    group_size
        Weights that share a scale; None for one scale per output channel, or none at all.
    bits_per_weight
        Effective width with scales and zeros.
    loss
        How quality suffers: ``none``, by the error of the weights (``t2``), or by that of the
        activations.
    source
        Where ``bits_per_weight`` comes from.
    """

    name: str
    weight_bits: int
    act_bits: int
    method: str
    group_size: int | None
    bits_per_weight: float
    loss: LossKind
    source: str


def _format(row: Mapping[str, str]) -> Format:
    return Format(
        name=row["name"],
        weight_bits=int(row["weight_bits"]),
        act_bits=int(row["act_bits"]),
        method=row["method"],
        group_size=int(row["group_size"]) if row["group_size"] else None,
        bits_per_weight=float(row["bits_per_weight"]),
        loss=cast("LossKind", row["loss"]),
        source=row["source"],
    )


@cache
def load_formats() -> Mapping[str, Format]:
    """All formats of the catalogue by name."""
    return {row["name"]: _format(row) for row in read_rows("formats.csv")}


def find_format(name: str, pointer: str = "") -> Format:
    """
    The format of this name, whatever its case.

    Raises
    ------
    InputError
        When the catalogue has no such format; ``pointer`` says where the name stood.
    """
    return look_up(load_formats(), {}, name, kind="format", pointer=pointer)
