"""Requests of several lengths, listed or brought as a trace."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.example_files import example_body
from api.request import parse_request, prepare
from profiles.lengths import MOST_BUCKETS

LENGTHS = [
    {"prompt_tokens": 32, "output_tokens": 5, "weight": 3},
    {"prompt_tokens": 96, "output_tokens": 13},
]


def ready(body, folder=None):
    return prepare(parse_request(body), folder=folder)


@pytest.fixture
def mixed_request(small_request):
    """Three requests in four of (32, 5), one of (96, 13): means of (48, 7)."""
    workload = {"batch_size": [2, 4], "lengths": LENGTHS}
    return {**small_request, "workload": workload}


@pytest.fixture
def run(tmp_path):
    """The command line on a request in a file; returns exit code and answer, or the complaint."""

    def plan(body):
        path = tmp_path / "request.json"
        path.write_text(json.dumps(body), encoding="utf-8")
        result = CliRunner().invoke(app, ["plan", str(path), "--format", "json"])
        return result.exit_code, json.loads(result.stdout) if result.stdout else result.stderr

    return plan


def test_the_problem_has_the_means_and_says_so(mixed_request):
    prepared = ready(mixed_request)
    assert (prepared.problem.prompt_tokens, prepared.problem.output_tokens) == (48, 7)
    means, cache = prepared.background.warnings[:2]
    assert means.startswith("Lengths are request-weighted means over 2 buckets, an approximation")
    assert "(longest 96)" in means
    assert "(longest 13)" in means
    # 37 and 109 tokens, mean 55, deviation 31.2; two of them, over the square root of two.
    assert "planned for 55 tokens per request" in cache
    assert "a batch of 2 drawn at random that reaches it all at once may hold 80% more" in cache


def test_equal_requests_are_not_warned_of(small_request):
    assert not any("Lengths" in each for each in ready(small_request).background.warnings)


def test_equal_lengths_are_the_same_problem_as_two_numbers(small_request):
    alike = [{"prompt_tokens": 64, "output_tokens": 8, "weight": weight} for weight in (1, 2)]
    listed = {**small_request, "workload": {"batch_size": [2, 4], "lengths": alike}}
    one, other = ready(small_request), ready(listed)
    assert one.problem == other.problem
    assert one.background.warnings == other.background.warnings


def test_an_answer_tells_of_how_many_lengths_it_has_the_means(mixed_request, run):
    code, answer = run(mixed_request)
    assert code == 0
    assert answer["request"]["num_lengths"] == 2
    assert (answer["request"]["prompt_tokens"], answer["request"]["output_tokens"]) == (48, 7)
    assert any("means over 2 buckets" in warning for warning in answer["warnings"])


def test_the_title_tells_that_tokens_are_means(mixed_request, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(mixed_request), encoding="utf-8")
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert "prompt 48 · output 7 tokens (means of 2 lengths)" in result.stdout


def test_a_trace_beside_the_request_is_read(mixed_request, run, tmp_path):
    """The same lengths row by row are the same problem as those listed."""
    rows = ["prompt_tokens,output_tokens", *["32,5"] * 3, "96,13"]
    (tmp_path / "trace.csv").write_text("\n".join(rows), encoding="utf-8")
    traced = {**mixed_request, "workload": {"batch_size": [2, 4], "lengths_file": "trace.csv"}}
    assert ready(traced, tmp_path).problem == ready(mixed_request).problem
    code, answer = run(traced)
    assert code == 0
    assert answer["request"]["num_lengths"] == 2


def test_a_long_list_is_grouped(mixed_request):
    lengths = [{"prompt_tokens": 10 + each, "output_tokens": 1 + each % 9} for each in range(300)]
    mixed_request["workload"]["lengths"] = lengths
    prepared = ready(mixed_request)
    assert prepared.background.num_lengths == MOST_BUCKETS
    assert prepared.problem.prompt_tokens == pytest.approx(160, abs=1)


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (None, "There is no file"),
        (
            "prompt_tokens,output_tokens\n8,8\n8,none\n",
            "trace.csv, line 3: output_tokens is 'none'",
        ),
        ("a,b\n8,8\n", "line 1: In the header, column prompt_tokens is missing"),
    ],
)
def test_a_bad_trace_is_told_with_its_line(mixed_request, run, tmp_path, trace, message):
    if trace is not None:
        (tmp_path / "trace.csv").write_text(trace, encoding="utf-8")
    mixed_request["workload"] = {"batch_size": 2, "lengths_file": "trace.csv"}
    code, complaint = run(mixed_request)
    assert code == 2
    assert message in complaint
    assert "/workload/lengths_file" in complaint


def test_batches_of_the_example_seldom_hold_more_than_the_mean_cache():
    """Of 32 requests that begin to decode together: 13 % at their peak, one in forty 13 % more."""
    lengths = example_body("mixed-lengths")["workload"]["lengths"]
    prompts, outputs, weights = np.array([list(each.values()) for each in lengths], float).T
    shares = weights / weights.sum()
    rng = np.random.default_rng(0)
    batches = rng.choice(len(lengths), size=(4000, 32), p=shares)
    # The cache is largest just before an answer ends: when n tokens of every longer one exist.
    held = [((prompts[batches] + end) * (outputs[batches] >= end)).sum(axis=1) for end in outputs]
    peaks = np.max(held, axis=0) / (32 * shares @ (prompts + outputs))
    assert (peaks > 1).mean() == pytest.approx(0.13, abs=0.01)
    assert np.quantile(peaks, 0.975) == pytest.approx(1.13, abs=0.01)


def test_the_example_has_the_means_of_its_trace():
    """The first 200 requests of the trace have 903.5 prompt and 235.3 output tokens on average."""
    problem = ready(example_body("mixed-lengths")).problem
    assert problem.prompt_tokens == pytest.approx(903.475, abs=1)
    assert problem.output_tokens == pytest.approx(235.25, abs=1)
