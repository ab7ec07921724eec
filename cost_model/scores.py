"""
From scores of modules at some widths to scores of layers at all.

A width that was not scored follows from the nearest one that was, along a curve of whole-model
losses f:  s(w) = s(w0) * f(w) / f(w0).  Sensitivities of modules keep their ranks over widths
(correlations of 0.94 to 0.97 between 1.75 and 2.6 bits per weight), so that one width is enough.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import log
from typing import TypeVar

import numpy as np

from cost_model.arrays import FloatArray
from profiles.architecture import Model
from profiles.errors import InputError
from profiles.quality import gaussian_t2
from profiles.scores import Score

__all__ = ["carried_score", "layer_scores", "without_noise"]

Width = TypeVar("Width", bound=Hashable)
_FEWEST_BITS = 3  # nothing is carried over this border


def carried_score(
    known: Mapping[Width, float], width: Width, curve: Mapping[Width, float]
) -> float:
    """
    The score at a width from the nearest one that is known.

    Parameters
    ----------
    known
        Scores of a module, at least one at a width whose loss on the curve is positive.
    width
        Which one is wanted; 0 where the curve has no loss.
    curve
        Loss of the whole model by width, in any unit. Nearness is the ratio of losses.
    """
    if curve[width] <= 0:
        return 0.0
    nearest = min(
        (each for each in known if curve[each] > 0),
        key=lambda each: abs(log(curve[each] / curve[width])),
    )
    return known[nearest] * curve[width] / curve[nearest]


def without_noise(
    scores: Iterable[Mapping[Width, float]], percentile: float
) -> list[dict[Width, float]]:
    """
    Scores less what each width has at least: the noise floor of measured divergences.

    Parameters
    ----------
    scores
        By width, one mapping for each module.
    percentile
        0 to 100, of the scores of a width; it is taken off, and what falls below 0 is 0.
    """
    scores = list(scores)
    by_width: dict[Width, list[float]] = {}
    for each in scores:
        for width, score in each.items():
            by_width.setdefault(width, []).append(score)
    floor = {width: float(np.percentile(all_, percentile)) for width, all_ in by_width.items()}
    return [{w: max(0.0, score - floor[w]) for w, score in each.items()} for each in scores]


def layer_scores(
    scores: Sequence[Score],
    model: Model,
    bits: Sequence[int],
    group_size: int | None,
    noise_percentile: float | None = None,
) -> FloatArray:
    """
    Scores of every layer, the sum over its modules.

    Parameters
    ----------
    scores
        Of every layer; layers of one kind with the same modules.
    model
        Of L layers.
    bits
        B widths.
    group_size
        Groups of the Gaussian curve that carries scores to other widths.
    noise_percentile
        See `without_noise`; None takes nothing off.

    Returns
    -------
    FloatArray
        Shape (L, B), in the unit of the scores.

    Raises
    ------
    InputError
        When a layer or one of its modules has no score that tells of a width.
    """
    modules: dict[tuple[int, str], dict[int, float]] = {}
    for each in scores:
        modules.setdefault((each.layer, each.module), {})[each.bits] = each.score
    _check_modules(modules, model)
    known = list(modules.values())
    if noise_percentile is not None:
        known = without_noise(known, noise_percentile)
    widths = {*bits, *(each.bits for each in scores)}
    curve = {width: gaussian_t2(width, group_size) for width in widths}
    total = np.zeros((model.num_layers, len(bits)))
    for (layer, module), own in zip(modules, known, strict=True):
        for column, width in enumerate(bits):
            total[layer, column] += _at_width(own, width, curve, f"layer {layer} {module}")
    return total


def _at_width(own: Mapping[int, float], width: int, curve: Mapping[int, float], what: str) -> float:
    near = {
        each: score
        for each, score in own.items()
        if curve[each] > 0 and (each < _FEWEST_BITS) == (width < _FEWEST_BITS)
    }
    if not near:
        side = f"below {_FEWEST_BITS}" if width < _FEWEST_BITS else f"of {_FEWEST_BITS} to 8"
        raise InputError(
            f"There is no score of {what.rstrip()} at a width {side} bits, from which {width} bits "
            "would follow; add one."
        )
    return carried_score(near, width, curve)


def _check_modules(modules: Iterable[tuple[int, str]], model: Model) -> None:
    by_layer: list[set[str]] = [set() for _ in model.layers]
    for layer, module in modules:
        if layer >= model.num_layers:
            raise InputError(
                f"There is a score of layer {layer}, but {model.name} has layers 0 to "
                f"{model.num_layers - 1}; give the scores of this model."
            )
        by_layer[layer].add(module)
    for kind in set(model.layer_kinds):
        alike = [layer for layer, each in enumerate(model.layer_kinds) if each == kind]
        wanted = set().union(*(by_layer[layer] for layer in alike))
        for layer in alike:
            missing = sorted(wanted - by_layer[layer]) or ([] if wanted else [""])
            if missing:
                what = f"layer {layer} {missing[0]}".rstrip()
                raise InputError(f"There is no score of {what}; add it.")
