"""Pareto sets over the command line and HTTP."""

import csv
import io
import json

import jsonschema
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.console import make_console
from api.json_schemas import json_schema
from api.paretos import for_objectives, pareto_answer, parse_pareto
from api.plots import Quantity, front_points, pareto_figure
from api.render_pareto import show_pareto
from api.request import prepare

OBJECTIVES = "latency,quality_loss"


@pytest.fixture
def one_gpu(small_request):
    """OPT-1.3b on one L4: three formats, from slow and exact to fast."""
    return {
        **small_request,
        "engine": "vllm",
        "cluster": {"nodes": [{"name": "a", "gpus": [{"type": "L4"}]}]},
        "workload": {"batch_size": 2, "prompt_tokens": 64, "output_tokens": 8},
        "formats": ["w16a16", "w4a16"],
        "limits": {},
        "solver": {"time_limit_s": 60, "gap": 0.001},
    }


@pytest.fixture
def run(tmp_path):
    """Runs the command on a request."""

    def go(request, *options):
        path = tmp_path / "request-given.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        return CliRunner().invoke(app, ["pareto", str(path), *options])

    return go


def test_a_folder_holds_every_form_and_can_be_run_again(run, one_gpu, tmp_path):
    folder = tmp_path / "set"
    options = ("--objectives", OBJECTIVES, "--points", "4", "--output", str(folder))
    result = run(one_gpu, *options, "--format", "json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, json_schema("pareto-answer"))
    names = {path.name for path in folder.iterdir()}
    plans = {f"plan-{point['number']}.json" for point in answer["points"]}
    assert names == plans | {
        "pareto.json",
        "pareto.csv",
        "pareto.txt",
        "pareto.png",
        "pareto.svg",
        "request.json",
    }
    rows = list(csv.DictReader(io.StringIO((folder / "pareto.csv").read_text())))
    assert len(rows) == len(answer["points"]) > 1
    assert [float(row["latency_s"]) for row in rows] == [
        point["objectives"]["latency"]["value"] for point in answer["points"]
    ]
    text = (folder / "pareto.txt").read_text()
    assert f"{len(rows)} plans" in text
    assert "F fastest" in text
    one = CliRunner().invoke(app, ["simulate", str(folder / "plan-1.json"), "--format", "json"])
    assert one.exit_code == 0, one.stderr
    formula_s = json.loads(one.stdout)["estimate"]["latency_s"]
    assert formula_s == pytest.approx(float(rows[0]["latency_s"]))
    for command, name, told in (
        ("simulate", "pareto.json", "give the plan-N.json of one point"),
        ("plan", "request.json", "It asks for a Pareto set: hetplan pareto FILE"),
    ):
        wrong = CliRunner().invoke(app, [command, str(folder / name)])
        assert wrong.exit_code == 2
        assert told in " ".join(wrong.stderr.split())
    again = CliRunner().invoke(app, ["pareto", str(folder / "request.json"), "--format", "json"])
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["points"] == answer["points"]
    over = CliRunner().invoke(
        app, ["pareto", str(folder / "request.json"), "--output", str(folder)]
    )
    assert over.exit_code == 2
    assert "an input of this run" in over.stderr


def test_every_point_is_a_whole_plan_with_its_gap(run, one_gpu):
    result = run(one_gpu, "--objectives", OBJECTIVES, "--points", "3", "--format", "json")
    answer = json.loads(result.stdout)
    assert answer["complete"]
    assert {view["name"] for view in answer["views"]} == {"fastest", "best quality", "balanced"}
    for point in answer["points"]:
        assert point["plan"]["stages"][0]["gpu"] == "L4"
        assert point["objectives"]["latency"]["gap"] <= 0.001 * (1 + 1e-9)
        assert point["metrics"]["latency_s"] == point["objectives"]["latency"]["value"]
        assert point["objectives"]["quality_loss"]["bound"] >= 0


def test_http_answers_as_the_command_line(client, run, two_layers):
    """One GPU, one format: one plan, whatever is asked for."""
    body = {"request": two_layers, "objectives": ["ttft", "tpot", "gpus"]}
    response = client.post("/v1/pareto", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert [len(answer["points"]), answer["status"]] == [1, "optimal"]
    assert answer["points"][0]["metrics"]["ttft_ms"] == pytest.approx(6.0)
    assert answer["points"][0]["views"] == ["fastest", "fewest GPUs", "balanced"]
    text = run(two_layers, "--objectives", "ttft,tpot,gpus").stdout
    assert "1 plan, none beaten" in text


def test_infeasible_is_an_answer(run, two_layers, tmp_path):
    two_layers["devices"][0]["memory_gib"] = 0.1
    picture = tmp_path / "front.svg"
    result = run(two_layers, "--objectives", "ttft,tpot", "--plot", str(picture))
    assert result.exit_code == 3
    assert "No plan exists" in result.stdout
    assert not picture.exists()


def test_wrong_bodies_are_problem_details(client, two_layers):
    for body, pointer in (
        ({"request": two_layers, "objectives": ["ttft"]}, "/objectives"),
        ({"request": two_layers, "objectives": ["ttft", "tpot"], "points": 1}, "/points"),
        ({"request": {**two_layers, "kind": "x"}, "objectives": ["ttft", "tpot"]}, "/request"),
    ):
        response = client.post("/v1/pareto", json=body)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"].startswith(pointer)


def test_objectives_that_are_one_are_refused(client, two_layers):
    body = {"request": two_layers, "objectives": ["latency", "throughput"]}
    response = client.post("/v1/pareto", json=body)
    assert response.status_code == 422
    error = response.json()["errors"][0]
    assert error["pointer"] == "/objectives"
    assert "one objective" in error["detail"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "--objectives"),
        (("--objectives", "latency,speed"), "'speed'"),
        (("--objectives", "latency"), "two or three"),
        (("--objectives", OBJECTIVES, "--plot", "x.txt"), ".svg"),
        (("--objectives", OBJECTIVES, "--output", "x.yaml"), "YAML"),
    ],
)
def test_wrong_options_are_named(run, two_layers, options, word):
    result = run(two_layers, *options)
    assert result.exit_code == 2
    assert word in result.stderr


def test_a_file_that_is_none_of_the_set_is_refused(run, one_gpu, tmp_path):
    """CSV is written to a folder only."""
    csv_file = tmp_path / "front.csv"
    result = run(one_gpu, "--objectives", OBJECTIVES, "--output", str(csv_file))
    assert result.exit_code == 2
    assert "is no folder" in result.stderr
    assert not csv_file.exists()


def test_a_set_that_is_cut_short_says_so(one_gpu):
    """In its headline and in its picture."""
    asked = parse_pareto({"request": one_gpu, "objectives": OBJECTIVES.split(","), "points": 3})
    prepared = prepare(for_objectives(asked.request, asked.objectives))
    whole = pareto_answer(prepared, asked.objectives, asked.points)
    goals = [Quantity.of(axis.objective) for axis in whole.objectives]
    for is_complete in (True, False):
        answer = whole.model_copy(update={"complete": is_complete})
        text = io.StringIO()
        show_pareto(answer, make_console(text))
        assert ("✔" in text.getvalue()) is is_complete
        assert ("but the search ended early" in text.getvalue()) is not is_complete
        figure = pareto_figure(front_points(answer), goals, is_complete=is_complete)
        legend = " ".join(each.get_text() for each in figure.legends[0].get_texts())
        assert ("may be missing" in legend) is not is_complete
