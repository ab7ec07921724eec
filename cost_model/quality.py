"""
Quality loss of every layer in every format, in nats of ln(perplexity).

The loss of a layer at b bits in groups of g follows from its shape alone:

    loss[i, b] = D4 * share[i] * T(b, g) / T(4, g4)

D4 is the model's *anchor*, its loss at uniform 4 bits in groups of g4; T is the relative squared
error of rounded Gaussian weights; share[i] is proportional to the sensitivities of the layer's
matrices, doubled for the last layer of a large pretrained model, and sums to 1. A format that also
rounds the activations loses the anchor's W8A8 loss in the same shares; where none is published, it
is assumed to be no more than at 4 bits. Losses of layers add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cost_model.arrays import FloatArray
from profiles.architecture import LayerKind, Model
from profiles.errors import InputError
from profiles.formats import Format
from profiles.quality import DEFAULT_NATS_W8A8, Anchor, gaussian_t2, module_weights

__all__ = [
    "QualitySource",
    "last_layer_factor",
    "layer_loss_nats",
    "layer_shares",
    "quality_source",
]

# The last layer is 1.9 to 3.8 times the mean layer on all nine models of 0.8 to 27 billion
# parameters, and is not on a decoder of 2 million, where a factor ranks worse than none.
_LAST_LAYER = 2.0
_SMALLEST_PARAMETERS = 5e8
_FEWEST_BITS = 3  # below, real losses are up to twice the additive prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySource:
    """
    What a predicted loss rests on.

    Parameters
    ----------
    anchor
        One sentence for the reader.
    perplexity_16
        Perplexity at 16 bits; None when unknown.
    provenance
        ``measured``, ``analytic`` or ``given``, of the anchor; losses of single layers are always
        analytic.
    """

    anchor: str
    perplexity_16: float | None
    provenance: str

    @property
    def text(self) -> str:
        """Provenance and anchor in one line."""
        return f"{self.provenance}: {self.anchor}"


def quality_source(anchor: Anchor) -> QualitySource:
    """What a prediction from this anchor rests on."""
    return QualitySource(
        anchor=f"{_four_bit_text(anchor)}{_w8a8_text(anchor)}",
        perplexity_16=anchor.perplexity_16,
        provenance=anchor.provenance,
    )


def _four_bit_text(anchor: Anchor) -> str:
    nats = f"{anchor.nats_at_4_bits:g} nats at uniform 4 bits"
    if anchor.provenance == "given":
        return f"{nats}, given in {anchor.source}"
    groups = "per channel" if anchor.group_size is None else f"groups of {anchor.group_size}"
    return (
        f"{nats} for {anchor.model} ({anchor.method}, {groups}, {anchor.dataset}): {anchor.source}"
    )


def _w8a8_text(anchor: Anchor) -> str:
    """What the W8A8 loss rests on; the source of a published anchor names it already."""
    if anchor.nats_w8a8 is None:
        less = anchor.w8a8 < DEFAULT_NATS_W8A8
        why = "no more than 4 bits" if less else "as on Qwen3 base models (arXiv 2505.02214)"
        return f"; W8A8 assumed: {why}, {anchor.w8a8:.2g} nats"
    if anchor.provenance == "given":
        return f"; W8A8: {anchor.w8a8:g} nats as published for {anchor.model}"
    return ""


def layer_shares(model: Model) -> FloatArray:
    """Share of each layer in the loss of the whole model, shape (num_layers,), sum 1."""
    shares = np.array([_sensitivity(kind) for kind in model.layers])
    shares[-1] *= last_layer_factor(model)
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def _sensitivity(kind: LayerKind) -> float:
    weights = module_weights()
    return sum(weights.values()) - (0.0 if kind.gated else weights["gate"])


def last_layer_factor(model: Model) -> float:
    """How much more sensitive the last layer is than its weights tell: 2, or 1 if small."""
    is_like_those_seen = model.pretrained and model.num_parameters >= _SMALLEST_PARAMETERS
    return _LAST_LAYER if is_like_those_seen else 1.0


def layer_loss_nats(model: Model, formats: Sequence[Format], anchor: Anchor) -> FloatArray:
    """
    Loss of each layer in each format.

    Parameters
    ----------
    model
        Its layers' shapes are all that is used.
    formats
        F formats of at least 3 bits.
    anchor
        Loss of the whole model at uniform 4 bits.

    Returns
    -------
    FloatArray
        Nats of ln(perplexity), shape (num_layers, F). A column of 4-bit weights in the anchor's
        group size sums to the anchor.

    Raises
    ------
    InputError
        For a format of fewer than 3 bits, where no prediction holds.
    """
    whole = np.array([_model_loss_nats(each, anchor) for each in formats], dtype=np.float64)
    return np.outer(layer_shares(model), whole)


def _model_loss_nats(format: Format, anchor: Anchor) -> float:  # noqa: A002
    if format.loss == "none":
        return 0.0
    if format.weight_bits < _FEWEST_BITS:
        raise InputError(
            f"No quality loss can be predicted for {format.name} ({format.weight_bits} bits); "
            f"use formats of at least {_FEWEST_BITS} bits."
        )
    if format.loss == "activation":
        return anchor.w8a8
    error = gaussian_t2(format.weight_bits, format.group_size)
    return anchor.nats_at_4_bits * error / gaussian_t2(4, anchor.group_size)
