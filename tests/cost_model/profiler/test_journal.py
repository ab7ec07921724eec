"""The journal: what it keeps, how a measurement goes on from it, and how a bad line is named."""

import json
from dataclasses import replace

import pytest

from cost_model.profiler.bench import DoesNotFitError, measure, refined_of
from cost_model.profiler.journal import Journal, Visit
from cost_model.profiler.subjects import Place, Span, Subject
from profiles.errors import InputError

LAYER = Subject(
    layer_kind="decoder", engine="torch", kernel="bf16", format="w16a16", tp=1, phase="decode"
)
SPANS = {LAYER: Span(batch=(1, 16), tokens=(16, 64))}
HEADER = {"model": "tiny", "visits": 3}
HOW = {"tolerance": 0.02, "visits": 3}


class Formula:
    """A bench whose layer takes 1 ms and 10 us per request; places beyond a size do not fit."""

    def __init__(self, most=10**9):
        self.most, self.visited = most, []

    def visit(self, subject, place):
        self.visited.append((subject, place))
        if place.batch * place.tokens > self.most:
            raise DoesNotFitError("too large")
        return Visit(seconds=1e-3 + 1e-5 * place.batch, runs=3)


def test_a_finished_measurement_is_not_made_again(tmp_path):
    path = tmp_path / "t.jsonl"
    first, second = Formula(), Formula()
    assert measure(first, SPANS, Journal.open(path, HEADER), **HOW)
    assert measure(second, SPANS, Journal.open(path, HEADER), **HOW)
    assert first.visited
    assert not second.visited


def test_wherever_it_stops_it_goes_on_to_the_same_table(tmp_path):
    """Stopped after every seventh visit, and each time in the middle of a line."""
    whole = Journal.open(tmp_path / "whole.jsonl", HEADER)
    measure(Formula(), SPANS, whole, **HOW)
    path, visits = tmp_path / "parts.jsonl", 0
    while True:
        bench = Formula()
        done = measure(
            bench,
            SPANS,
            Journal.open(path, HEADER),
            stopped=lambda bench=bench: len(bench.visited) >= 7,
            **HOW,
        )
        visits += len(bench.visited)
        if done:
            break
        with path.open("a") as file:
            file.write('{"kind": "visit", "subj')  # what a kill may leave
    parts = Journal.open(path, HEADER)
    assert refined_of(parts, SPANS, **HOW) == refined_of(whole, SPANS, **HOW)
    assert visits == 2 * parts.num_visits  # the anchor before each
    assert parts.num_visits == whole.num_visits


def test_visits_to_places_take_turns(tmp_path):
    """No place is visited again before every other was visited once, each after the anchor."""
    bench = Formula()
    measure(bench, SPANS, Journal.open(tmp_path / "t.jsonl", HEADER), **HOW)
    wave = len(SPANS[LAYER].axis("batch", 8)) * len(SPANS[LAYER].axis("tokens", 8))
    assert len(set(bench.visited[1 : 2 * wave : 2])) == wave
    assert set(bench.visited[: 2 * wave : 2]) == {(LAYER, SPANS[LAYER].anchor)}


def test_a_machine_that_slows_down_for_a_while_is_seen_through(tmp_path):
    """Half as fast in every second round: the ratios to the anchor do not notice."""

    class Slowed(Formula):
        def visit(self, subject, place):
            visit = super().visit(subject, place)
            slow = 2 if (len(self.visited) - 1) // 12 % 2 else 1
            return replace(visit, seconds=visit.seconds * slow)

    steady, slowed = (Journal.open(tmp_path / name, HEADER, share=0.4) for name in "ab")
    measure(Formula(), SPANS, steady, **HOW)
    measure(Slowed(), SPANS, slowed, **HOW)
    expected = steady.readings(LAYER)
    assert slowed.readings(LAYER).keys() == expected.keys()
    for place, reading in slowed.readings(LAYER).items():
        assert reading.seconds == pytest.approx(expected[place].seconds)


def test_what_does_not_fit_is_noted_and_nothing_larger_tried(tmp_path):
    journal = Journal.open(tmp_path / "t.jsonl", HEADER)
    bench = Formula(most=300)
    assert measure(bench, SPANS, journal, **HOW)
    assert Place(16, 64) in journal.too_large[LAYER]
    assert [place for _, place in bench.visited].count(Place(16, 64)) == 1
    again = Journal.open(tmp_path / "t.jsonl", HEADER)
    assert again.too_large == journal.too_large


def lines_of(path):
    Journal.open(path, HEADER).add(LAYER, Place(1, 16), Visit(seconds=1e-3, runs=3, anchor_s=1e-3))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nonsense", "Expecting value"),
        ({"s": "1e-3"}, "s is '1e-3'; it must be a positive number"),
        ({"s": -1.0}, "s is -1.0"),
        ({"batch": 0}, "batch is 0; it must be a whole number of at least 1"),
        ({"kind": "vist"}, "kind is 'vist'"),
        ({"subject": {"kernel": "bf16"}}, "missing"),
        ({"kind": "profile"}, "the header stands first, and once"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, words):
    path = tmp_path / "t.jsonl"
    header, visit = lines_of(path)
    line = bad if isinstance(bad, str) else json.dumps(visit | bad)
    path.write_text("\n".join([json.dumps(header), json.dumps(visit), line, ""]))
    with pytest.raises(InputError, match=r"t\.jsonl, line 3: .*") as caught:
        Journal.open(path, HEADER)
    assert words in caught.value.message
    assert "Take the line out" in caught.value.message


def test_another_measurement_is_not_mixed_in(tmp_path):
    path = tmp_path / "t.jsonl"
    lines_of(path)
    with pytest.raises(InputError, match='begun with model "tiny", but this run has "other"'):
        Journal.open(path, HEADER | {"model": "other"})
    assert Journal.open(path, HEADER | {"started": "later"}).num_visits == 1


def test_an_empty_or_cut_header_begins_anew(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"kind": "prof')
    assert Journal.open(path, HEADER).num_visits == 0
    assert len(path.read_text().splitlines()) == 1
