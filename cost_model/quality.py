"""
Quality loss of every layer in every format, in nats of ln(perplexity).

The loss of a layer at b bits in groups of g follows from its shape alone:

    loss[i, b] = D4 * share[i] * T(b, g) / T(4, g4)

D4 is the model's *anchor*, its loss at uniform 4 bits in groups of g4; T is the relative squared
error of rounded Gaussian weights; share[i] is proportional to the sensitivities of the layer's
matrices, doubled for the last layer of a pretrained model, and sums to 1. A format that also rounds
the activations loses the anchor's W8A8 loss in the same shares. Losses of layers add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cost_model.arrays import FloatArray
from profiles.architecture import LayerKind, Model
from profiles.errors import InputError
from profiles.formats import Format
from profiles.quality import Anchor, gaussian_t2

__all__ = ["QualitySource", "layer_loss_nats", "layer_shares", "quality_source"]

# Share of a single matrix in the KL divergence when all are of one width, medians over nine
# models of 0.8 to 27 billion parameters (q, k, v, o; up, down; gate); all experts count as one.
_ATTENTION = 0.77 + 0.57 + 0.76 + 1.00
_UP_AND_DOWN = 1.35 + 1.45
_GATE = 1.10

_LAST_LAYER = 2.0  # the last layer is 1.9 to 3.8 times the mean layer on all nine models
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
        ``measured`` or ``analytic``, of the anchor; losses of single layers are always analytic.
    """

    anchor: str
    perplexity_16: float | None
    provenance: str


def quality_source(anchor: Anchor) -> QualitySource:
    """What a prediction from this anchor rests on."""
    groups = "per channel" if anchor.group_size is None else f"groups of {anchor.group_size}"
    return QualitySource(
        anchor=(
            f"{anchor.nats_at_4_bits:g} nats at uniform 4 bits for {anchor.model} "
            f"({anchor.method}, {groups}, {anchor.dataset}): {anchor.source}"
        ),
        perplexity_16=anchor.perplexity_16,
        provenance=anchor.provenance,
    )


def layer_shares(model: Model) -> FloatArray:
    """Share of each layer in the loss of the whole model, shape (num_layers,), sum 1."""
    shares = np.array([_sensitivity(kind) for kind in model.layers])
    if model.pretrained:
        shares[-1] *= _LAST_LAYER
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def _sensitivity(kind: LayerKind) -> float:
    return _ATTENTION + _UP_AND_DOWN + (_GATE if kind.gated else 0.0)


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
        return anchor.nats_w8a8
    error = gaussian_t2(format.weight_bits, format.group_size)
    return anchor.nats_at_4_bits * error / gaussian_t2(4, anchor.group_size)
