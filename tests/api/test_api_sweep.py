"""Sweeps of requests: grids by JSON pointer, the command, its table."""

import io
import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.problems import InvalidRequestError
from api.sweeps import sweep_points, sweep_requests
from profiles.errors import InputError

GPUS = "/cluster/nodes/0/gpus"


@pytest.fixture
def base():
    """OPT-1.3b on T4s, 16 tokens after 32."""
    return {
        "model": "opt-1.3b",
        "cluster": {"nodes": [{"name": "a", "gpus": [{"type": "T4"}]}]},
        "workload": {"batch_size": 2, "prompt_tokens": 32, "output_tokens": 16},
        "formats": ["w16a16"],
    }


@pytest.fixture
def run(tmp_path):
    """Runs `hetplan sweep` on the file of a sweep."""

    def go(spec, *options):
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        return CliRunner().invoke(app, ["sweep", str(path), *options])

    return go


def test_grid_is_every_combination(base):
    """The last pointer fastest; lists by their label."""
    one, two = ({"label": f"{n}x T4", "value": [{"type": "T4", "count": n}]} for n in (1, 2))
    table = sweep_requests(base, {GPUS: [one, two], "/workload/batch_size": [1, 4]})
    assert table["cluster.nodes.0.gpus"].tolist() == ["1x T4", "1x T4", "2x T4", "2x T4"]
    assert table["workload.batch_size"].tolist() == [1, 4, 1, 4]
    assert table["batch_size"].tolist() == [1, 4, 1, 4]
    assert (table["objective_value"][2:].to_numpy() <= table["objective_value"][:2]).all()


def test_base_stays_as_it_was(base):
    """Points are copies; objects on the way are made."""
    before = json.dumps(base)
    points = sweep_points(base, {"/limits/gpus": [1, 2], "/engine": ["vllm"]})
    assert [dict(point.labels) for point in points] == [
        {"limits.gpus": 1, "engine": "vllm"},
        {"limits.gpus": 2, "engine": "vllm"},
    ]
    assert json.dumps(base) == before


@pytest.mark.slow
def test_200_points_twice_are_the_same_table(base):
    """By one process and by two, byte for byte, wrong requests among them."""
    clusters = [
        {"label": " + ".join(names), "value": [{"type": name} for name in names]}
        for names in (["T4"], ["A10"], ["T4", "A10"], ["no such GPU"])
    ]
    grid = {
        GPUS: clusters,
        "/workload/batch_size": [1, 2, 4, 8, 16],
        "/workload/prompt_tokens": [64, 128, 256, 512, 1024],
        "/workload/output_tokens": [16, 128],
    }
    del base["formats"]
    first, second = (sweep_requests(base, grid, workers=workers) for workers in (1, 2))
    assert first["status"].value_counts()["failed"] == 50
    assert first["plan"].notna().sum() == 150
    assert second.to_csv() == first.to_csv()


def test_wrong_requests_are_rows(base):
    """One value of three is wrong; an infeasible one says what would help."""
    base["model"] = "opt-13b"
    table = sweep_requests(base, {"/workload/batch_size": [1, "many"]})
    assert table["status"].tolist() == ["infeasible", "failed"]
    assert "GiB" in table["reason"][0]
    assert "workload.batch_size is 'many'" in table["reason"][1]


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ({"/cluster/nodes/1/name": ["b"]}, "there is no '1'"),
        ({"/model/name/x": ["b"]}, "there is no 'name'"),
        ({"/cluster": [{"nodes": []}]}, "needs a name in the table"),
        ({"model": ["opt-1.3b"]}, "is no JSON pointer"),
        ({"/workload/batch_size": list(range(1, 102)), "/solver/seed": [*range(100)]}, "10100 po"),
        ({"/model": [{"label": "", "value": None, "more": 1}]}, "needs a name in the table"),
    ],
)
def test_grids_that_do_not_fit_are_refused(grid, text, base):
    """Before anything is solved."""
    with pytest.raises((InputError, InvalidRequestError), match=text):
        sweep_points(base, grid)


def test_sweep_writes_csv(run, base, tmp_path):
    """To a file or standard output, the same twice; progress on standard error."""
    spec = {"base": base, "grid": {"/workload/batch_size": [1, 2, 0]}}
    result = run(spec)
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table["status"].tolist()[2] == "failed"
    assert table["workload.batch_size"].tolist() == [1, 2, 0]
    assert result.stderr == "3 of 3 points done, 1 failed: see their column reason\n"
    path = tmp_path / "table.csv"
    assert run(spec, "--output", str(path)).stdout == ""
    assert path.read_text() == result.stdout


def test_base_may_be_a_file(run, base, tmp_path):
    """Its paths start where it lies."""
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "base.json").write_text(json.dumps(base))
    spec = {"base": "requests/base.json", "grid": {"/workload/batch_size": [1]}}
    assert run(spec).exit_code == 0
    assert "There is no such file" in run({**spec, "base": "nowhere.yaml"}).stderr
    (tmp_path / "requests" / "base.json").write_text("[1]")
    assert "does not hold a request" in run(spec).stderr


def test_sweep_without_any_plan_exits_with_4(run, base):
    """The table is written all the same."""
    result = run({"base": base, "grid": {"/workload/batch_size": [0]}})
    assert result.exit_code == 4
    assert "failed" in result.stdout


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"grid": {"/model": ["opt-1.3b"]}}, "base is missing"),
        ({"base": {}, "grid": {}}, "/grid"),
        ({"base": {}, "grid": {"model": ["opt-1.3b"]}}, "/grid"),
        ({"base": {}, "grid": {"/model": []}}, "/grid/~1model"),
        ({"base": {}, "grid": {"/model": [{}]}}, "needs a name"),
        ({"base": 1, "grid": {"/model": ["a"]}}, "base"),
        ([], "object"),
    ],
)
def test_bad_sweep_files_are_told(spec, text, run):
    """Exit code 2."""
    result = run(spec)
    assert result.exit_code == 2
    assert text in result.stderr


def test_sweep_draws_a_map(run, base, tmp_path):
    """Over the two numbers that vary; what is left of the grid wins or loses."""
    types = [{"label": name, "value": [{"type": name}]} for name in ("T4", "A10")]
    grid = {GPUS: types, "/workload/batch_size": [1, 2], "/workload/prompt_tokens": [32, 64]}
    picture = tmp_path / "map.svg"
    result = run({"base": base, "grid": grid}, "--plot", str(picture))
    assert result.exit_code == 0, result.stderr
    text = picture.read_text()
    for words in ("workload.batch_size", "workload.prompt_tokens", "latency", "A10", "opt-1.3b"):
        assert words in text
    turned = ("--rows", GPUS, "--columns", "/workload/batch_size")
    assert run({"base": base, "grid": grid}, "--plot", str(picture), *turned).exit_code == 0
    assert "cluster.nodes.0.gpus" in picture.read_text()


@pytest.mark.parametrize(
    ("grid", "options", "told"),
    [
        ({"/workload/batch_size": [1, 2]}, (), "give --rows and --columns, two of /workload/ba"),
        ({"/workload/batch_size": [1, 2], "/objective": ["ttft", "tpot"]}, (), "one objective"),
        (
            {"/workload/batch_size": [1, 2], "/workload/prompt_tokens": [8, 9]},
            ("--rows", "/nothing", "--columns", "/workload/batch_size"),
            "two of /workload/batch_size, /workload/prompt_tokens",
        ),
    ],
)
def test_maps_that_are_not_clear_are_refused(grid, options, told, run, base, tmp_path):
    """Before anything is solved."""
    result = run({"base": base, "grid": grid}, "--plot", str(tmp_path / "map.png"), *options)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""
