"""`hetplan sensitivity`, and requests that take its files."""

import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.count_line import CountLine
from api.problems import InvalidRequestError
from api.reading import read_text
from api.request import parse_request, prepare
from api.schemas.omega import OmegaFile
from api.service import plan_request
from tests.checkpoints import llama_config, llama_tensors, write_checkpoint

LAYERS = 3


@pytest.fixture
def checkpoint(tmp_path):
    """A random decoder of three layers, its last one with more outliers."""
    config = llama_config()
    tensors = llama_tensors(config)
    tensors["model.layers.2.mlp.down_proj.weight"] **= 3
    return write_checkpoint(tmp_path / "tiny", config, tensors, "BF16")


@pytest.fixture
def request_of(checkpoint):
    """A request for the decoder on one T4, with these quality figures."""

    def make(quality, **fields):
        return {
            "model": {"name": "tiny", "config": llama_config()},
            "cluster": {"nodes": [{"name": "box", "gpus": [{"type": "T4"}]}]},
            "workload": {"batch_size": 2, "prompt_tokens": 16, "output_tokens": 4},
            "quality": quality,
            **fields,
        }

    return make


def run(*arguments):
    return CliRunner().invoke(app, ["sensitivity", *map(str, arguments)])


def made(*arguments):
    """The file that a run prints."""
    result = run(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_losses_of_a_checkpoint_are_written_with_what_they_rest_on(checkpoint, tmp_path):
    """A name ending in .json is written as JSON, the form that requests take."""
    output = tmp_path / "omega.json"
    result = run(checkpoint, "--output", output, "--nats-at-4-bits", 0.1, "--seed", 7)
    assert (result.exit_code, result.stdout) == (0, "")
    omega = OmegaFile.model_validate(json.loads(output.read_text()))
    assert (omega.model, omega.method, omega.bits) == ("tiny", "weights", [3, 4, 8])
    assert (omega.group_size, omega.symmetric) == (128, False)
    assert sum(row[1] for row in omega.loss_nats) == pytest.approx(0.1, abs=1e-6)
    assert (omega.basis.checkpoint, omega.basis.seed, omega.basis.rows) == ("tiny", 7, 256)
    assert len(omega.basis.headers_sha256) == 64
    assert omega.loss_nats[2][1] > omega.loss_nats[1][1]


def test_the_same_run_gives_the_same_losses(checkpoint):
    one, other = (made(checkpoint, "--rows", 16)["loss_nats"] for _ in range(2))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=0)


def test_the_text_shows_a_row_a_layer_and_the_sum(checkpoint):
    result = run(checkpoint, "--model", "opt-1.3b-like")
    assert result.exit_code == 0
    assert "Quality loss of opt-1.3b-like, by layer and bits" in result.stdout
    assert "rounding errors of the weights of tiny (groups of 128, asymmetric); scaled to" in (
        " ".join(result.stdout.split())
    )
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if row[1:2] and row[0].isdigit()] == ["0", "1", "2"]
    assert next(row[2] for row in rows if row[:1] == ["all"]) == "0.1020"


def test_a_config_alone_gives_shapes(checkpoint):
    omega = made(checkpoint / "config.json")
    assert omega["method"] == "config"
    assert omega["basis"]["headers_sha256"] is None
    np.testing.assert_allclose([row[1] for row in omega["loss_nats"]], 0.102 / LAYERS)


def test_a_model_of_the_catalogue_has_its_anchor():
    omega = made("meta-llama/Llama-2-70b-hf")
    assert omega["nats_at_4_bits"] == pytest.approx(0.02968)
    assert omega["provenance"] == "measured"
    assert "AWQ (arXiv 2306.00978), table 4: 3.42 against 3.32" in omega["text"]


def test_scores_become_losses(checkpoint, tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text("layer,bits,score\n0,4,1\n1,4,2\n2,4,5\n")
    omega = made(checkpoint, "--scores", table, "--nats-at-4-bits", 0.08)
    assert omega["method"] == "scores"
    np.testing.assert_allclose([row[1] for row in omega["loss_nats"]], [0.01, 0.02, 0.05])
    assert omega["basis"]["scores"].startswith("scores.csv (sha256 ")


def test_few_bits_and_large_losses_are_warned_of(checkpoint):
    warnings = made(checkpoint, "--bits", "2,4")["warnings"]
    assert warnings[0].startswith("Losses at 2 bits are carried on from rounding errors")
    assert warnings[1].startswith("At uniform 2 bits the model would lose 2.")
    assert "more than 0.3): losses so large no longer add up" in warnings[1]
    assert made(checkpoint, "--nats-at-4-bits", 0.01)["warnings"] == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--bits", "3;4"), "--bits is '3;4'; write widths as 3,4,8"),
        (("--bits", "7"), "bits has 7; losses are known for 2, 3, 4, 5, 6 and 8 bits"),
        (("--tokens", "t.txt"), "--tokens is what --calibrate runs on; add --calibrate"),
        (("--in-nats",), "are about scores; add --scores"),
        (("--calibrate", "--scores", "s.csv"), "--calibrate and --scores exclude each other"),
        (("--model", "opt-1.3b"), "It is called opt-1.3b, but has 3 layers of width 64"),
    ],
)
def test_bad_options_are_told(checkpoint, options, why):
    result = run(checkpoint, *options)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())


def test_what_is_no_checkpoint_is_told(tmp_path):
    result = run(tmp_path / "nothing")
    assert result.exit_code == 2
    assert "Unknown model" in result.stderr


def test_an_input_is_never_written_over(checkpoint):
    result = run(checkpoint / "config.json", "--output", checkpoint / "config.json")
    assert result.exit_code == 2
    assert "is an input of this run" in result.stderr


# -- requests -----------------------------------------------------------------------------------


def ready(data, folder=None):
    return prepare(parse_request(data), folder=folder)


def test_a_request_takes_the_file(checkpoint, request_of, tmp_path):
    """Losses by format, shares at W8A8 as at 4 bits; the answer says what they rest on."""
    omega = made(checkpoint, "--nats-at-4-bits", 0.1)
    (tmp_path / "omega.json").write_text(json.dumps(omega))
    formats = ["w16a16", "w8a8", "w4a16"]
    prepared = ready(request_of({"omega_file": "omega.json"}, formats=formats), tmp_path)
    four = [row[1] for row in omega["loss_nats"]]
    loss = prepared.problem.loss_nats
    np.testing.assert_allclose(loss[:, 2], four)
    np.testing.assert_allclose(loss[:, 0], 0)
    np.testing.assert_allclose(loss[:, 1] / loss[:, 1].sum(), np.array(four) / 0.1)
    assert prepared.background.quality_source.startswith("given: rounding errors of the weights")
    assert prepared.limits.loss_nats == pytest.approx(0.1)


def test_an_answer_repeats_the_losses_in_its_request(checkpoint, request_of, tmp_path):
    """What it repeats has no file any more, and gives the same problem."""
    (tmp_path / "omega.json").write_text(json.dumps(made(checkpoint)))
    first = ready(request_of({"omega_file": "omega.json", "perplexity_16": 9.0}), tmp_path)
    body = first.request_body
    assert body["quality"].keys() == {"omega", "perplexity_16"}
    again = ready(json.loads(json.dumps(body)))
    np.testing.assert_array_equal(first.problem.loss_nats, again.problem.loss_nats)


def test_a_plan_warns_of_large_losses(checkpoint, request_of):
    """At 1 nat for uniform 4 bits, w4a16 throughout loses more than 0.3."""
    omega = made(checkpoint, "--nats-at-4-bits", 1.0)
    answer = plan_request(request_of({"omega": omega}, formats=["w4a16"]))
    assert any(
        warning.startswith("The plan is predicted to lose 1 nats (perplexity +172 %")
        for warning in answer.warnings
    )


def test_layers_below_three_bits_are_warned_of(two_layers):
    two_layers["formats"] = [{"name": "w2a16", "bits": 2}]
    answer = plan_request(two_layers)
    assert any("2 layers (0 the first) are below 3 bits" in each for each in answer.warnings)


def test_losses_of_another_model_are_warned_of(checkpoint, request_of):
    omega = made(checkpoint, "--model", "another")
    warnings = ready(request_of({"omega": omega})).background.warnings
    assert any("those of another, not of tiny" in each for each in warnings)


@pytest.mark.parametrize(
    ("change", "pointer", "why"),
    [
        ({"loss_nats": [[0.3, 0.1, 0.0]]}, "/quality/omega", "losses of 1 layers; tiny has 3"),
        ({"group_size": 64}, "/quality/omega", "stores groups of 128, but the losses of tiny are"),
        ({"bits": [4, 3, 8]}, "/quality/omega", "give ascending widths"),
        ({"loss_nats": [[0.3, 0.1]] * 3}, "/quality/omega", "one loss for each"),
        ({"kind": "beta"}, "/quality/omega/kind", "omega"),
    ],
)
def test_losses_that_do_not_fit_are_told(checkpoint, request_of, change, pointer, why):
    omega = {**made(checkpoint), **change}
    with pytest.raises(InvalidRequestError) as error:
        ready(request_of({"omega": omega}))
    assert error.value.problems[0].pointer == pointer
    assert why in error.value.problems[0].detail


@pytest.mark.parametrize("other", [{"nats_at_4_bits": 0.1}, {"loss_nats": {"w4a16": [0.1] * 3}}])
def test_two_sources_contradict_each_other(checkpoint, request_of, other):
    with pytest.raises(InvalidRequestError) as error:
        ready(request_of({"omega": made(checkpoint), **other}))
    assert "contradict each other" in error.value.problems[0].detail


def test_a_file_that_is_something_else_is_told(request_of, tmp_path):
    (tmp_path / "omega.json").write_text(json.dumps({"kind": "omega"}))
    with pytest.raises(InvalidRequestError, match=r"omega\.json holds no losses of layers"):
        ready(request_of({"omega_file": "omega.json"}), tmp_path)


def test_over_http_there_are_no_files(request_of):
    with pytest.raises(InvalidRequestError, match=r"only the command line reads"):
        ready(request_of({"omega_file": "omega.json"}))


def test_what_if_proposes_no_format_that_the_losses_do_not_tell(checkpoint, request_of):
    """A file of 4 and 8 bits tells nothing of w3a16."""
    omega = made(checkpoint, "--bits", "4,8")
    request = request_of({"omega": omega}, formats=["w16a16", "w4a16"], what_if=True)
    answer = plan_request(request)
    assert not any("w3a16" in effect.text for effect in answer.what_if)


# -- progress -----------------------------------------------------------------------------------


def test_a_short_run_shows_no_progress():
    stream = io.StringIO()
    line = CountLine("layers", stream)
    line(1, 3)
    line.close()
    assert stream.getvalue() == ""


def test_a_long_run_shows_what_is_left(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 6.0, 15.0])
    monkeypatch.setattr("api.count_line.monotonic", lambda: next(clock))
    stream = io.StringIO()
    line = CountLine("layers", stream)
    for done in range(4):
        line(done, 4)
    assert stream.getvalue() == "    4 s  1 of 4 layers, about 12 s left\n" * 1 + (
        "   15 s  3 of 4 layers, about 5 s left\n"
    )


def test_the_schema_of_the_file_is_published():
    data, _ = read_text(CliRunner().invoke(app, ["schema", "omega"]).stdout)
    assert data["properties"]["kind"]["const"] == "omega"


def test_a_model_is_run_on_tokens_of_text(checkpoint, tmp_path):
    """Two bits by a pass of their own; the level is the model's own, as nothing is published."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("1 2 3 4 5 6 7 8\n9 10 11 12 13 14 15 16\n")
    omega = made(checkpoint, "--calibrate", "--tokens", tokens, "--bits", "2,3,4")
    assert (omega["method"], omega["provenance"]) == ("calibrated", "measured")
    assert omega["basis"]["tokens"].startswith("tokens.txt (sha256 ")
    assert "over 16 tokens of tokens.txt" in omega["text"]
    two, three, four = np.array(omega["loss_nats"]).T
    assert (two > three).all()
    assert (three > four).all()
    scaled = made(checkpoint, "--calibrate", "--tokens", tokens, "--nats-at-4-bits", 0.1)
    assert scaled["nats_at_4_bits"] == pytest.approx(0.1, abs=1e-6)
    assert scaled["provenance"] == "given"


def test_random_tokens_are_warned_of(checkpoint, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr("profiles.token_ids._RANDOM_TOKENS", 64)
    warnings = made(checkpoint, "--calibrate")["warnings"]
    assert any("Random tokens rank widths" in each for each in warnings)
