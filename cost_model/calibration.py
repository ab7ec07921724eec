"""Predicted times multiplied by the factors of a user's calibration."""

from collections.abc import Sequence

import numpy as np

from cost_model.answer import full_kernel
from cost_model.arrays import FloatArray
from cost_model.stages import StageType
from profiles.calibration import Calibration, FactorKey
from profiles.formats import Format

__all__ = ["calibrated_times"]


def calibrated_times(
    times: dict[str, FloatArray],
    stages: Sequence[StageType],
    formats: Sequence[Format],
    calibration: Calibration,
) -> dict[str, FloatArray]:
    """
    Times of layers, embedding and head, corrected.

    Parameters
    ----------
    times
        As `cost_model.stages.stage_times` returns them.
    stages, formats
        What they are the times of: G stage types and F formats.
    calibration
        Of the same engine. Embedding and head take the factor of the 16-bit kernel.
    """
    corrected = {}
    for phase in ("prefill", "decode"):
        layers = np.ones((len(stages), len(formats)))
        ends = np.ones(len(stages))
        for g, stage in enumerate(stages):
            for f, each in enumerate(formats):
                if stage.formats[f]:
                    kernel = stage.kernels[each.name].kernel
                    key = FactorKey(stage.gpu.name, kernel, each.name, phase)
                    layers[g, f] = calibration.factor(key)
            full = full_kernel(calibration.engine, stage.gpu)
            if full is not None:
                key = FactorKey(stage.gpu.name, full[0].kernel, full[1].name, phase)
                ends[g] = calibration.factor(key)
        corrected[f"{phase}_s"] = times[f"{phase}_s"] * layers[:, :, None, None]
        for end in ("embedding", "head"):
            name = f"{end}_{phase}_s"
            corrected[name] = times[name] * ends[:, None]
    return corrected
