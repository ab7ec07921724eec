"""
How far off the matrices of a checkpoint are once rounded, from a sample of their rows.

    t2[m, b] = ||W_m - Q_b(W_m)||^2 / ||W_m||^2
    raw[i, b] = sum over the modules m of layer i of a[m] * t2[m, b]

with the published module weights a. The experts of a layer are one module: their errors and norms
are added first. Rows are drawn by the name of their tensor and a seed, so that neither the order of
the shards nor other tensors matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cost_model.arrays import FloatArray
from cost_model.rounding import Rounding, squared_errors
from profiles.checkpoint import Matrix
from profiles.errors import InputError
from profiles.quality import module_weights
from profiles.safetensors_file import read_rows

__all__ = ["Sampling", "layer_errors", "matrix_rows"]

_FEWEST_ROWS = 4  # of each matrix of a module, where the rows are spread over many experts
OnLayer = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """
    Which rows are looked at.

    Parameters
    ----------
    rows
        Of each module of a layer, those of its experts together.
    seed
        Draws them.
    """

    rows: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a sample of nothing."""
        if self.rows < 1 or self.seed < 0:
            raise InputError(
                f"rows is {self.rows} and seed {self.seed}; give at least 1 row and a seed of 0 "
                "or more."
            )


def layer_errors(
    layers: Sequence[Sequence[Matrix]],
    bits: Sequence[int],
    rounding: Rounding,
    sampling: Sampling,
    on_layer: OnLayer | None = None,
) -> FloatArray:
    """
    Weighted relative squared errors of every layer.

    Parameters
    ----------
    layers
        The matrices of L layers.
    bits
        B widths.
    rounding
        As the weights will be served.
    sampling
        Which rows are looked at.
    on_layer
        Told the layers done and all layers.

    Returns
    -------
    FloatArray
        ``raw``, shape (L, B).

    Raises
    ------
    InputError
        When a file cannot be read, or holds numbers that are not finite.
    """
    errors = np.zeros((len(layers), len(bits)))
    for layer, matrices in enumerate(layers):
        for module, weight in module_weights().items():
            alike = [matrix for matrix in matrices if matrix.module == module]
            if alike:
                errors[layer] += weight * _module_error(alike, bits, rounding, sampling)
        if on_layer is not None:
            on_layer(layer + 1, len(layers))
    return errors


def _module_error(
    matrices: Sequence[Matrix], bits: Sequence[int], rounding: Rounding, sampling: Sampling
) -> FloatArray:
    """``t2`` of a module at each width, shape (B,); 0 where all weights are 0."""
    each = max(-(-sampling.rows // len(matrices)), min(_FEWEST_ROWS, sampling.rows))
    sums = np.zeros(len(bits) + 1)
    for matrix in matrices:
        rows = matrix_rows(matrix, _drawn(matrix, each, sampling.seed))
        # Of a matrix with few rows all are drawn, of a large one some: both count by their size.
        sums += squared_errors(rows, bits, rounding) * len(matrix.rows) / len(rows)
    return np.asarray(sums[:-1] / sums[-1] if sums[-1] else sums[:-1], dtype=np.float64)


def _drawn(matrix: Matrix, count: int, seed: int) -> Sequence[int]:
    """Rows of the tensor, in order."""
    if count >= len(matrix.rows):
        return matrix.rows
    key = crc32(f"{matrix.tensor.name}:{matrix.module}".encode())
    chosen = np.random.default_rng([seed, key]).choice(len(matrix.rows), count, replace=False)
    return [matrix.rows[at] for at in np.sort(chosen).tolist()]


def matrix_rows(matrix: Matrix, rows: Sequence[int]) -> NDArray[np.float32]:
    """Outputs of a matrix, shape (len(rows), inputs); ``rows`` as in `Matrix.rows`."""
    if matrix.is_transposed:
        return np.ascontiguousarray(read_rows(matrix.tensor)[:, list(rows)].T)
    return read_rows(matrix.tensor, rows)
