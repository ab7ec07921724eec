"""A smaller last micro-batch counts in part."""

from dataclasses import replace

import numpy as np
import pytest

from solver import BatchOption
from solver.rounds import Rounds, rounds_of
from tests.solver.hand_made import pipeline


def of_sizes(batch, sizes, layer_s, head_s=None):
    """`pipeline` at micro-batch sizes of one's own, with these seconds in prefill."""
    problem = pipeline(batch=1)
    num_groups = len(problem.groups)
    first = {
        name: np.repeat(getattr(problem, name)[..., :1], len(sizes), axis=-1) for name in PER_SIZE
    }
    first["prefill_s"] = first["prefill_s"] * 0 + np.array(layer_s, dtype=float)
    first["head_prefill_s"] = np.zeros((num_groups, len(sizes))) + np.array(head_s or 0.0)
    first["embedding_prefill_s"] = np.zeros((num_groups, len(sizes)))
    first["prefill_occupancy_s"] = first["prefill_occupancy_s"] * 0
    every = tuple(range(len(sizes)))
    return replace(
        problem,
        micro_batches=np.array(sizes),
        batches=(BatchOption(size=batch, prefill=every, decode=every),),
        **first,
    )


PER_SIZE = (
    *("prefill_s", "decode_s", "embedding_prefill_s", "embedding_decode_s"),
    *("head_prefill_s", "head_decode_s", "prefill_work_bytes", "decode_work_bytes"),
    *("head_prefill_work_bytes", "head_decode_work_bytes", "prefill_link_s", "decode_link_s"),
    *("return_link_s", "prefill_occupancy_s", "decode_occupancy_s", "return_occupancy_s"),
)


@pytest.mark.parametrize(
    ("batch", "sizes", "layer_s", "head_s", "expected"),
    [
        (8, [4], [2.0], None, Rounds(micro_batches=2.0)),
        (4, [4], [2.0], None, Rounds(micro_batches=1.0)),
        # 4 + 3: the last takes three quarters.
        (7, [3, 4], [3.0, 4.0], None, Rounds(micro_batches=1.75)),
        # 4 + 1, times known at 3 and 4 only: charged as 3.
        (5, [3, 4], [3.0, 4.0], None, Rounds(micro_batches=1.75)),
        # Nothing smaller is known: charged as a full one.
        (5, [4], [4.0], None, Rounds(micro_batches=2.0)),
        # A smaller one that takes longer is no saving.
        (7, [3, 4], [5.0, 4.0], None, Rounds(micro_batches=2.0)),
        # The head takes a second whatever the size: a quarter of it is not saved.
        (7, [3, 4], [3.0, 4.0], [1.0, 1.0], Rounds(micro_batches=1.75, excess_s=0.25)),
    ],
)
def test_rounds(batch, sizes, layer_s, head_s, expected):
    problem = of_sizes(batch, sizes, layer_s, head_s)
    assert rounds_of(problem, batch, len(sizes) - 1, "prefill") == expected


def test_a_transfer_that_shrinks_less_than_a_layer_counts():
    problem = of_sizes(7, [3, 4], [1.0, 4.0])
    busy = np.zeros_like(problem.prefill_occupancy_s) + np.array([0.9, 1.0])
    problem = replace(problem, prefill_occupancy_s=busy)
    assert rounds_of(problem, 7, 1, "prefill").micro_batches == pytest.approx(1.9)
