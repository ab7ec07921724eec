"""Arrays of the coefficient form: their names outside and inside, units and shapes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.problems import ProblemList
from api.schemas.coefficients import CoefficientsRequest
from profiles.units import MIB, MS

__all__ = ["ArrayForm", "array_forms", "read_arrays"]

AXES = {
    "G": "groups",
    "F": "formats",
    "K": "kinds",
    "L": "layer_kinds",
    "U": "nodes",
    "M": "micro_batches",
}


class ArrayForm(NamedTuple):
    """An array: field of the request, field of the problem, factor between them, axes."""

    field: str
    name: str
    factor: float
    axes: str


def array_forms() -> Iterator[ArrayForm]:
    """Every array of numbers in the coefficient form."""
    yield ArrayForm("loss_nats", "loss_nats", 1.0, "LF")
    yield ArrayForm("weight_mib", "weight_bytes", MIB, "GFK")
    yield ArrayForm("kv_mib", "kv_bytes", MIB, "GK")
    for part in ("embedding", "head", "shared"):
        yield ArrayForm(f"{part}_mib", f"{part}_bytes", MIB, "G")
    for phase in ("prefill", "decode"):
        yield ArrayForm(f"{phase}_ms", f"{phase}_s", MS, "GFKM")
        for part in ("embedding", "head"):
            yield ArrayForm(f"{part}_{phase}_ms", f"{part}_{phase}_s", MS, "GM")
        for part in ("", "head_"):
            work = f"{part}{phase}_work"
            yield ArrayForm(f"{work}_mib", f"{work}_bytes", MIB, "GM")
    for what in ("prefill", "decode", "return"):
        yield ArrayForm(f"{what}_link_ms", f"{what}_link_s", MS, "UUM")
        yield ArrayForm(f"{what}_occupancy_ms", f"{what}_occupancy_s", MS, "UUM")


def read_arrays(request: CoefficientsRequest) -> dict[str, NDArray[Any]]:
    """
    All arrays in base units by their name in the problem; those left out are zero (or true).

    Raises
    ------
    InvalidRequestError
        When an array is ragged or its shape does not fit; all such arrays are named.
    """
    problems = ProblemList()
    arrays = {
        form.name: _read(request, form.field, form.axes, 0.0, problems) * form.factor
        for form in array_forms()
    }
    for field, axes in (("layer_formats", "LF"), ("group_formats", "GF")):
        arrays[field] = _read(request, field, axes, fill=True, problems=problems)
    problems.raise_if_any()
    return arrays


def _read(
    request: CoefficientsRequest, field: str, axes: str, fill: bool | float, problems: ProblemList
) -> NDArray[Any]:
    shape = tuple(len(getattr(request, AXES[axis])) for axis in axes)
    values = getattr(request, field)
    if values is None:
        return np.full(shape, fill)
    try:
        array = np.array(values, dtype=type(fill))
    except ValueError:
        problems.add(f"/{field}", f"{field} is ragged; give rows of equal length.")
        return np.full(shape, fill)
    if array.shape != shape:
        names = ", ".join(AXES[axis] for axis in axes)
        problems.add(
            f"/{field}", f"{field} has shape {array.shape}; must be {shape}, which is ({names})."
        )
    return array
