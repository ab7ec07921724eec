"""`hetplan export-model`: what is written is the model that is solved."""

import json
import re
import subprocess
from dataclasses import replace

import highspy
import pytest
from pulp.apis.coin_api import pulp_cbc_path
from typer.testing import CliRunner

from api.cli import app
from api.goals import stop_of
from api.request import parse_request, prepare
from api.schemas.goal import SolverSpec
from solver import Status, model_file, solve
from solver.model_names import column_names, row_names

RULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@pytest.fixture
def export(tmp_path):
    """Runs the command on a request given as data."""

    def go(request, *options):
        path = tmp_path / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        return CliRunner().invoke(app, ["export-model", str(path), *map(str, options)])

    return go


def by_highs(path):
    """Optimum of a model file, by HiGHS."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return highs.getObjectiveValue()


def by_cbc(path):
    """Optimum of a model file, by CBC."""
    # By itself CBC skips plans that are better by less than 1e-5, whatever the objective's scale.
    exact = ["-preprocess", "off", "-ratio", "0", "-increment", "1e-9"]
    words = [pulp_cbc_path, path.name, *exact, "-solve"]
    done = subprocess.run(words, cwd=path.parent, capture_output=True, text=True, check=True)
    assert "Optimal solution found" in done.stdout
    return float(re.search(r"Search completed - best objective (\S+),", done.stdout)[1])


def of_pair(request, prefill, decode, batch):
    """Our own optimum at one pair of micro-batch sizes."""
    workload = {
        **request["workload"],
        "batch_size": batch,
        "prefill_micro_batches": [prefill],
        "decode_micro_batches": [decode],
    }
    prepared = prepare(parse_request({**request, "workload": workload}))
    return solve(
        prepared.problem,
        objective=prepared.objective,
        limits=prepared.limits,
        stop=stop_of(SolverSpec(gap=0.0, time_limit_s=60)),
    )


@pytest.mark.parametrize("suffix", ["lp", "mps"])
@pytest.mark.parametrize("goal", ["latency", "ttft", "cost", "quality_loss", "throughput"])
def test_other_solvers_find_the_same_optimum(goal, suffix, export, small_request, tmp_path):
    """HiGHS and CBC, from the file alone, to 1e-6."""
    small_request["objective"] = goal
    small_request["workload"]["batch_size"] = 4
    for node in small_request["cluster"]["nodes"]:
        for group in node["gpus"]:
            group["price_usd_per_hour"] = 1.5
    path = tmp_path / f"model.{suffix}"
    sizes = ("--prefill-micro-batch", 2, "--decode-micro-batch", 4)
    result = export(small_request, "--output", path, *sizes)
    assert result.exit_code == 0, result.stderr
    assert "prefill micro-batch 2, decode micro-batch 4" in result.stderr
    report = of_pair(small_request, 2, 4, 4)
    best = report.objective if goal != "throughput" else 1 / report.objective
    found = by_highs(path)
    # Cost is linear at one price only: that of a plan within 1 % of the best.
    assert found == pytest.approx(best, rel=0.01 if goal == "cost" else 1e-6, abs=1e-9)
    assert by_cbc(path) == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_the_pair_is_that_of_the_best_plan(export, small_request):
    """Where no sizes are asked for; the file and standard error say which."""
    result = export(small_request)
    assert result.exit_code == 0
    prepared = prepare(parse_request(small_request))
    plan = solve(
        prepared.problem, limits=prepared.limits, stop=replace(prepared.stop, gap=0.01)
    ).plan
    words = (
        f"batch {plan.batch_size}, prefill micro-batch {plan.prefill_micro_batch}, decode "
        f"micro-batch {plan.decode_micro_batch}"
    )
    assert words in result.stderr
    assert words in result.stdout
    assert "Minimize" in result.stdout


def test_names_are_readable_legal_and_unique(small_request, export):
    """In the file: layers of run 0 in a format on a copy of a stage."""
    from solver.model_file import choose_pair, pair_model

    prepared = prepare(parse_request(small_request))
    parts = (prepared.problem, prepared.objective, prepared.limits)
    model = pair_model(*parts, choose_pair(*parts, prepared.stop))
    for names in (model.columns, model.rows):
        assert len(set(names)) == len(names)
        assert all(RULE.fullmatch(name) for name in names)
        assert max(map(len, names)) < 100
    assert any(re.fullmatch(r"n_run1_.*x2\.1_w4a16", name) for name in model.columns)
    text = export(small_request).stdout
    assert all(name in text for name in model.columns if name.startswith(("n_", "start_")))


def test_names_that_would_be_equal_are_told_apart(small_request):
    """Nodes that differ in signs alone."""
    from solver.formulation import formulate
    from solver.instance import Instance

    small_request["cluster"]["nodes"][0]["name"] = "b+"
    small_request["cluster"]["links"][0]["between"] = ["b+", "b"]
    prepared = prepare(parse_request(small_request))
    batch = prepared.problem.batches[0]
    instance = Instance(
        problem=prepared.problem, batch=batch, prefill=batch.prefill[0], decode=batch.decode[0]
    )
    form = formulate(instance, prepared.limits)
    names = column_names(form)
    assert len(set(names)) == len(names)
    rows = row_names(form.model({}), names)
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--batch-size", "7"), "--batch-size is 7, which is not among the candidates: 2, 4."),
        (("--prefill-micro-batch", "3"), "--prefill-micro-batch is 3, which is not among the"),
        (("--prefill-micro-batch", "0"), "--prefill-micro-batch is 0, which is not among the"),
        (("--decode-micro-batch", "0"), "--decode-micro-batch is 0, which is not among the"),
        (
            ("--batch-size", "2", "--prefill-micro-batch", "4"),
            "There is no pair of micro-batch sizes with batch 2, prefill 4, decode any",
        ),
        (("--output", "model.txt"), "'model.txt' does not end in .lp or .mps"),
        (("--output", "/nowhere/at/all.lp"), "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_told(options, word, export, small_request):
    result = export(small_request, *options)
    assert result.exit_code == 2
    assert word in result.stderr


def test_an_infeasible_request_needs_its_pair_given(export, two_layers, tmp_path):
    """No plan chooses one; with the sizes given the model is written, and infeasible."""
    two_layers["devices"][0]["memory_gib"] = 0.1
    two_layers["micro_batches"] = [1, 2]
    two_layers["batches"] = [{"size": 2}]
    two_layers |= {"prefill_ms": [[[[3.0, 5.0]]]], "decode_ms": [[[[2.0, 3.0]]]]}
    result = export(two_layers)
    assert result.exit_code == 3
    assert result.stderr == (
        "No plan exists from which to take a pair of micro-batch sizes; give the batch size and "
        "both micro-batch sizes.\n"
    )
    path = tmp_path / "m.lp"
    sizes = ("--prefill-micro-batch", 1, "--decode-micro-batch", 2)
    assert export(two_layers, "--output", path, *sizes).exit_code == 0
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(path))
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible


def test_cost_needs_a_plan_though_the_pair_is_given(export, two_layers):
    """For the price at which it is linear; the advice is about the goal, then."""
    two_layers["devices"][0]["memory_gib"] = 0.1
    result = export(two_layers, "--objective", "cost")
    assert result.exit_code == 3
    assert result.stderr == (
        "No plan exists from which to take the price at which cost is linear; choose another goal "
        "than cost.\n"
    )


def test_no_plan_in_time_exits_with_4(export, two_layers, monkeypatch):
    """As plan does."""
    found = solve(prepare(parse_request(two_layers)).problem)
    nothing = replace(found, status=Status.UNKNOWN, plan=None, evaluation=None)
    monkeypatch.setattr(model_file, "solve", lambda *_, **__: nothing)
    result = export(two_layers, "--objective", "cost")
    assert result.exit_code == 4
    assert result.stderr.startswith("No plan was found in time from which")


@pytest.mark.parametrize("backend", ["highs", "cbc", "cp-sat"])
def test_the_backend_is_chosen_by_option_and_request(backend, two_layers, tmp_path):
    """And told in the answer."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps(two_layers), encoding="utf-8")
    run = CliRunner().invoke(app, ["plan", str(path), "--backend", backend, "--format", "json"])
    answer = json.loads(run.stdout)
    assert (answer["status"], answer["solver"]["backend"]) == ("optimal", backend)
    path.write_text(json.dumps({**two_layers, "solver": {"backend": backend}}), encoding="utf-8")
    answer = json.loads(CliRunner().invoke(app, ["plan", str(path), "--format", "json"]).stdout)
    assert answer["solver"]["backend"] == backend


def test_an_unknown_backend_is_refused(client, two_layers):
    """Over HTTP, with a pointer."""
    response = client.post("/v1/plans", json={**two_layers, "solver": {"backend": "gurobi"}})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/solver/backend"
