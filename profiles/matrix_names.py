"""
Which matrix of which layer a tensor of a checkpoint is, by its name.

The names are those of the model code of transformers, as published checkpoints have them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["MatrixName", "Packing", "matrix_name"]

Packing = Literal["whole", "blocks", "heads"]

# One matrix by the last word of its module's name, or the last two where that is not clear.
_SINGLE: Mapping[str, str] = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    **dict.fromkeys(("o_proj", "out_proj", "dense", "attn.c_proj"), "o"),
    **dict.fromkeys(("gate_proj", "w1"), "gate"),
    **dict.fromkeys(("up_proj", "w3", "fc1", "c_fc", "dense_h_to_4h"), "up"),
    **dict.fromkeys(("down_proj", "w2", "fc2", "mlp.c_proj", "dense_4h_to_h"), "down"),
}
# Several in one: outputs in blocks one after the other, or by turns for each head of keys.
_FUSED: Mapping[str, tuple[tuple[str, ...], Packing]] = {
    "qkv_proj": (("q", "k", "v"), "blocks"),
    "c_attn": (("q", "k", "v"), "blocks"),
    "query_key_value": (("q", "k", "v"), "heads"),
    "gate_up_proj": (("gate", "up"), "blocks"),
}
_LAYER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.(.+)\.weight$")
_NOT_TEXT = re.compile(r"(?:^|[._])(?:vision|visual|audio|image)")


@dataclass(frozen=True, slots=True)
class MatrixName:
    """
    What the name of a tensor says.

    Parameters
    ----------
    layer
        Decoder layer, from 0.
    modules
        Of ``q k v o gate up down``: those in the tensor, in its order.
    packing
        ``whole`` for one matrix; how several are packed.
    """

    layer: int
    modules: tuple[str, ...]
    packing: Packing


def matrix_name(name: str) -> MatrixName | None:
    """What a tensor is by its name; None where it is no matrix that a format stores."""
    found = _LAYER.search(name)
    if found is None or _NOT_TEXT.search(name):
        return None
    layer, words = int(found[1]), found[2].split(".")
    for ending in (".".join(words[-2:]), words[-1]):
        if ending in _SINGLE:
            return MatrixName(layer, (_SINGLE[ending],), "whole")
        if ending in _FUSED:
            return MatrixName(layer, *_FUSED[ending])
    return None
