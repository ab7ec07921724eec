"""Seconds of a single matrix product, timed alone."""

import numpy as np

from cost_model.arrays import FloatArray
from cost_model.roofline import roofline_s
from cost_model.work import matrix_work
from profiles.coefficients import load_coefficients_alone
from profiles.errors import MissingProfileError
from profiles.formats import Format
from profiles.gpus import Gpu

__all__ = ["matrix_product_s"]


def matrix_product_s(
    gpu: Gpu,
    engine: str,
    kernel_name: str,
    format: Format,  # noqa: A002
    rows: FloatArray,
    num_inputs: int,
    num_outputs: int,
) -> FloatArray:
    """
    Seconds of the product of activations with one matrix of weights.

    Parameters
    ----------
    gpu, engine, kernel_name, format
        What runs it, as in ``profiles/data/coefficients_alone.csv``.
    rows
        Rows of activations, shape (M,).
    num_inputs, num_outputs
        Shape of the matrix. It was fitted to matrices of 15 million weights and more: smaller
        ones stay in the L2 cache from one repetition to the next.

    Raises
    ------
    MissingProfileError
        When the kernel's products were never timed on this GPU.
    """
    known = load_coefficients_alone()
    found = known.get((gpu.name, engine, kernel_name, format.name))
    if found is None:
        has = ", ".join(sorted({f"{g} {e} {k} {f}" for g, e, k, f in known}))
        raise MissingProfileError(
            f"No matrix products of kernel {kernel_name!r} ({engine}, {format.name}) were timed "
            f"on {gpu.name!r}; there are: {has}."
        )
    work = matrix_work(num_inputs, num_outputs, 1, np.asarray(rows, dtype=np.float64))
    return roofline_s(work, gpu, format, found)
