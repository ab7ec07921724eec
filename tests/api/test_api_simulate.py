"""Simulations over the command line and HTTP, and requests that answers repeat."""

import csv
import io
import json

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from api import request_body, simulate_command
from api.cli import app
from api.example_files import example_names, example_path
from api.gantt_picture import gantt_picture
from api.json_schemas import json_schema
from api.reading import read_text
from api.request import parse_request, prepare
from api.schemas.simulation import SimulationAnswer
from api.work import Caps, simulation_work
from cost_model.gantt import GANTT_COLUMNS
from tests.api.mutations import mutated, values

CAPS = Caps(max_time_limit_s=60, max_problem_size=2_000_000)
SINGLE = {"first_layer": 0, "last_layer": 1, "formats": "w16a16"}


@pytest.fixture
def run(tmp_path):
    """Runs a command; dictionaries among the arguments become files."""

    def go(*arguments, **options):
        words = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, dict):
                path = tmp_path / f"given-{number}.json"
                path.write_text(json.dumps(argument), encoding="utf-8")
                argument = str(path)
            words.append(argument)
        return CliRunner().invoke(app, words, **options)

    return go


@pytest.fixture
def two_layers_plan():
    """The only plan of `two_layers`."""
    return {"stages": [{"node": "n", "gpu": "d", **SINGLE}]}


@pytest.fixture
def ragged():
    """OPT-1.3b on two nodes, seven requests by threes and fours: sizes 1 and 3 are left over."""
    stage = {"gpu": "T4", "formats": "w16a16"}
    return {
        "request": {
            "model": "opt-1.3b",
            "cluster": {
                "nodes": [
                    {"name": "a", "gpus": [{"type": "T4"}]},
                    {"name": "b", "gpus": [{"type": "T4"}]},
                ]
            },
            "workload": {
                "batch_size": 7,
                "prompt_tokens": 64,
                "output_tokens": 9,
                "prefill_micro_batches": [3],
                "decode_micro_batches": [4],
            },
            "limits": {"quality": "none"},
        },
        "plan": {
            "stages": [
                {**stage, "node": "a", "first_layer": 0, "last_layer": 11},
                {**stage, "node": "b", "first_layer": 12, "last_layer": 23},
            ]
        },
    }


def simulated(body):
    """The answer of the service's worker."""
    return json.loads(simulation_work(body, CAPS).answer_or_raise())


# -- command line -------------------------------------------------------------------------------


def test_answer_of_plan_is_simulated_as_it_is(run, two_layers, tmp_path):
    """Two layers of 3 ms and 2 ms on one GPU: 6 ms to the first token, 4 ms to the second."""
    path = tmp_path / "plan.json"
    assert run("plan", two_layers, "--output", str(path)).exit_code == 0
    result = run("simulate", str(path), "--format", "json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["simulated"]["ttft_ms"] == pytest.approx(6.0)
    assert answer["simulated"]["latency_s"] == pytest.approx(0.010)
    assert answer["estimate"]["latency_s"] == pytest.approx(0.010)
    assert answer["token_gaps"]["max_ms"] == pytest.approx(4.0)
    text = run("simulate", str(path)).stdout
    assert "6.0 ms" in text
    assert "+0.00 %" in text


def test_plan_of_a_shipped_example_is_simulated(run):
    """The hand-written plan for llama-2-70b, with its request; barrier and overlapped."""
    plan = str(example_path("llama-2-70b").parent / "evaluate" / "llama-2-70b-plan.json")
    request = ("--request", str(example_path("llama-2-70b")))
    found = {}
    for start in ("barrier", "overlapped"):
        result = run("simulate", plan, *request, "--start", start, "--format", "json")
        assert result.exit_code in (0, 3), result.stderr
        found[start] = json.loads(result.stdout)
        assert "stage 1" in run("simulate", plan, *request, "--start", start).stdout
    assert found["barrier"]["difference_percent"]["latency"] == pytest.approx(0.0, abs=1e-3)
    assert (
        found["overlapped"]["simulated"]["latency_s"] < found["barrier"]["simulated"]["latency_s"]
    )


def test_plan_without_its_request_asks_for_it(run, two_layers, two_layers_plan):
    """Exit code 2, and the option that gives it."""
    result = run("simulate", two_layers_plan)
    assert result.exit_code == 2
    assert "hetplan simulate PLAN --request REQUEST" in result.stderr
    assert run("simulate", two_layers_plan, "--request", two_layers).exit_code == 0


def test_plan_that_breaks_a_limit_exits_with_3(run, two_layers, two_layers_plan):
    """As evaluate does; the replay is shown all the same."""
    two_layers["limits"] = {"ttft_ms": 5}
    result = run("simulate", two_layers_plan, "--request", two_layers)
    assert result.exit_code == 3
    assert "TTFT is 6 ms; limits.ttft_ms allows 5 ms." in result.stdout
    assert "simulated" in result.stdout


def test_gantt_rows_are_written(run, two_layers, two_layers_plan, tmp_path):
    """As CSV and as JSON: the prefill at 0-6 ms, the second token at 6-10 ms."""
    arguments = ("simulate", two_layers_plan, "--request", two_layers, "--gantt")
    table, rows = tmp_path / "rows.csv", tmp_path / "rows.json"
    assert run(*arguments, str(table)).exit_code == 0
    assert run(*arguments, str(rows)).exit_code == 0
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert tuple(lines[0]) == GANTT_COLUMNS
    assert [(line["phase"], float(line["end_s"])) for line in lines] == [
        ("prefill", pytest.approx(0.006)),
        ("decode", pytest.approx(0.010)),
    ]
    assert [row["round"] for row in json.loads(rows.read_text())] == [0, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--gantt", "rows.xlsx"), "--gantt is rows.xlsx; its name must end in .csv or .json"),
        (("--gantt", "/nowhere/rows.csv"), "/nowhere/rows.csv cannot be written"),
        (("--output", "/nowhere/a.json"), "/nowhere/a.json cannot be written"),
        (("--output", "a.yaml"), "--output is a.yaml; answers are written as JSON or text"),
        (("--request", "/nowhere/request.yaml"), "There is no such file; see `hetplan examples`"),
    ],
)
def test_files_that_cannot_be_used_are_told(options, text, run, two_layers, two_layers_plan):
    """Exit code 2."""
    given = options if "--request" in options else ("--request", two_layers, *options)
    result = run("simulate", two_layers_plan, *given)
    assert result.exit_code == 2
    assert text in result.stderr


@pytest.mark.parametrize("option", ["--output", "--gantt"])
@pytest.mark.parametrize("number", [1, 3])
def test_inputs_are_not_written_over(option, number, run, two_layers, two_layers_plan, tmp_path):
    """Neither the plan nor the request."""
    path = tmp_path / f"given-{number}.json"
    given = ("simulate", two_layers_plan, "--request", two_layers)
    result = run(*given, option, str(path))
    assert result.exit_code == 2
    assert f"{option} is {path}, which is an input of this run" in result.stderr
    assert json.loads(path.read_text()) in (two_layers, two_layers_plan)


def test_one_output_is_not_written_over_the_other(run, two_layers, two_layers_plan, tmp_path):
    """--gantt and --output name different files."""
    both = ("--output", str(tmp_path / "a.json"), "--gantt", str(tmp_path / "a.json"))
    result = run("simulate", two_layers_plan, "--request", two_layers, *both)
    assert result.exit_code == 2
    assert "which is another output of this run" in result.stderr
    assert not (tmp_path / "a.json").exists()


def test_missing_plan_asks_for_a_plan(run):
    """Not for a request."""
    result = run("simulate", "nope.json")
    assert result.exit_code == 2
    assert "no such file; `hetplan plan REQUEST --output plan.json` writes one." in result.stderr
    assert "folder; give the file of a plan" in run("simulate", ".").stderr


def test_plan_for_another_request_is_refused(run, two_layers, two_layers_plan):
    """It names what does not fit."""
    two_layers_plan["stages"][0]["gpu"] = "T4"
    result = run("simulate", two_layers_plan, "--request", two_layers)
    assert result.exit_code == 2
    assert "There is no T4 on node 'n'" in result.stderr


def test_large_batches_are_shown_without_a_picture(run, two_layers, two_layers_plan, monkeypatch):
    """A chart too large is not asked for."""
    monkeypatch.setattr(simulate_command, "MAX_GANTT_ROWS", 1)
    result = run("simulate", two_layers_plan, "--request", two_layers)
    assert result.exit_code == 0
    assert "start, 0.000 to" not in result.stdout


# -- what the answer holds ----------------------------------------------------------------------


def test_left_over_sizes_are_priced(ragged):
    """7 = 3 + 3 + 1 and 4 + 3: no warning, and the time of the formula."""
    answer = simulated(ragged)
    assert not any("micro-batches of" in warning for warning in answer["warnings"])
    assert answer["difference_percent"]["ttft"] == pytest.approx(0, abs=1e-9)
    ragged["request"]["workload"].update(prefill_micro_batches=[1, 3], decode_micro_batches=[3, 4])
    ragged["plan"].update(prefill_micro_batch=3, decode_micro_batch=4)
    assert simulated(ragged)["simulated"] == answer["simulated"]


def test_coefficients_ask_for_the_sizes_left_over(two_layers, two_layers_plan):
    """Three requests by twos, times at 2 and 3 only: the last one takes as long as two."""
    two_layers.update(
        micro_batches=[2, 3],
        batches=[{"size": 3, "prefill_micro_batches": [2], "decode_micro_batches": [2]}],
        prefill_ms=[[[[3.0, 4.0]]]],
        decode_ms=[[[[2.0, 2.5]]]],
    )
    answer = simulated({"request": two_layers, "plan": two_layers_plan})
    assert answer["simulated"]["ttft_ms"] == pytest.approx(12.0)
    assert "add them to micro_batches" in answer["warnings"][-1]


def test_requests_of_several_lengths_are_replayed(ragged):
    """Each with its own: as many of each as the weights say."""
    workload = ragged["request"]["workload"]
    del workload["prompt_tokens"], workload["output_tokens"]
    workload["lengths"] = [
        {"prompt_tokens": 32, "output_tokens": 3, "weight": 5},
        {"prompt_tokens": 128, "output_tokens": 20, "weight": 2},
    ]
    times = simulated(ragged)["requests"]
    assert sorted(times["output_tokens"]) == [3] * 5 + [20] * 2
    ends = list(zip(times["output_tokens"], times["finish_s"], strict=True))
    assert min(end for tokens, end in ends if tokens == 20) > max(
        end for tokens, end in ends if tokens == 3
    )


def test_waves_and_the_last_batch_are_told(ragged):
    """Seven at a time, sixteen in all: 7 + 7 + 2."""
    ragged["request"]["workload"]["num_requests"] = 16
    answer = simulated(ragged)
    assert (answer["waves"], answer["last_batch"]["requests"]) == (3, 2)
    whole = 2 * answer["simulated"]["batch_latency_s"] + answer["last_batch"]["latency_s"]
    assert answer["simulated"]["latency_s"] == pytest.approx(whole)
    rate = answer["simulated"]["throughput_tokens_per_s"]
    assert rate == pytest.approx(16 * 9 / answer["simulated"]["latency_s"])


def test_one_token_is_simulated(ragged):
    """Prefill alone; whatever decode size goes with it."""
    workload = ragged["request"]["workload"]
    workload["output_tokens"] = 1
    del workload["decode_micro_batches"]
    answer = simulated(ragged)
    assert (answer["tpot"], answer["token_gaps"]) == (None, None)
    assert answer["difference_percent"]["tpot"] is None
    assert answer["simulated"]["latency_s"] == answer["simulated"]["ttft_ms"] / 1e3


def test_answer_follows_its_schema(ragged):
    """Gantt rows, links and memory included."""
    answer = simulated({**ragged, "gantt_rounds": 2, "start": "overlapped"})
    jsonschema.validate(answer, json_schema("simulation-answer"))
    assert answer["gantt"]
    assert [link["name"] for link in answer["links"]] == [
        "network out of a",
        "network into b",
        "network out of b",
        "network into a",
    ]
    assert len(answer["memory"]["used_gib"]) == len(answer["memory"]["time_s"])


def test_picture_shows_who_computes(ragged):
    """A bar a stage and window; none without rows."""
    answer = SimulationAnswer.model_validate(simulated({**ragged, "gantt_rounds": 3}))
    picture = gantt_picture(answer, 100)
    assert picture is not None
    assert picture.row_count == 3
    assert gantt_picture(answer.model_copy(update={"gantt": []}), 100) is None


# -- HTTP ---------------------------------------------------------------------------------------


def test_simulation_is_answered_over_http(client, ragged):
    """The same answer."""
    response = client.post("/v1/simulations", json={**ragged, "start": "overlapped"})
    assert response.status_code == 200
    assert response.json()["kind"] == "simulation"
    assert response.json()["start"] == "overlapped"


def test_example_in_the_openapi_document_works(client):
    """As it stands."""
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/simulations"]["post"]["requestBody"]
    (example,) = body["content"]["application/json"]["examples"].values()
    response = client.post("/v1/simulations", json=example["value"])
    assert response.status_code == 200
    assert response.json()["start"] == "overlapped"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"plan": None}, "/plan"),
        ({"request": {}}, "/request/model"),
        ({"more": 1}, "/more"),
        ({"start": "later"}, "/start"),
        ({"order": 1}, "/order"),
        ({"gantt_rounds": -1}, "/gantt_rounds"),
        ({"gantt_rounds": 10_001}, "/gantt_rounds"),
    ],
    ids=str,
)
def test_bad_simulation_is_422_with_pointers(change, pointer, client, ragged):
    """Pointers start at the body."""
    response = client.post("/v1/simulations", json={**ragged, **change})
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_too_long_a_replay_is_422(client, two_layers, two_layers_plan):
    """With the remedy; nothing is replayed."""
    two_layers["output_tokens"] = 10_000_000
    body = {"request": two_layers, "plan": two_layers_plan}
    response = client.post("/v1/simulations", json=body)
    assert response.status_code == 422
    assert "Simulate fewer output tokens" in response.json()["detail"]


# -- requests repeated in answers ---------------------------------------------------------------


@pytest.mark.parametrize("name", example_names())
def test_repeated_request_states_the_same_problem(name):
    """Of every example, cost tables included: the same problem without any file."""
    path = example_path(name)
    body, _ = read_text(path.read_text(encoding="utf-8"))
    prepared = prepare(parse_request(body), folder=path.parent)
    assert prepared.request_body is not None
    repeated = json.loads(json.dumps(prepared.request_body))
    again = prepare(parse_request(repeated))
    assert again.problem == prepared.problem
    assert (again.objective, again.limits) == (prepared.objective, prepared.limits)


def test_files_of_a_request_are_repeated_by_their_content(ragged, tmp_path):
    """A model's config.json and a trace of lengths."""
    config = {
        "model_type": "llama",
        "hidden_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "intermediate_size": 1024,
        "vocab_size": 1000,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "lengths.csv").write_text("prompt_tokens,output_tokens\n10,3\n20,5\n")
    request = ragged["request"]
    request["model"] = {"name": "mine", "config_file": "config.json"}
    workload = {"batch_size": 7, "lengths_file": "lengths.csv"}
    prepared = prepare(parse_request({**request, "workload": workload}), folder=tmp_path)
    assert prepared.request_body is not None
    assert prepare(parse_request(dict(prepared.request_body))).problem == prepared.problem


def test_large_request_is_not_repeated(run, two_layers, tmp_path, monkeypatch):
    """The answer stays readable, and the command asks for the request."""
    monkeypatch.setattr(request_body, "MAX_REPEATED_BYTES", 10)
    path = tmp_path / "plan.json"
    run("plan", two_layers, "--output", str(path))
    assert json.loads(path.read_text())["request_body"] is None
    assert "--request REQUEST" in run("simulate", str(path)).stderr
    assert run("simulate", str(path), "--request", two_layers).exit_code == 0


# -- any input ----------------------------------------------------------------------------------


VALUES = values(["T4", "w4a16", "w16a16", "a", "b", "overlapped", "decode-first"])


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_mutated_simulation_never_fails_inside(data, ragged):
    """Up to three values replaced or left out: an answer, or errors in words."""
    body = mutated(
        {**ragged, "start": "barrier", "order": "first-come", "gantt_rounds": 1}, data, VALUES
    )
    outcome = simulation_work(body, CAPS)
    assert outcome.failure is None
    assert bool(outcome.answer) is not bool(outcome.problems)
    assert all(problem.detail for problem in outcome.problems)
