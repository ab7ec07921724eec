"""The page that sets baselines beside the best plan says what the answers say."""

import csv

import pytest

from api.comparisons import compared
from api.request import parse_request, prepare
from benchmarks.comparison import OUTPUT, Result, page, write_csv
from solver import BASELINES

ONE_GPU = {
    "kind": "coefficients",
    "name": "two layers on one GPU",
    "nodes": [{"name": "n"}],
    "devices": [{"name": "d", "node": "n", "memory_gib": 1}],
    "groups": [{"device": "d"}],
    "formats": [{"name": "w16a16", "bits": 16}],
    "layer_kinds": [0, 0],
    "loss_nats": [[0.0], [0.0]],
    "micro_batches": [1],
    "batches": [{"size": 1}],
    "prompt_tokens": 4,
    "output_tokens": 2,
    "prefill_ms": [[[[3.0]]]],
    "decode_ms": [[[[2.0]]]],
    "weight_mib": [[[100.0]]],
    "kv_mib": [[1.0]],
}
SPLIT = {
    **ONE_GPU,
    "name": "four layers on two GPUs, the second three times as fast",
    "devices": [
        {"name": "slow", "node": "n", "memory_gib": 1},
        {"name": "fast", "node": "n", "memory_gib": 1},
    ],
    "groups": [{"device": "slow"}, {"device": "fast"}],
    "layer_kinds": [0] * 4,
    "loss_nats": [[0.0]] * 4,
    "prefill_ms": [[[[3.0]]], [[[1.0]]]],
    "decode_ms": [[[[3.0]]], [[[1.0]]]],
    "weight_mib": [[[300.0]], [[300.0]]],
    "kv_mib": [[1.0]] * 2,
}


@pytest.fixture(scope="module")
def found():
    bodies = {"llmpq-00-2023": ONE_GPU, "split": SPLIT, "none": {**SPLIT, "limits": {"gpus": 1}}}
    return [
        Result(name=name, answer=compared(prepare(parse_request(body))))
        for name, body in bodies.items()
    ]


def test_means_are_over_feasible_plans(found):
    """
    One GPU: every split is the best. Two GPUs, 3 and 1 ms a layer: in halves 8 ms a token; with
    three layers on the fast one, the most that it holds, 6 ms. 8 / 6 = 1.33, mean 1.17.
    """
    lines = page(found).splitlines()
    rows = [line for line in lines if line.startswith("| even split |")]
    assert rows[0] == "| even split | 1 of 1 | 1.00 | 1.00 | 1.00 | 1.00 |"
    assert rows[1] == "| even split | 2 of 2 | 1.17 | 1.15 | 1.00 | 1.33 |"


def test_what_is_broken_stands_in_the_place_of_the_ratio(found):
    (row,) = [line for line in page(found).splitlines() if line.startswith("| none |")]
    assert "| infeasible |" in row
    assert "gpus by 1" in row


def test_every_figure_is_in_the_csv(found, tmp_path):
    write_csv(found, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * (1 + len(BASELINES))
    even = next(row for row in rows if (row["example"], row["planner"]) == ("split", "even-split"))
    assert float(even["latency_s"]) == pytest.approx(0.016)
    assert float(even["ratio"]) == pytest.approx(4 / 3)
    assert even["feasible"] == "True"
    assert even["why"]


def test_committed_page_states_the_rules_as_they_are():
    committed = OUTPUT.read_text(encoding="utf-8")
    for baseline in BASELINES:
        assert f"- **{baseline.title}**: {baseline.rule}" in committed
    assert OUTPUT.with_suffix(".csv").exists()
