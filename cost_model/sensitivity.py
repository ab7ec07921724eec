"""
Four ways to the losses of a model's layers, each saying what it rests on.

``weights``: rounding errors of the checkpoint's own matrices. ``calibrated``: divergences measured
with one layer rounded at a time. ``scores``: what another tool found. ``config``: the shapes of the
layers alone, with the errors of Gaussian weights. The level is the anchor's: the user's loss at
uniform 4 bits, else the published one, else that of the model's class; calibrated losses, which are
in nats already, are only moved to the first two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cost_model.arrays import FloatArray
from cost_model.layer_divergence import (
    PASS_BITS,
    Decoder,
    State,
    calibrated,
    needed_passes,
    single_layer_kl,
)
from cost_model.omega import Omega, anchored, local_anchor_nats, scaled_to_anchor
from cost_model.quality import last_layer_factor, layer_shares, quality_source
from cost_model.rounding import Rounding
from cost_model.scores import layer_scores
from cost_model.weight_errors import Sampling, layer_errors
from profiles.architecture import Model
from profiles.checkpoint import Checkpoint
from profiles.errors import InputError
from profiles.quality import Anchor, anchor_for, best_anchor, gaussian_t2, given_anchor
from profiles.scores import ScoreTable

__all__ = [
    "DEFAULT_BITS",
    "SensitivityChoice",
    "calibrated_omega",
    "config_omega",
    "scores_omega",
    "weights_omega",
]

DEFAULT_BITS = (3, 4, 8)
_ANCHOR_BITS = 4
OnLayer = Callable[[int, int], None]
Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityChoice:
    """
    What losses are wanted.

    Parameters
    ----------
    bits
        Widths; 4 is added where it is missing.
    rounding
        The groups that will be served.
    sampling
        Rows of the checkpoint that are looked at.
    nats_at_4_bits
        The user's own anchor, in the groups that will be served; None takes what is published.
    last_layer
        How much more sensitive the last layer is than its weights tell; None takes 2 for models
        of the size on which that was seen, else 1.
    """

    bits: tuple[int, ...] = DEFAULT_BITS
    rounding: Rounding = field(default_factory=Rounding)
    sampling: Sampling = field(default_factory=Sampling)
    nats_at_4_bits: float | None = None
    last_layer: float | None = None

    def __post_init__(self) -> None:
        """Refuse widths and figures that cannot be."""
        wrong = [each for each in self.bits if each not in (2, 3, 4, 5, 6, 8)]
        if wrong:
            raise InputError(f"bits has {wrong[0]}; losses are known for 2, 3, 4, 5, 6 and 8 bits.")
        if self.last_layer is not None and not 0 < self.last_layer <= 100:
            raise InputError(
                f"last_layer is {self.last_layer}; give a factor above 0 and up to 100."
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """All widths, ascending, 4 among them."""
        return tuple(sorted({*self.bits, _ANCHOR_BITS}))

    def anchor(self, model: Model) -> Anchor:
        """The user's anchor, else the published one, else that of the model's class."""
        if self.nats_at_4_bits is None:
            return best_anchor(model)
        return given_anchor(
            model,
            self.nats_at_4_bits,
            group_size=self.rounding.group_size,
            source="--nats-at-4-bits",
        )

    def last_layer_of(self, model: Model) -> float:
        """The factor of the last layer."""
        return last_layer_factor(model) if self.last_layer is None else self.last_layer


def weights_omega(
    checkpoint: Checkpoint, choice: SensitivityChoice, on_layer: OnLayer | None = None
) -> Omega:
    """
    Losses from the rounding errors of a checkpoint's weights.

    Parameters
    ----------
    checkpoint
        At 16 or 32 bits.
    choice
        What losses are wanted.
    on_layer
        Told the layers done and all layers.
    """
    model, widths = checkpoint.model, choice.widths
    raw = layer_errors(checkpoint.layers, widths, choice.rounding, choice.sampling, on_layer)
    anchor = choice.anchor(model)
    level, last = local_anchor_nats(anchor, choice.rounding), choice.last_layer_of(model)
    what = f"rounding errors of the weights of {checkpoint.name}{_last_text(last)}"
    return _omega(model, choice, anchored(raw, widths, level, last), anchor, what)


def config_omega(model: Model, choice: SensitivityChoice) -> Omega:
    """Losses from the shapes of the layers and the errors of Gaussian weights."""
    errors = [gaussian_t2(bits, choice.rounding.group_size) for bits in choice.widths]
    shares = layer_shares(model)
    if choice.last_layer is not None:
        shares[-1] *= choice.last_layer / last_layer_factor(model)
    anchor = choice.anchor(model)
    level = local_anchor_nats(anchor, choice.rounding)
    nats = scaled_to_anchor(np.outer(shares, errors), choice.widths, level)
    last = choice.last_layer_of(model)
    what = f"shapes of the layers and errors of Gaussian weights{_last_text(last)}"
    return _omega(model, choice, nats, anchor, what)


def scores_omega(
    model: Model,
    table: ScoreTable,
    choice: SensitivityChoice,
    *,
    noise_percentile: float | None = None,
    in_nats: bool = False,
) -> Omega:
    """
    Losses from the scores of another tool.

    Parameters
    ----------
    model
        Whose layers are scored.
    table
        The scores.
    choice
        What losses are wanted; scores tell of the last layer themselves.
    noise_percentile
        See `cost_model.scores.without_noise`.
    in_nats
        Whether the scores are nats of ln(perplexity) already, and keep their level.
    """
    widths = choice.widths
    raw = layer_scores(table.scores, model, widths, choice.rounding.group_size, noise_percentile)
    anchor = choice.anchor(model)
    level = local_anchor_nats(anchor, choice.rounding)
    what = f"scores of {table.tool}"
    if not in_nats:
        return _omega(model, choice, scaled_to_anchor(raw, widths, level), anchor, what)
    own = float(raw[:, widths.index(_ANCHOR_BITS)].sum())
    return _omega(model, choice, scaled_to_anchor(raw, widths, own), anchor, what, own_level=True)


def calibrated_omega(
    checkpoint: Checkpoint,
    decoder: Decoder[State],
    batches: Sequence[Tokens],
    choice: SensitivityChoice,
    *,
    tokens_text: str,
    on_layer: OnLayer | None = None,
) -> Omega:
    """
    Losses measured with one layer rounded at a time.

    Parameters
    ----------
    checkpoint, decoder
        The weights, and the same model as it runs.
    batches
        Tokens, each of shape (sequences, length).
    choice
        What losses are wanted; the divergences tell of the last layer themselves.
    tokens_text
        What the tokens are, in words.
    on_layer
        Told the layers done and all layers.
    """
    model = checkpoint.model
    widths = tuple(sorted({*choice.widths, PASS_BITS}))
    raw = layer_errors(checkpoint.layers, widths, choice.rounding, choice.sampling)
    kl_nats = single_layer_kl(decoder, batches, needed_passes(widths), on_layer)
    nats = calibrated(kl_nats, raw, widths)[:, [widths.index(each) for each in choice.widths]]
    count = sum(tokens.size for tokens in batches)
    what = f"divergence with one layer rounded at a time, over {count:,} {tokens_text}"
    is_own = choice.nats_at_4_bits is None and anchor_for(model.name) is None
    anchor = choice.anchor(model)
    own = float(nats[:, choice.widths.index(_ANCHOR_BITS)].sum())
    level = own if is_own else local_anchor_nats(anchor, choice.rounding)
    scaled = scaled_to_anchor(nats, choice.widths, level)
    return _omega(model, choice, scaled, anchor, what, own_level=is_own)


def _last_text(factor: float) -> str:
    return "" if factor == 1 else f", last layer times {factor:g}"


def _omega(
    model: Model,
    choice: SensitivityChoice,
    nats: FloatArray,
    anchor: Anchor,
    what: str,
    *,
    own_level: bool = False,
) -> Omega:
    omega = Omega(
        model=model.name,
        bits=choice.widths,
        rounding=choice.rounding,
        nats=nats,
        w8a8_nats=anchor.w8a8,
        provenance="measured" if own_level else anchor.provenance,
        text="",
    )
    level = _level_text(omega.nats_at_4_bits, anchor, own_level=own_level)
    return replace(omega, text=f"{what} ({choice.rounding.text}); {level}")


def _level_text(nats_at_4_bits: float, anchor: Anchor, *, own_level: bool) -> str:
    if own_level:
        return (
            f"{nats_at_4_bits:.4g} nats at uniform 4 bits by themselves; "
            f"W8A8: {anchor.w8a8:.2g} nats as for {anchor.model}"
        )
    basis = quality_source(anchor).anchor
    if nats_at_4_bits == anchor.nats_at_4_bits:
        return f"scaled to {basis}"
    return f"scaled to {nats_at_4_bits:.4g} nats, from {basis}"
