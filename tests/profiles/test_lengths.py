"""Lengths of requests: reading a trace, and grouping it into a few buckets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.errors import InputError, TableError
from profiles.lengths import (
    MOST_BUCKETS,
    LengthBucket,
    group_lengths,
    lengths_from_text,
    merge_lengths,
    read_lengths,
)


def bucket(prompt, output, weight=1.0):
    return LengthBucket(prompt_tokens=prompt, output_tokens=output, weight=weight)


def total(buckets, of):
    return sum(each.weight * of(each) for each in buckets)


def mean(buckets, of):
    return total(buckets, of) / total(buckets, lambda _: 1.0)


def trace(num_rows):
    """Rows like those of a chat: log-normal prompts and answers."""
    rng = np.random.default_rng(7)
    tokens = np.exp(rng.normal([6.0, 5.0], [1.0, 0.8], size=(num_rows, 2))).astype(int) + 1
    return tuple(bucket(int(prompt), int(output)) for prompt, output in tokens)


@pytest.mark.parametrize("change", [{"prompt_tokens": 0}, {"output_tokens": -1}])
def test_a_request_has_at_least_a_token_each_way(change):
    with pytest.raises(InputError, match="must be 1 or more"):
        replace(bucket(1, 1), **change)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_positive_and_finite(weight):
    with pytest.raises(InputError, match="weight is"):
        bucket(1, 1, weight)


def test_a_trace_has_a_request_a_row():
    text = "output_tokens, prompt_tokens\n 20, 100\n\n30,200\n"
    assert lengths_from_text(text, "t.csv") == (bucket(100, 20), bucket(200, 30))


def test_a_trace_may_have_weights_and_columns_of_its_own():
    text = "total_tokens,prompt_tokens,output_tokens,weight\n120,100,20,0.5\n230,200,30,2\n"
    assert lengths_from_text(text, "t.csv") == (bucket(100, 20, 0.5), bucket(200, 30, 2.0))


def test_a_trace_is_read_from_a_file(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("\ufeffprompt_tokens,output_tokens\n5,6\n", encoding="utf-8")
    assert read_lengths(path) == (bucket(5, 6),)


HEADER = "prompt_tokens,output_tokens,weight"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv, line 1: In the header, column prompt_tokens is missing; add it"),
        ("prompt_tokens\n4\n", "column output_tokens is missing"),
        ("prompt_tokens,output_tokens,weights\n4,4,1\n", "'weights' is not known; write weight"),
        ("prompt_token,output_tokens\n4,4\n", "'prompt_token' is not known; write prompt_tokens"),
        (f"{HEADER},weight\n4,4,1,1\n", "column weight stands twice"),
        (f"{HEADER}\n", "t.csv: It has no rows"),
        (f"{HEADER}\n1,1,1\n4.5,4,1\n", "line 3: prompt_tokens is '4.5'; it must be a whole"),
        (f"{HEADER}\n4,,1\n", "line 2: output_tokens is ''; it must be a whole"),
        (f"{HEADER}\n4,0,1\n", "line 2: output_tokens is 0; it must be 1 or more"),
        (f"{HEADER}\n99999999,1,1\n", "it must be 10000000 or less"),
        (f"{HEADER}\n4,4,many\n", "line 2: weight is 'many'; it must be a number"),
        (f"{HEADER}\n4,4,nan\n", "line 2: weight is nan; it must be 1e-09 to 1e"),
        (f"{HEADER}\n4,4,0\n", "line 2: weight is 0; it must be"),
        (f"{HEADER}\n4,4\n", "line 2: It has 2 cells, but the header has 3"),
        (f'{HEADER}\n"4,4,1\n', "line 2: It is not CSV"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(text, message):
    with pytest.raises(TableError) as caught:
        lengths_from_text(text, "t.csv")
    assert message in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(TableError, match="cannot be read as UTF-8"):
        read_lengths(path)


def test_equal_lengths_are_merged_and_weights_sum_to_one():
    merged = merge_lengths((bucket(9, 2, 3), bucket(5, 2), bucket(9, 2, 4)))
    assert merged == (bucket(5, 2, 0.125), bucket(9, 2, 0.875))


def test_a_short_list_is_left_as_it_is():
    lengths = tuple(bucket(each, 1, 1 / MOST_BUCKETS) for each in range(1, MOST_BUCKETS + 1))
    assert group_lengths(lengths) == lengths


def test_two_heaps_of_lengths_become_their_two_means_beside_the_longest():
    """(10, 5) and (12, 5), (100, 50) and (104, 50); (200, 60) is the longest."""
    lengths = [bucket(*tokens) for tokens in ((10, 5), (12, 5), (100, 50), (104, 50), (200, 60))]
    grouped = group_lengths(lengths, at_most=3)
    assert [(each.prompt_tokens, each.output_tokens) for each in grouped] == [
        (11, 5),
        (102, 50),
        (200, 60),
    ]
    assert [each.weight for each in grouped] == pytest.approx([0.4, 0.4, 0.2])


def test_a_grouped_trace_keeps_its_means_and_its_longest_requests():
    rows = trace(3000)
    grouped = group_lengths(rows)
    assert len(grouped) <= MOST_BUCKETS
    for of in (lambda b: b.prompt_tokens, lambda b: b.output_tokens):
        assert mean(grouped, of) == pytest.approx(mean(rows, of), abs=0.5)
    for name in ("prompt_tokens", "output_tokens", "tokens"):
        assert max(getattr(b, name) for b in grouped) == max(getattr(b, name) for b in rows)


BUCKETS = st.builds(
    bucket,
    st.integers(1, 10) | st.integers(1, 10_000_000),
    st.integers(1, 10) | st.integers(1, 10_000_000),
    st.sampled_from([1.0, 1e-9, 1e9]) | st.floats(1e-9, 1e9),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lengths=st.lists(BUCKETS, min_size=1, max_size=40), at_most=st.integers(4, 8))
def test_any_lengths_can_be_grouped(lengths, at_most):
    """Whatever the weights: few buckets, weights summing to 1, the longest request among them."""
    grouped = group_lengths(lengths, at_most)
    assert 1 <= len(grouped) <= at_most
    assert total(grouped, lambda _: 1.0) == pytest.approx(1)
    assert max(b.tokens for b in grouped) == max(b.tokens for b in lengths)
