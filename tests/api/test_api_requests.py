"""Requests: what they say is what the problem holds."""

import math

import jsonschema
import pytest

from api.example_files import example_body, example_names, example_path, example_summary
from api.json_schemas import json_schema
from api.problems import InvalidRequestError
from api.reading import read_text
from api.request import parse_request, prepare
from solver import Goal


def ready(body):
    return prepare(parse_request(body))


def test_units_are_converted_once(small_request):
    """Milliseconds, percent and names become seconds, nats and numbers."""
    small_request["limits"] = {"ttft_ms": 1500, "tpot_ms": 20, "perplexity_increase_percent": 5}
    small_request["objective"] = {"goal": "latency_and_quality", "theta_s_per_nat": 2}
    prepared = ready(small_request)
    assert prepared.limits.ttft_s == pytest.approx(1.5)
    assert prepared.limits.tpot_s == pytest.approx(0.02)
    assert prepared.limits.loss_nats == pytest.approx(math.log(1.05))
    assert prepared.objective.goal is Goal.LATENCY_AND_QUALITY
    assert prepared.stop.seed == 1


def test_quality_is_limited_to_uniform_4_bits_unless_asked_otherwise(small_request):
    """The request states 0.1 nats at 4 bits: that is the limit, or none with a warning."""
    prepared = ready(small_request)
    assert prepared.limits.loss_nats == pytest.approx(0.1)
    assert prepared.background.quality_limit == "uniform 4 bits"
    small_request["limits"] = {"quality": "none"}
    off = ready(small_request)
    assert off.limits.loss_nats is None
    assert any("not limited" in warning for warning in off.background.warnings)


def test_links_prices_and_formats_reach_the_problem(small_request):
    """1 GB/s between nodes is slower than ethernet-10g, which the pair has."""
    problem = ready(small_request).problem
    assert problem.node_names == ("a", "b")
    assert problem.format_names == ("w16a16", "w4a16")
    assert problem.layer_formats[0].tolist() == [True, False]
    assert problem.layer_formats[2].tolist() == [True, True]
    assert [batch.size for batch in problem.batches] == [2, 4]


def test_unknown_price_is_null_where_it_is_not_needed(small_request):
    """The P100's price is unknown and nobody asked for it."""
    prepared = ready(small_request)
    names = [prepared.background.gpu_names[index] for index in prepared.background.unpriced]
    assert names == ["P100-12G"]
    assert {use.what: use.basis for use in prepared.background.prices}["P100-12G"] == "unknown"


def test_node_price_stands_for_its_gpus(small_request):
    """A node rented whole needs no price of its GPUs."""
    small_request["cluster"]["nodes"][1]["price_usd_per_hour"] = 2.0
    small_request["objective"] = "cost"
    prepared = ready(small_request)
    assert prepared.background.unpriced == frozenset()
    assert prepared.problem.node_price_usd_per_hour.tolist() == [0.0, 2.0]


def test_model_by_its_config(small_request):
    """Any decoder by its config.json."""
    small_request["model"] = {
        "name": "tiny",
        "config": {
            "model_type": "llama",
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 1000,
        },
    }
    prepared = ready(small_request)
    assert prepared.problem.num_layers == 3
    assert prepared.background.model == "tiny"


def test_own_losses_are_taken_by_format(small_request):
    """Whatever their order, losses go with their formats."""
    small_request["quality"] = {"loss_nats": {"w4a16": [0.01] * 24, "w16a16": [0.0] * 24}}
    loss = ready(small_request).problem.loss_nats
    assert loss[5].tolist() == [0.0, 0.01]


def test_yaml_is_read_by_the_rules_of_version_1_2():
    """1e-3 is a number, `no` is text, numbers as keys are text."""
    data, lines = read_text("gap: 1e-3\nquality: none\nanswer: no\nper_layer: {0: [a]}\nn: 012\n")
    assert data == {
        "gap": 0.001,
        "quality": "none",
        "answer": "no",
        "per_layer": {"0": ["a"]},
        "n": 12,
    }
    assert lines["/per_layer/0"] == 4


@pytest.mark.parametrize("name", example_names())
def test_example_builds_and_says_what_it_shows(name):
    """Every example is a valid request, follows the schema, and opens with a word on itself."""
    path = example_path(name)
    data, _ = read_text(path.read_text(encoding="utf-8"))
    jsonschema.validate(data, json_schema("request"))
    prepared = prepare(parse_request(data), folder=path.parent)
    assert prepared.problem.num_layers > 0
    assert example_summary(name)
    parse_request(example_body(name))


def test_example_with_its_own_table_uses_it():
    """The measured prefill of a T4 at 8 bits and batch 2 is 41 ms."""
    prepared = ready(example_body("own-cost-table"))
    problem = prepared.problem
    gpu = prepared.background.gpu_names.index("T4")
    group = next(i for i, g in enumerate(problem.groups) if g.device == gpu)
    at = problem.format_names.index("llm-int8"), 0, problem.micro_batches.tolist().index(2)
    assert problem.prefill_s[(group, *at)] == pytest.approx(0.041)


BAD_COEFFICIENTS = [
    ("ragged", {"loss_nats": [[0.0], [0.0, 1.0]]}, "/loss_nats", "ragged"),
    ("wrong shape", {"decode_ms": [[[[2.0, 3.0]]]]}, "/decode_ms", "has shape (1, 1, 1, 2)"),
    (
        "unknown node",
        {"devices": [{"name": "d", "node": "m", "memory_gib": 1}]},
        "/devices/0/node",
        "'m'",
    ),
    ("unknown device", {"groups": [{"device": "e"}]}, "/groups/0/device", "'e'"),
    (
        "unknown size",
        {"batches": [{"size": 1, "decode_micro_batches": [3]}]},
        "/batches/0/decode_micro_batches",
        "3",
    ),
    ("kind beyond", {"layer_kinds": [0, 1]}, "/layer_kinds", "kind"),
    ("negative time", {"prefill_ms": [[[[-1.0]]]]}, "/prefill_ms/0/0/0/0", "-1.0"),
    ("node twice", {"nodes": [{"name": "n"}, {"name": "n"}]}, "/nodes/1/name", "twice"),
    (
        "batch too small",
        {"batches": [{"size": 1}], "micro_batches": [2]},
        "/batches/0/prefill",
        "empty",
    ),
    (
        "more than there are",
        {"devices": [{"name": "d", "node": "n", "memory_gib": 1, "min_used": 2}]},
        "/devices/0/min_used",
        "2",
    ),
    ("group too large", {"groups": [{"device": "d", "tensor_parallel": 4}]}, "", ""),
    ("unknown field", {"prefill_s": []}, "/prefill_s", "prefill_ms"),
]


@pytest.mark.parametrize(
    ("name", "change", "pointer", "words"), BAD_COEFFICIENTS, ids=[b[0] for b in BAD_COEFFICIENTS]
)
def test_bad_coefficients_are_told_by_field(name, change, pointer, words, two_layers):
    """Names and shapes are those of the request, not of the arrays inside."""
    with pytest.raises(InvalidRequestError) as caught:
        ready({**two_layers, **change})
    first = caught.value.problems[0]
    assert first.pointer.startswith(pointer)
    assert words in first.detail
