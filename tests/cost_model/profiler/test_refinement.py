"""Which points a table needs: synthetic devices whose times are formulas."""

from math import sqrt

import numpy as np
import pytest

from cost_model.grid import Grid, GridPoint
from cost_model.profiler.refinement import refine
from cost_model.profiler.subjects import Place, Reading, Span, reading_of
from cost_model.source import Source

SPAN = Span(batch=(1, 64), tokens=(64, 4096))
TOLERANCE = 0.02


def decode_s(place):
    """A millisecond of weights, 2 us per request, 20 ns per cached token: curved in both."""
    return 1e-3 + 2e-6 * place.batch + 20e-9 * place.batch * place.tokens


def settled(seconds, span=SPAN, *, noise=0.0, blocked=frozenset()):
    """Refine until nothing is wanted; readings are exact, whatever noise they claim."""
    readings = {}
    while wanted := refine(span, readings, blocked=blocked, tolerance=TOLERANCE, visits=5).wanted:
        readings |= {p: Reading(seconds(p), noise, visits) for p, visits in wanted.items()}
    return refine(span, readings, blocked=blocked, tolerance=TOLERANCE, visits=5), readings


def grid_of(refined, seconds):
    return Grid(GridPoint(*place, seconds(place), Source.MEASURED) for place in refined.places)


def test_a_power_law_needs_the_coarse_grid_and_its_checks_alone():
    """t = batch^0.5 tokens is a plane on logarithms: 3 x 3 points and a middle on each of 6."""
    refined, readings = settled(lambda place: sqrt(place.batch) * place.tokens * 1e-6)
    lines = {place.tokens for place in refined.places}
    assert lines == {64, 512, 4096}
    assert len(refined.places) == 15
    assert max(abs(check.error) for check in refined.checks) < 1e-9
    assert len(readings) == 15 + 2 * 3  # three checks between each pair of lines


def test_everywhere_inside_the_table_is_right_to_the_tolerance():
    """At every third batch and 40 token counts, not only at the middles that were checked."""
    refined, readings = settled(decode_s)
    grid = grid_of(refined, decode_s)
    batches = np.arange(1, 65, 3)
    for tokens in np.geomspace(64, 4096, 40):
        found, _ = grid.at(batches, float(tokens))
        true = [decode_s(Place(int(batch), float(tokens))) for batch in batches]
        assert np.abs(found / true - 1).max() < 1.1 * TOLERANCE
    assert len(readings) <= 85


def test_points_stand_where_the_curve_bends():
    """Flat up to 16 requests and linear beyond: few points, and off by 3.2 % at the bend alone."""

    def bent_s(place):
        return max(16, place.batch) * 1e-5

    refined, _ = settled(bent_s, Span(batch=(1, 256), tokens=(8, 8)))
    batches = np.arange(1, 257)
    found, _ = grid_of(refined, bent_s).at(batches, 8)
    true = [bent_s(Place(int(batch), 8)) for batch in batches]
    off = np.abs(found / true - 1)
    assert off.max() < 0.04
    assert (off < TOLERANCE).mean() > 0.95
    assert len(refined.places) <= 13


def test_a_table_is_not_refined_below_its_noise():
    """The same curve, with readings that are only sure to 10 %: nothing is halved."""
    exact, _ = settled(decode_s)
    noisy, readings = settled(decode_s, noise=0.1)
    assert len(noisy.places) < len(exact.places)
    assert max(reading.visits for reading in readings.values()) == 15


def test_one_line_is_refined_along_tokens_too():
    """A single batch: the middles that were right are points of the table."""
    refined, _ = settled(decode_s, Span(batch=(1, 1), tokens=(64, 4096)))
    assert {place.batch for place in refined.places} == {1}
    assert Place(1, 181) in refined.places  # sqrt(64 * 512)


def test_a_place_that_does_not_fit_ends_its_line():
    """From 40 requests at 4096 tokens on memory is short: the line ends below."""
    blocked = frozenset({Place(40, 4096)})
    refined, readings = settled(decode_s, blocked=blocked)
    assert not any(place.is_beyond(blocked) for place in readings)
    assert max(place.batch for place in refined.places if place.tokens == 4096) == 23  # sqrt(8*64)
    assert max(place.batch for place in refined.places if place.tokens == 512) == 64


def test_the_fastest_visits_count_where_others_disturb():
    """Of 10 visits, four at 1.00 to 1.03 s and six disturbed ones: 1.015 s, not 2 s."""
    visits = [2.0, 1.0, 3.0, 1.01, 2.5, 1.02, 4.0, 1.03, 2.0, 2.2]
    assert reading_of(visits, 0.4).seconds == pytest.approx(1.015)
    assert reading_of(visits).seconds == 2.0
    assert reading_of([1.0], 0.4) == Reading(1.0, 0.0, 1)


def test_axes_run_from_end_to_end():
    assert SPAN.axis("batch", 8) == [1, 8, 64]
    assert SPAN.axis("tokens", 8) == [64, 512, 4096]
    assert Span(batch=(1, 5), tokens=(7, 7)).axis("tokens", 8) == [7]
