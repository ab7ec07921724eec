"""Stage times and the slowest of them: the same in every model of a case."""

from collections.abc import Sequence

import numpy as np

from solver.linear import Expression, ModelBuilder
from solver.llmpq.cases import LlmPqCase
from solver.problem import FloatArray

__all__ = ["add_stages", "time_units"]


def time_units(case: LlmPqCase) -> tuple[float, float]:
    """Seconds of all layer groups at their fastest, prefill and decode: brings loads near 1."""
    return _unit(case, case.prefill_s), _unit(case, case.decode_s)


def _unit(case: LlmPqCase, layer_s: FloatArray) -> float:
    usable = np.where(case.allowed, layer_s, np.inf).min(axis=(1, 2))
    total = float(usable.sum())
    return total if np.isfinite(total) and total > 0 else 1.0


def add_stages(
    builder: ModelBuilder, case: LlmPqCase, loads: Sequence[tuple[Expression, Expression]]
) -> Expression:
    """
    Add stage times and the slowest stage of both phases; returns what they cost in seconds.

    Parameters
    ----------
    builder
        Receives columns and rows.
    case
        The case.
    loads
        For every device the seconds of its layers in prefill and decode, in `time_units`.
    """
    cost: dict[int, float] = {}
    for phase, (unit, ends_s, send_s, weight) in enumerate(
        zip(
            time_units(case),
            (case.ends_prefill_s, case.ends_decode_s),
            (case.send_prefill_s, case.send_decode_s),
            (case.prefill_weight, case.decode_weight),
            strict=True,
        )
    ):
        slowest = builder.add()
        cost[slowest] = weight * unit
        for j, load in enumerate(loads):
            stage = builder.add()
            cost[stage] = unit
            own = ends_s / unit if j == 0 else 0.0
            builder.row({**load[phase], stage: -1.0}, upper=-own)
            builder.row({stage: 1.0}, lower=float(send_s[j]) / unit)
            builder.row({stage: 1.0, slowest: -1.0}, upper=0)
    return cost
