"""
Losses of every layer at every width ("omega"), in nats of ln(perplexity), and what they rest on.

    omega[i, b] = D4 * pos[i] * raw[i, b] / sum over j of pos[j] * raw[j, 4]

D4 is the anchor, the loss of the whole model at uniform 4 bits in the groups that are served; pos
is 2 for the last layer of a pretrained model as large as those on which that was seen, else 1.
Losses add up over layers, and so do those of grouped layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cost_model.arrays import FloatArray
from cost_model.rounding import Rounding
from profiles.errors import InputError
from profiles.formats import Format
from profiles.quality import Anchor, gaussian_t2

__all__ = [
    "MUCH_NATS",
    "Omega",
    "anchored",
    "local_anchor_nats",
    "omega_loss_nats",
    "scaled_to_anchor",
]

MUCH_NATS = 0.3
"""A loss beyond this is predicted too low: single losses no longer add up."""
_ANCHOR_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Omega:
    """
    Losses of the layers of a model.

    Parameters
    ----------
    model
        Name of the model.
    bits
        B widths of weights, ascending; 4 is one of them.
    rounding
        The groups that the losses are for.
    nats
        Loss of each layer at each width, shape (L, B).
    w8a8_nats
        Loss of the whole model at 8-bit weights and activations.
    provenance, text
        ``measured``, ``analytic`` or ``given``; what the losses rest on, in words.
    """

    model: str
    bits: tuple[int, ...]
    rounding: Rounding
    nats: FloatArray
    w8a8_nats: float
    provenance: str
    text: str

    def __post_init__(self) -> None:
        """Refuse losses that no model can have."""
        self.nats.setflags(write=False)
        if self.nats.shape[1:] != (len(self.bits),):
            raise InputError(
                f"nats has shape {self.nats.shape}, but there are {len(self.bits)} widths; give "
                "one loss for each."
            )
        if not (np.isfinite(self.nats).all() and (self.nats >= 0).all()):
            raise InputError("Some losses are negative or no numbers; give nats of 0 or more.")
        if _ANCHOR_BITS not in self.bits or sorted(set(self.bits)) != list(self.bits):
            raise InputError(
                f"bits is {list(self.bits)}; give ascending widths, {_ANCHOR_BITS} among them."
            )
        if (np.diff(self.nats, axis=1) > 0).any():
            raise InputError("Some losses grow with the bits; they must not.")

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.nats)

    @property
    def nats_at_4_bits(self) -> float:
        """Loss of the whole model at uniform 4 bits."""
        return float(self.at(_ANCHOR_BITS).sum())

    def at(self, bits: int) -> FloatArray:
        """Loss of each layer at a width, shape (L,); 0 at 16 bits."""
        if bits == 16:
            return np.zeros(self.num_layers)
        if bits not in self.bits:
            known = ", ".join(map(str, self.bits))
            raise InputError(
                f"The losses of {self.model} are known at {known} bits, not at {bits}; make them "
                f"with --bits {known.replace(' ', '')},{bits}, or leave its formats out."
            )
        return np.asarray(self.nats[:, self.bits.index(bits)], dtype=np.float64)


def local_anchor_nats(anchor: Anchor, rounding: Rounding) -> float:
    """
    An anchor carried over to the groups that are served, by the error of Gaussian weights.

    What is published seldom tells symmetric levels from asymmetric ones; neither does this.
    """
    if anchor.group_size == rounding.group_size:
        return anchor.nats_at_4_bits
    carried = gaussian_t2(_ANCHOR_BITS, rounding.group_size)
    return anchor.nats_at_4_bits * carried / gaussian_t2(_ANCHOR_BITS, anchor.group_size)


def scaled_to_anchor(raw: FloatArray, bits: Sequence[int], anchor_nats: float) -> FloatArray:
    """
    Errors or scores made nats: their sum at uniform 4 bits becomes the anchor.

    Parameters
    ----------
    raw
        Shape (L, B), in any unit that adds up. More bits than another width never lose more: where
        a sample or a score says so, the loss with more bits counts for both.
    bits
        B widths, ascending, 4 among them.
    anchor_nats
        Loss of the whole model at uniform 4 bits.

    Raises
    ------
    InputError
        When nothing is lost at 4 bits, so that there is nothing to scale.
    """
    falling = np.maximum.accumulate(raw[:, ::-1], axis=1)[:, ::-1]
    total = falling[:, list(bits).index(_ANCHOR_BITS)].sum()
    if not total > 0:
        raise InputError(
            "The losses at 4 bits add up to 0, so they cannot be scaled; these weights or scores "
            "tell nothing about quality."
        )
    return np.asarray(anchor_nats * falling / total, dtype=np.float64)


def anchored(
    raw: FloatArray, bits: Sequence[int], anchor_nats: float, last_layer: float
) -> FloatArray:
    """`scaled_to_anchor` of errors of weights, the last layer's times ``last_layer`` first."""
    weighted = raw.copy()
    weighted[-1] *= last_layer
    return scaled_to_anchor(weighted, bits, anchor_nats)


def omega_loss_nats(omega: Omega, formats: Sequence[Format]) -> FloatArray:
    """
    Loss of each layer in each format.

    Parameters
    ----------
    omega
        Losses at the widths and in the groups of the formats.
    formats
        F formats. One that rounds activations loses ``w8a8_nats``, shared as at 4 bits.

    Returns
    -------
    FloatArray
        Shape (L, F).

    Raises
    ------
    InputError
        When the losses are for other widths or groups.
    """
    return np.column_stack([_format_loss(omega, each) for each in formats])


def _format_loss(omega: Omega, format: Format) -> FloatArray:  # noqa: A002
    if format.loss == "none":
        return np.zeros(omega.num_layers)
    if format.loss == "activation":
        return omega.w8a8_nats * omega.at(_ANCHOR_BITS) / omega.nats_at_4_bits
    if format.group_size != omega.rounding.group_size:
        raise InputError(
            f"Format {format.name} stores {_groups(format.group_size)}, but the losses of "
            f"{omega.model} are for {_groups(omega.rounding.group_size)}; make them with "
            f"--group-size {format.group_size or 0}, or leave the format out."
        )
    return omega.at(format.weight_bits)


def _groups(size: int | None) -> str:
    return "one scale per channel" if size is None else f"groups of {size}"
