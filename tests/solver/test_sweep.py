"""A sweep is a table: a row per point in order, failures too, and the same twice."""

import os

import numpy as np
import pandas as pd
import pytest

from profiles.errors import BackendError, InputError
from solver import Limits, Objective, StopRule, SweepPoint, SweepProblem, sweep
from solver.objective import Goal
from solver.sweep import SWEEP_COLUMNS
from tests.solver.hand_made import pipeline


def point(layers, make=None, **options):
    """So many layers on a GPU and on another of half its speed; or what makes the problem."""
    problem = SweepProblem(
        problem=pipeline(speeds=(2.0, 1.0), num_layers=layers),
        stop=StopRule(gap=0.0),
        **options,
    )
    return SweepPoint(labels={"layers": layers}, problem=make or problem)


def infeasible(layers):
    """Layers that no memory holds."""
    problem = SweepProblem(problem=pipeline(num_layers=layers, memory=1.0))
    return SweepPoint(labels={"layers": layers}, problem=problem)


def wrong():
    raise InputError("speeds is 0; give more.")


def broken():
    return {}["speeds"]


def dying():
    os._exit(1)


@pytest.fixture
def six_points():
    """Four that have plans, one without, one that cannot be made."""
    return [point(1), point(2), point(3), point(4), infeasible(5), point(6, wrong)]


def test_table_has_a_row_per_point(six_points):
    """A layer in w8 takes a quarter of a second on the fast GPU, where all of them go."""
    table = sweep(six_points)
    assert list(table.columns) == ["layers", *SWEEP_COLUMNS]
    assert table["layers"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["objective_value"].tolist()[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert table["status"].tolist() == ["optimal"] * 4 + ["infeasible", "failed"]
    assert table["plan"].tolist()[:2] == ["1 gpu0", "2 gpu0"]
    assert table["gpus"].tolist()[:4] == [1] * 4
    assert table["plan"].isna().tolist() == [False] * 4 + [True] * 2


def test_even_split_stands_beside_the_best_plan():
    """Four layers, two on each: the slow GPU takes 1 s for its two, the fast one 0.5 s."""
    (row,) = sweep([point(4)]).to_dict("records")
    assert row["even_split_value"] == pytest.approx(1.5)


def test_failures_say_why(six_points):
    """What no memory holds, what is wrong, and bugs by their type."""
    table = sweep([*six_points, point(7, broken)])
    assert "memory" in table["reason"][4].lower()
    assert table["reason"][5] == "speeds is 0; give more."
    assert table["reason"][6] == "KeyError: 'speeds'"
    assert table["objective_value"].isna().tolist() == [False] * 4 + [True] * 3


def test_objective_and_limits_are_those_of_the_point():
    """Least quality loss takes w16; with one GPU only the fast one is left."""
    quality = point(4, objective=Objective(goal=Goal.QUALITY_LOSS))
    limited = point(4, limits=Limits(gpus=1, loss_nats=0.0))
    table = sweep([quality, limited])
    assert table["objective_value"].tolist() == pytest.approx([0.0, 2.0])


@pytest.mark.parametrize("workers", [1, 2])
def test_same_points_give_the_same_table(workers, six_points):
    """Twice, and in however many processes."""
    first = sweep(six_points)
    pd.testing.assert_frame_equal(sweep(six_points, workers=workers), first, check_exact=True)


def test_unknown_prices_are_missing():
    """Not zero, where a plan uses such a GPU; known where it does not."""
    priced = pipeline(speeds=(2.0, 1.0), num_layers=1, prices=(3.6, 0.0))
    problems = [SweepProblem(problem=priced, unpriced=frozenset({gpu})) for gpu in (0, 1)]
    table = sweep([SweepPoint(labels={}, problem=problem) for problem in problems])
    assert table["price_usd_per_hour"].isna().tolist() == [True, False]
    assert table["cost_usd_per_million_tokens"].isna().tolist() == [True, False]
    assert table["price_usd_per_hour"][1] == pytest.approx(3.6)


def test_types_do_not_hang_on_the_rows():
    """A table of failures alone, or of nothing, has the columns of any other."""
    whole = sweep([point(1)]).dtypes[list(SWEEP_COLUMNS)]
    assert whole.equals(sweep([point(1, wrong)]).dtypes[list(SWEEP_COLUMNS)])
    assert whole.equals(sweep([]).dtypes)
    assert whole["objective_value"] == np.float64


def test_points_may_have_different_labels():
    """What a point does not have is missing."""
    other = SweepPoint(labels={"cluster": "b"}, problem=wrong)
    table = sweep([point(1), other])
    assert list(table.columns[:2]) == ["layers", "cluster"]
    assert table["cluster"].isna().tolist() == [True, False]


def test_every_point_is_told_of(six_points):
    """Once each, counted up; rows as in the table."""
    told = []
    table = sweep(six_points, on_event=told.append)
    assert [event.done for event in told] == [1, 2, 3, 4, 5, 6]
    assert {event.total for event in told} == {6}
    assert sorted(event.index for event in told) == list(range(6))
    assert [event.row["status"] for event in sorted(told, key=lambda event: event.index)] == table[
        "status"
    ].tolist()


def test_bad_sweeps_are_refused_before_anything_is_solved():
    """No workers; a label that would hide a result."""
    with pytest.raises(InputError, match="workers is 0"):
        sweep([point(1)], workers=0)
    with pytest.raises(InputError, match="Label 'gap' is the name of a column"):
        sweep([SweepPoint(labels={"gap": 1}, problem=wrong)])


def test_death_of_a_process_is_told():
    """Not a row: nobody knows whose it was."""
    with pytest.raises(BackendError, match="A process of the sweep died"):
        sweep([point(1, dying), point(2)], workers=2)
