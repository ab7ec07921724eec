"""
How many layers a stage can hold when it must keep to a pace.

A stage that takes n_f layers in format f keeps sum_f n_f a_f <= A, sum_f n_f d_f <= D and
sum_f n_f b_f <= M (seconds of prefill, seconds of decode, bytes). For any weights w >= 0 that add
up to 1, every mix of formats holds at most

    floor( 1 / min_f (w_1 a_f / A + w_2 d_f / D + w_3 b_f / M) )

layers; the least over a grid of weights is close to the best such bound (linear-programming
duality). Rounding down is what a relaxation in fractions of layers does not see.
"""

from itertools import product

import numpy as np

from solver.instance import Instance
from solver.problem import FloatArray, IntArray

__all__ = ["End", "most_layers", "most_layers_of_kind"]

_ROUNDING = 1e-9
_STEPS = 12
_GRID = [(i, j, _STEPS - i - j) for i, j in product(range(_STEPS + 1), repeat=2) if i + j <= _STEPS]
_WEIGHTS = np.array(_GRID, dtype=float) / _STEPS
_TINY = 1e-200

# Whether a stage is the first and whether it is the last of the pipeline.
End = tuple[bool, bool]


def most_layers(instance: Instance, end: End = (False, False)) -> IntArray:
    """
    Most layers, of any kinds, that a stage can hold within the instance's paces and its memory.

    Parameters
    ----------
    instance
        Its upper ends of the pace intervals count; where they are infinite only memory limits.
    end
        Whether the stage also carries the embedding and the LM head.

    Returns
    -------
    array
        Shape (G,), at most the number of layers of the model.
    """
    least = _weighed(instance, end).min(axis=3)
    return _whole(least.min(axis=2).max(axis=0), instance)


def most_layers_of_kind(instance: Instance) -> IntArray:
    """Shape (G, K): most layers of one kind alone, on a stage at neither end."""
    return _whole(_weighed(instance, (False, False)).min(axis=2).max(axis=0), instance)


def _weighed(instance: Instance, end: End) -> FloatArray:
    """Shape (weights, G, F, K): weighed shares of its room that a layer takes; inf if forbidden."""
    p, first, last = instance.problem, *end
    eta, xi = instance.prefill, instance.decode
    prefill = first * p.embedding_prefill_s[:, eta] + last * p.head_prefill_s[:, eta]
    decode = first * p.embedding_decode_s[:, xi] + last * p.head_decode_s[:, xi]
    held = first * p.embedding_bytes + last * (p.head_bytes + instance.last_work_bytes)
    held = held - (first and last) * p.shared_bytes
    shares = np.stack(
        [
            _share(p.prefill_s[..., eta], instance.prefill_pace.high - prefill),
            _share(p.decode_s[..., xi], instance.decode_pace.high - decode),
            _share(instance.layer_bytes, instance.free_bytes - held),
        ]
    )
    weighed = np.tensordot(_WEIGHTS, shares, axes=1)
    return np.where(p.group_formats[None, :, :, None], weighed, np.inf)


def _whole(least_share: FloatArray, instance: Instance) -> IntArray:
    most = 1 / np.maximum(least_share, _TINY) * (1 + _ROUNDING)
    whole: IntArray = np.floor(np.minimum(most, instance.problem.num_layers)).astype(np.int64)
    return whole


def _share(layer: FloatArray, room: FloatArray) -> FloatArray:
    """Shape (G, F, K): what a layer takes of the room (shape (G,)); huge where there is none."""
    share: FloatArray = layer / np.maximum(room, _TINY)[:, None, None]
    return np.minimum(share, 1 / _TINY)
