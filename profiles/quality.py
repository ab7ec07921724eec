"""
What is published about the quality of quantised models.

A loss is an increase of ln(perplexity) in nats: predicted perplexity = perplexity at 16 bits
times exp(loss). An *anchor* is the loss of a whole model at uniform 4 bits; the error of
quantised Gaussian weights says how the loss grows or shrinks at other widths.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from profiles.architecture import Model
from profiles.catalogue import optional_float, read_rows
from profiles.errors import InputError

__all__ = [
    "DEFAULT_NATS_W8A8",
    "Anchor",
    "anchor_for",
    "best_anchor",
    "class_anchor",
    "gaussian_t2",
    "given_anchor",
    "load_anchors",
    "module_weights",
]

# W8A8 SmoothQuant costs 0.02 to 0.06 nats on Qwen3 base models (arXiv 2505.02214).
DEFAULT_NATS_W8A8 = 0.03

_GROUP_SIZE = 128  # of the 4-bit format in the catalogue
_PER_CHANNEL = 4096  # input width that the table's per-channel row was computed for


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """
    Loss of a whole model at uniform 4 bits.

    Parameters
    ----------
    model
        Name of the model, or of the class of models.
    method, group_size
        How it was quantised; None for one scale per output channel.
    perplexity_16
        Perplexity at 16 bits on the same text; None when unknown.
    nats_at_4_bits
        Increase of ln(perplexity) at 4-bit weights.
    nats_w8a8
        Published increase of ln(perplexity) at 8-bit weights and activations, all told; None
        where none is, see `w8a8`.
    dataset
        The text; empty when unknown.
    provenance
        ``measured`` on this very model, ``analytic`` when carried over or scaled, ``given`` in a
        request.
    source
        Where the figures come from.
    """

    model: str
    method: str
    group_size: int | None
    perplexity_16: float | None
    nats_at_4_bits: float
    nats_w8a8: float | None = None
    dataset: str
    provenance: str
    source: str

    def __post_init__(self) -> None:
        """Refuse losses that are negative or no number."""
        for field in ("nats_at_4_bits", "nats_w8a8"):
            value = getattr(self, field)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{field} of {self.model!r} is {value}; it must be >= 0 nats.")

    @property
    def w8a8(self) -> float:
        """
        Loss at 8-bit weights and activations, in nats: the published one, else an assumption.

        `DEFAULT_NATS_W8A8` is assumed, but no more than what 4-bit weights in groups of 128 lose.
        """
        if self.nats_w8a8 is not None:
            return self.nats_w8a8
        error = gaussian_t2(4, _GROUP_SIZE)
        grouped = self.nats_at_4_bits * error / gaussian_t2(4, self.group_size)
        return min(DEFAULT_NATS_W8A8, grouped)


def _anchor(row: Mapping[str, str]) -> Anchor:
    return Anchor(
        model=row["model"],
        method=row["method"],
        group_size=int(row["group_size"]) if row["group_size"] else None,
        perplexity_16=optional_float(row["perplexity_16"]),
        nats_at_4_bits=float(row["nats_at_4_bits"]),
        nats_w8a8=optional_float(row["nats_w8a8"]),
        dataset=row["dataset"],
        provenance=row["provenance"],
        source=row["source"],
    )


@cache
def load_anchors() -> Mapping[str, Anchor]:
    """Published anchors by the model's name in the catalogue."""
    return {row["model"]: _anchor(row) for row in read_rows("anchors.csv")}


def anchor_for(model_name: str) -> Anchor | None:
    """The published anchor of a model of the catalogue; None where there is none."""
    return load_anchors().get(model_name)


def class_anchor(model: Model) -> Anchor:
    """The median anchor of models of this family or, failing that, of this size."""
    row = next(
        row
        for row in read_rows("anchor_classes.csv")
        if model.name.lower().startswith(row["model_prefix"])
        and model.num_parameters < float(row["up_to_parameters"])
    )
    return Anchor(
        model=row["name"],
        method="GPTQ",
        group_size=128,
        perplexity_16=None,
        nats_at_4_bits=float(row["nats_at_4_bits"]),
        dataset="wikitext2 and c4",
        provenance="analytic",
        source=row["source"],
    )


def best_anchor(model: Model) -> Anchor:
    """The published anchor of a model if there is one, else that of its class."""
    return anchor_for(model.name) or class_anchor(model)


def given_anchor(
    model: Model,
    nats_at_4_bits: float,
    *,
    group_size: int | None = _GROUP_SIZE,
    source: str = "the request",
) -> Anchor:
    """
    An anchor that the user gives.

    Parameters
    ----------
    model
        Whose published perplexity and W8A8 loss are kept, if there are any.
    nats_at_4_bits
        Increase of ln(perplexity) at uniform 4-bit weights.
    group_size
        The groups that this loss is for.
    source
        Where the user gives it.
    """
    published = best_anchor(model)
    return Anchor(
        model=model.name,
        method="",
        group_size=group_size,
        perplexity_16=published.perplexity_16,
        nats_at_4_bits=nats_at_4_bits,
        nats_w8a8=published.nats_w8a8,
        dataset="",
        provenance="given",
        source=source,
    )


@cache
def module_weights() -> Mapping[str, float]:
    """
    How much each matrix of a layer weighs, by its module; they add up to 7.

    The share of a single matrix in the KL divergence when all are of one width: the matrices of a
    layer differ less by their size than by what they do. All experts of a layer count as one.
    """
    return {row["module"]: float(row["weight"]) for row in read_rows("module_weights.csv")}


@cache
def _t2_table() -> Mapping[int, Mapping[int, float]]:
    """Width of the weights to group size to relative squared error."""
    table: dict[int, dict[int, float]] = {}
    for row in read_rows("t2_gaussian.csv"):
        table.setdefault(int(row["bits"]), {})[int(row["group_size"])] = float(row["t2"])
    return table


def gaussian_t2(bits: int, group_size: int | None) -> float:
    """
    Relative squared error of Gaussian weights rounded to the nearest of 2^bits levels.

    Parameters
    ----------
    bits
        2, 3, 4, 5, 6, 8, or 16, where the error is 0.
    group_size
        Weights that share a scale and a zero, 32 to 4096; None for one pair per output channel.
        Between the sizes computed (32, 64, 128, 4096) it is interpolated on log-log axes.

    Returns
    -------
    float
        ``||W - Q(W)||^2 / ||W||^2`` of asymmetric min-max rounding.

    Raises
    ------
    InputError
        At other widths, or beyond those group sizes.
    """
    if bits == 16:
        return 0.0
    by_group = _t2_table().get(bits)
    group = _PER_CHANNEL if group_size is None else group_size
    if by_group is None or not min(by_group) <= group <= max(by_group):
        raise InputError(
            f"No quantisation error known for {bits} bits in groups of {group} "
            "(known: 2, 3, 4, 5, 6, 8 and 16 bits in groups of 32 to 4096)."
        )
    return _interpolated(by_group, group)


def _interpolated(by_group: Mapping[int, float], group: int) -> float:
    if group in by_group:
        return by_group[group]
    below = max(size for size in by_group if size < group)
    above = min(size for size in by_group if size > group)
    share = math.log(group / below) / math.log(above / below)
    growth = math.log(by_group[above] / by_group[below])
    return by_group[below] * math.exp(share * growth)
