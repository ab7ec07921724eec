"""
Sensitivities measured on a model that runs: the divergence when one layer alone is rounded.

    k[i]        = mean over tokens of KL(p_16 || p with layer i at 3 bits)
    omega[i, b] = k[i] * raw[i, b] / raw[i, 3]  for b >= 3
    omega[i, 2] = the same divergence at 2 bits: carried over from 3 bits, it would rank badly

All in nats. The model is anything that follows `Decoder`; `cost_model.llama_forward` has one.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cost_model.arrays import FloatArray
from profiles.errors import InputError

__all__ = ["PASS_BITS", "Decoder", "calibrated", "needed_passes", "single_layer_kl"]

PASS_BITS = 3
"""The width at which each layer is measured; others of at least as many bits follow from it."""

State = TypeVar("State")
Tokens = NDArray[np.int64]
OnLayer = Callable[[int, int], None]


class Decoder(Protocol[State]):
    """A decoder that runs layer by layer, on states of its own."""

    @property
    def num_layers(self) -> int:
        """Number of layers."""

    def embed(self, tokens: Tokens) -> State:
        """What enters the first layer; tokens of shape (sequences, length)."""

    def layer(self, index: int, state: State, bits: int = 16) -> State:
        """What leaves a layer, its weights rounded to so many bits; 16 leaves them."""

    def kl_nats(self, state_16: State, state: State) -> float:
        """Mean over tokens of KL(p_16 || p) of what leaves the last layer, in nats."""


def needed_passes(bits: Sequence[int]) -> tuple[int, ...]:
    """The widths at which layers must be measured to know the losses at these widths."""
    return tuple(sorted({each for each in bits if each < PASS_BITS} | {PASS_BITS}))


def single_layer_kl(
    decoder: Decoder[State],
    batches: Sequence[Tokens],
    bits: Sequence[int],
    on_layer: OnLayer | None = None,
) -> FloatArray:
    """
    Divergence of the answers when one layer is rounded and all others are not.

    Parameters
    ----------
    decoder
        The model of L layers.
    batches
        Tokens, each of shape (sequences, length); every token weighs the same.
    bits
        P widths to round to.
    on_layer
        Told the layers done and all layers.

    Returns
    -------
    FloatArray
        Mean KL in nats, shape (L, P). Takes about ``P * L / 2`` times a run of the whole model:
        the layers before the rounded one run once.
    """
    layers = range(decoder.num_layers)
    shares = np.array([tokens.size for tokens in batches]) / sum(t.size for t in batches)
    entering = [decoder.embed(tokens) for tokens in batches]
    last = [_run(decoder, state, layers) for state in entering]
    nats = np.zeros((len(layers), len(bits)))
    for index in layers:
        for column, width in enumerate(bits):
            for state, state_16, share in zip(entering, last, shares, strict=True):
                rounded = decoder.layer(index, state, width)
                left = _run(decoder, rounded, layers[index + 1 :])
                nats[index, column] += share * decoder.kl_nats(state_16, left)
        entering = [decoder.layer(index, state) for state in entering]
        if on_layer is not None:
            on_layer(index + 1, len(layers))
    return np.maximum(nats, 0.0)


def _run(decoder: Decoder[State], state: State, layers: Sequence[int]) -> State:
    for index in layers:
        state = decoder.layer(index, state)
    return state


def calibrated(kl_nats: FloatArray, raw: FloatArray, bits: Sequence[int]) -> FloatArray:
    """
    Losses at all widths from those measured.

    Parameters
    ----------
    kl_nats
        `single_layer_kl` at the `needed_passes`, shape (L, P).
    raw
        `layer_errors` at the widths, shape (L, B).
    bits
        B widths, 3 among them.

    Returns
    -------
    FloatArray
        Nats, shape (L, B).

    Raises
    ------
    InputError
        When rounding a layer to 3 bits changes no weight, so that nothing can be carried over.
    """
    passes, at_pass = needed_passes(bits), raw[:, list(bits).index(PASS_BITS)]
    if not (at_pass > 0).all():
        layer = int(np.argmin(at_pass))
        raise InputError(
            f"Layer {layer} does not change at {PASS_BITS} bits; it is rounded already."
        )
    columns = [
        kl_nats[:, passes.index(each)]
        if each in passes
        else kl_nats[:, passes.index(PASS_BITS)] * raw[:, column] / at_pass
        for column, each in enumerate(bits)
    ]
    return np.column_stack(columns)
