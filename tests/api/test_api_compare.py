"""Comparisons over the command line and HTTP."""

import json

import jsonschema
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.comparisons import compared
from api.json_schemas import json_schema
from api.plots import comparison_bars, comparison_title
from api.request import parse_request, prepare
from api.work import Caps, comparison_work
from solver import BASELINES

CAPS = Caps(max_time_limit_s=60, max_problem_size=2_000_000)
NAMES = [baseline.name for baseline in BASELINES]


@pytest.fixture
def run(tmp_path):
    """Runs `compare` on a request."""

    def go(body, *options):
        path = tmp_path / "request.json"
        path.write_text(json.dumps(body), encoding="utf-8")
        return CliRunner().invoke(app, ["compare", str(path), *options])

    return go


def test_the_only_plan_is_every_pipeline(run, two_layers):
    """Two layers on one GPU of 3 ms and 2 ms each: 10 ms for two tokens, whoever plans."""
    result = run(two_layers, "--format", "json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, json_schema("comparison-answer"))
    assert answer["objective"] == answer["best"]["objective"] == pytest.approx(0.010)
    assert [row["name"] for row in answer["baselines"]] == NAMES
    planned = [row for row in answer["baselines"] if row["plans"]]
    assert {row["name"] for row in planned} >= {"even-split", "uniform", "pipeedge", "adabits"}
    for row in planned:
        assert row["ratio"] == pytest.approx(1.0)
        assert row["why"] == "It is as good as the best plan found."
        assert row["metrics"]["usd_per_hour"] == pytest.approx(3.6)


def test_a_search_that_llmpq_cannot_make_says_why(run, two_layers):
    """Its decode micro-batch is 1, and 1 is no prefill micro-batch of its search."""
    answer = json.loads(run(two_layers, "--format", "json").stdout)
    row = next(row for row in answer["baselines"] if row["name"] == "llm-pq")
    assert (row["plans"], row["metrics"], row["feasible"]) == ([], None, False)
    assert "no prefill micro-batch above 1" in row["why"]


def test_text_has_a_row_and_a_reason_for_each(run, small_request):
    text = run(small_request).stdout
    for baseline in BASELINES:
        assert text.count(baseline.title) >= 2
    for head in ("latency s", "TTFT s", "TPOT ms", "tokens/s", "$/Mtok", "perplexity"):
        assert head in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_limits_that_are_broken_are_told_in_the_words_of_the_request(run, two_layers):
    """Of 6 ms to the first token 5 are allowed: no plan, and exit code 3."""
    result = run({**two_layers, "limits": {"ttft_ms": 5}}, "--format", "json")
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    row = answer["baselines"][0]
    assert answer["status"] == "infeasible"
    assert (row["feasible"], row["ratio"], row["gap"]) == (False, None, None)
    assert row["why"] == "TTFT is 6 ms; limits.ttft_ms allows 5 ms."
    assert "infeasible" in run({**two_layers, "limits": {"ttft_ms": 5}}).stdout


def test_pipelines_side_by_side_are_given_one_by_one(two_layers):
    """Two GPUs of different speeds serve four requests as two pipelines."""
    slow = {**two_layers["devices"][0], "name": "slow", "price_usd_per_hour": 1}
    body = {
        **two_layers,
        "devices": [*two_layers["devices"], slow],
        "groups": [{"device": "d"}, {"device": "slow"}],
        "micro_batches": [1, 2, 4],
        "batches": [{"size": 4}],
        "prefill_ms": [[[[3.0, 6.0, 12.0]]], [[[4.0, 8.0, 16.0]]]],
        "decode_ms": [[[[2.0, 2.0, 2.0]]], [[[3.0, 3.0, 3.0]]]],
        "weight_mib": [[[100.0]], [[100.0]]],
        "kv_mib": [[1.0], [1.0]],
    }
    answer = compared(prepare(parse_request(body)))
    row = next(row for row in answer.baselines if row.name == "pipeline-per-type")
    assert not row.is_one_pipeline
    assert row.gap is None
    assert sum(plan.batch_size for plan in row.plans) == 4
    assert [plan.stages[0].gpu for plan in row.plans] == ["d", "slow"]
    assert row.metrics.usd_per_hour == pytest.approx(4.6)


def test_http_answers_as_the_command_does(client, run, small_request):
    response = client.post("/v1/comparisons", json=small_request)
    assert response.status_code == 200
    served = response.json()
    printed = json.loads(run(small_request, "--format", "json").stdout)
    assert served["baselines"] == printed["baselines"]
    assert served["best"]["problem_hash"] == printed["best"]["problem_hash"]


def test_bad_request_is_refused(client, small_request):
    response = client.post("/v1/comparisons", json={**small_request, "model": "no-such-model"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/model"


def test_service_caps_hold(small_request):
    body = {**small_request, "solver": {"time_limit_s": 500}}
    answer = json.loads(comparison_work(body, CAPS).answer_or_raise())
    assert any("60 s at most" in warning for warning in answer["best"]["warnings"])


def test_bars_are_drawn(run, two_layers, tmp_path):
    """hetplan and every baseline; without a best plan there is no picture."""
    picture = tmp_path / "bars.svg"
    assert run(two_layers, "--plot", str(picture)).exit_code == 0
    assert picture.read_bytes().startswith(b"<?xml")
    picture.unlink()
    result = run({**two_layers, "limits": {"ttft_ms": 5}}, "--plot", str(picture))
    assert result.exit_code == 3
    assert "There is no plan to draw" in result.stderr
    assert not picture.exists()
    assert "its name must end in" in run(two_layers, "--plot", "bars.gif").stderr


def test_bars_are_those_of_the_answer(two_layers):
    """The best plan first and marked, then every baseline with what it says."""
    answer = compared(prepare(parse_request(two_layers)))
    best, *others = comparison_bars(answer)
    assert (best.name, best.value, best.is_best) == ("hetplan", answer.objective, True)
    assert [(bar.name, bar.value, bar.is_feasible, bar.why) for bar in others] == [
        (row.title, row.objective, row.feasible, row.why) for row in answer.baselines
    ]
    assert comparison_title(answer).splitlines()[1].startswith("Optimal plan")
