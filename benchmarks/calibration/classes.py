"""
Coefficients of a GPU that nobody measured, from GPUs of its class.

What tensor cores reach goes with the power a card may draw, what the memory reaches with its
generation: the class of a coefficient is the GPUs that are alike in the one or the other.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import geometric_mean, mean

import numpy as np

from benchmarks.calibration.errors import PhaseErrors
from benchmarks.calibration.fitted import Judged
from benchmarks.calibration.fitting import predicted_s
from profiles.coefficients import Coefficients
from profiles.gpus import Gpu, find_gpu

__all__ = ["LOW_POWER", "class_coefficients", "judge_classes"]

LOW_POWER = ("T4", "L4")  # 70 and 72 W
_OLD = ("Pascal", "Volta", "Turing")
_OF_POWER = ("compute_share", "layer_overhead_s")
_OF_ATTENTION = ("attention_share", "cache_share")
_OF_GENERATION = (
    "memory_share",
    "activation_factor",
    "half_tokens",
    "wave_share",
    "narrow_factor",
    "step_share",
    "sharpness",
)


def class_coefficients(
    gpu: Gpu, like: Coefficients, fitted: Mapping[str, Coefficients]
) -> Coefficients:
    """
    The means of a GPU's classes.

    Parameters
    ----------
    gpu
        The GPU that was not measured.
    like
        Gives engine, kernel, format and what classes leave open.
    fitted
        Measured coefficients of the same kernel, by GPU; the GPU itself is left out.
    """
    others = [find_gpu(name) for name in fitted if name != gpu.name]
    power = [o.name for o in others if (o.name in LOW_POWER) == (gpu.name in LOW_POWER)]
    old = gpu.architecture in _OLD
    generation = [o.name for o in others if (o.architecture in _OLD) == old]
    # Attention was timed in another engine than the rest of some layers.
    alike = [name for name in generation if fitted[name].fitted_on == like.fitted_on]
    attention = alike or generation
    found = {
        name: _mean(fitted, names, name)
        for fields, names in (
            (_OF_POWER, power),
            (_OF_GENERATION, generation),
            (_OF_ATTENTION, attention),
        )
        for name in fields
    }
    found["group_penalty"] = mean(fitted[name].group_penalty for name in attention)
    return replace(like, gpu=gpu.name, **found)  # type: ignore[arg-type]


def _mean(fitted: Mapping[str, Coefficients], names: list[str], field: str) -> float:
    """Geometric mean of what was fitted: a field that a kind of fit leaves alone is 0 there."""
    values = [value for name in names if (value := getattr(fitted[name], field)) > 0]
    return geometric_mean(values) if values else 0.0


def judge_classes(judged: Mapping[str, Judged]) -> dict[str, PhaseErrors]:
    """What class coefficients miss on each GPU when it is left out, by GPU."""
    whole = {gpu: each.coefficients for gpu, each in judged.items()}
    alone = {gpu: each.alone for gpu, each in judged.items()}
    found = {}
    for fold, (name, each) in enumerate(judged.items()):
        others = whole if each.alone == each.coefficients else alone
        guess = class_coefficients(find_gpu(name), each.alone, others)
        ratios = each.points.seconds / predicted_s(
            each.points, replace(each.fit, coefficients=guess)
        )
        found[name] = PhaseErrors(ratios, each.points.is_decode, np.full(len(ratios), fold))
    return found
