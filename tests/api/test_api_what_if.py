"""What-if in answers: asked for, told in the request's words, and true."""

import io
import json
from copy import deepcopy
from dataclasses import replace
from math import inf

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.console import make_console
from api.effects import effect_reports
from api.json_schemas import json_schema
from api.problems import InvalidRequestError
from api.render import show
from api.request import parse_request, prepare
from api.service import plan_request
from solver import ChangeKind, Effect, Question, StopRule, solve

runner = CliRunner()


@pytest.fixture
def two_gpus(two_layers):
    """Two GPUs for two layers and two requests, and a third that is a hundred times slower."""
    two_layers |= {
        "devices": [
            {"name": "fast", "node": "n", "count": 2, "memory_gib": 1},
            {"name": "slow", "node": "n", "memory_gib": 1},
        ],
        "groups": [{"device": "fast"}, {"device": "slow"}],
        "batches": [{"size": 2}],
        "prefill_ms": [[[[3.0]]], [[[300.0]]]],
        "decode_ms": [[[[2.0]]], [[[200.0]]]],
        "weight_mib": [[[100.0]]] * 2,
        "kv_mib": [[1.0]] * 2,
        "limits": {"ttft_ms": 1000},
        "solver": {"gap": 0},
    }
    return two_layers


@pytest.fixture
def catalogue(small_request):
    """OPT-1.3b on T4s, an L4 and a P100, with two formats."""
    small_request["workload"]["batch_size"] = 4
    small_request["limits"] = {"ttft_ms": 10000}
    small_request["solver"] = {"gap": 0.001}
    return small_request


def effects_of(answer, kind):
    return {effect.subject: effect for effect in answer.what_if if effect.kind == kind}


def test_what_if_is_answered_where_it_is_asked(two_gpus):
    """Null without the question; with it the JSON follows its schema."""
    assert plan_request(two_gpus).what_if is None
    answer = plan_request(two_gpus | {"what_if": True})
    document = json.loads(answer.model_dump_json())
    jsonschema.validate(document, json_schema("answer"))
    assert {effect["kind"] for effect in document["what_if"]} == {
        "more_gpus",
        "more_memory",
        "looser_limit",
        "fewer_gpus",
        "forced_gpus",
    }


def test_effects_are_in_the_unit_of_the_objective(two_gpus):
    """
    Two stages: prefill 3 + 3 + 3 ms, two decode rounds' first 2 + 2 + 2 ms: 15 ms. On one GPU
    each phase takes 2 x 2 layers: 12 and 8 ms, so that giving one back loses 5 ms, a third.
    """
    answer = plan_request(two_gpus | {"what_if": True})
    assert answer.objective == pytest.approx(0.015)
    lost = effects_of(answer, "fewer_gpus")
    assert lost["fast"].confirmed
    assert lost["fast"].gain == pytest.approx(-0.005)
    assert lost["fast"].gain_percent == pytest.approx(-100 / 3)
    assert lost["fast"].text == "loses 33.3 % (solved; at least 33.3 %)"
    assert lost["slow"].text == "loses nothing (a plan as good does without)"
    assert (lost["slow"].gain, lost["slow"].gpus) == (0.0, 1)


def test_limits_are_named_as_in_the_request(two_gpus):
    """TTFT may be a tenth longer, in milliseconds."""
    answer = plan_request(two_gpus | {"what_if": True})
    looser = effects_of(answer, "looser_limit")
    assert list(looser) == ["ttft_ms"]
    assert looser["ttft_ms"].change == "limits.ttft_ms 1000 to 1100 ms"
    assert not looser["ttft_ms"].confirmed
    assert looser["ttft_ms"].text.startswith("gains nothing (bound")


def test_free_gpu_is_explained(two_gpus):
    """By the proof; what-if adds what forcing it in loses, which is said to be an estimate."""
    answer = plan_request(two_gpus | {"what_if": True})
    (free,) = answer.unused_gpus
    assert (free.gpu, free.why) == ("slow", "optimal")
    forced = effects_of(answer, "forced_gpus")["slow"]
    assert forced.text.startswith("loses about")
    assert forced.text.endswith("(estimate)")


WORDS = {
    "no gain seen, at most 20 % (bound)": {},
    "may gain about 10 % (estimate), at most 20 % (bound)": {"estimate": 1.0},
    "may gain at most 20 % (bound)": {"estimate": None},
    "gains at least 5 % (a plan found), about 10 % (estimate), at most 20 % (bound)": {
        "estimate": 1.0,
        "gain": 0.5,
    },
    "gains at least 5 % (a plan found), at most 20 % (bound)": {"estimate": 0.5, "gain": 0.5},
    "no gain found (solved; at most 20 %)": {"estimate": 1.0, "is_confirmed": True},
    "gains 5 % (solved; at most 20 %)": {"gain": 0.5, "is_confirmed": True},
    "gains nothing (bound for all such together)": {"most_gain": 0.0, "is_joint": True},
    "not worked out": {"bound": None},
    "gains at least 5 % (a plan found)": {"gain": 0.5, "bound": None, "estimate": None},
}


@pytest.mark.parametrize("words", WORDS)
def test_gains_are_claimed_only_where_a_plan_shows_them(words, two_gpus):
    """An estimate and a bound, of an objective of 10, only say what a change may gain."""
    prepared = prepare(parse_request(two_gpus | {"what_if": True}))
    change = prepared.what_if.changes[0]
    known = {"gain": 0.0, "most_gain": 2.0, "estimate": 0.0, "bound": 8.0} | WORDS[words]
    (report,) = effect_reports(prepared, 10.0, [Effect(change=change, **known)])
    assert report.text == words


LOSSES = {
    "loses nothing (a plan as good does without)": {"gain": 0.0},
    "loses 0.25 s (solved; at least 0.2 s)": {"gain": -0.25, "is_confirmed": True},
    "loses about 0.3 s (estimate), at least 0.2 s (bound)": {"estimate": -0.3},
    "no loss seen (estimate)": {"estimate": 0.0, "most_gain": 0.0},
    "not worked out": {"most_gain": inf, "bound": None},
}


@pytest.mark.parametrize("words", LOSSES)
def test_losses_from_nothing_are_told_in_the_unit(words, two_gpus):
    """Where the objective is 0 there is nothing of which to take a share."""
    prepared = prepare(parse_request(two_gpus | {"what_if": True}))
    change = replace(prepared.what_if.changes[0], kind=ChangeKind.FEWER_GPUS)
    known = {"gain": None, "most_gain": -0.2, "bound": 0.2} | LOSSES[words]
    (report,) = effect_reports(prepared, 0.0, [Effect(change=change, **known)])
    assert (report.text, report.gain_percent) == (words, None)


def test_plan_without_any_loss_is_proven_to_stay(two_gpus):
    """No format loses quality: 0 nats are a value as any other, with proof."""
    answer = plan_request(two_gpus | {"objective": "quality_loss", "what_if": True})
    assert answer.objective == 0
    assert {effect.text for effect in answer.what_if} == {
        "gains nothing (solved)",
        "gains nothing (bound for all such together)",
        "loses nothing (a plan as good does without)",
        "no loss seen (estimate)",
    }


def test_gpus_that_cannot_be_given_back(two_layers):
    """The only GPU of a plan: nothing is left without it, and JSON has null for it."""
    answer = plan_request(two_layers | {"what_if": True})
    (effect,) = effects_of(answer, "fewer_gpus").values()
    assert (effect.feasible, effect.gain, effect.most_gain) == (False, None, None)
    assert effect.text == "leaves no plan (proven)"


def test_explanations_are_always_there(two_gpus):
    """Shares of the phases, memory left, and whether a limit binds."""
    answer = plan_request(two_gpus)
    assert answer.bottlenecks.prefill_share == pytest.approx(0.6)  # 9 of 15 ms
    assert answer.bottlenecks.prefill_lead == 0.0
    assert answer.stages[0].memory.free_gib == pytest.approx(1 - 102 / 1024)
    assert answer.limits[0].binding is False
    tight = plan_request(two_gpus | {"limits": {"ttft_ms": 9}})
    assert tight.limits[0].binding is True


def test_text_has_a_section_on_what_if(two_gpus, capsys):
    """Changes with their effects; those bounded together in one row."""
    answer = plan_request(two_gpus | {"what_if": True})
    show(answer, make_console())
    text = capsys.readouterr().out
    assert "What if" in text
    assert "1 GPU fewer of fast" in text
    assert "prefill takes 60 % of the latency" in text
    assert "least memory left: stage 1" in text
    assert "free 1× slow: no plan is better, with them or without" in text
    assert "1 GPU of slow forced in" in text


def test_command_line_asks(two_gpus, tmp_path):
    """`--what-if` does what the field does."""
    file = tmp_path / "request.json"
    file.write_text(json.dumps(two_gpus), encoding="utf-8")
    result = runner.invoke(app, ["plan", str(file), "--what-if", "--format", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["what_if"]


def test_catalogue_has_changes_of_its_own(catalogue):
    """Formats of the engine that are not allowed everywhere; a second L4 opens pairs of L4s."""
    prepared = prepare(parse_request(catalogue | {"what_if": True}))
    problem, changes = prepared.what_if.problem, prepared.what_if.changes
    formats = {change.subject for change in changes if change.kind is ChangeKind.MORE_FORMATS}
    assert formats == {"w8a8", "w8a16", "w4a16", "w3a16"}  # w4a16 for the first two layers too
    (second,) = (c for c in changes if c.text == "1 GPU more of b/L4")
    assert second.is_alone
    wider = second.edit(Question(problem=problem, limits=prepared.limits)).problem
    assert len(wider.groups) == len(problem.groups) + 1
    assert problem.devices == prepared.problem.devices


def test_problem_with_all_that_is_tried_keeps_to_the_size_allowed(catalogue):
    """24 layers, 4 GPUs, 3 x 3 pairs: 2 formats make 1728, 5 make 4320."""
    assert prepare(parse_request(catalogue), max_size=2000).what_if is None
    with pytest.raises(InvalidRequestError, match="problem with what_if is too large") as caught:
        prepare(parse_request(catalogue | {"what_if": True}), max_size=2000)
    assert "Leave out what_if" in str(caught.value)


CHANGED = {
    "1 GPU more of b/L4": lambda r: r["cluster"]["nodes"][1]["gpus"][1].update(count=2),
    "1 GPU more of a/T4": lambda r: r["cluster"]["nodes"][0]["gpus"][0].update(count=3),
    "format w8a16 allowed": lambda r: r["formats"].update(
        default=["w16a16", "w4a16", "w8a16"], per_layer={"0-1": ["w16a16", "w8a16"]}
    ),
    "format w4a16 allowed everywhere": lambda r: r["formats"].pop("per_layer"),
}


@pytest.mark.parametrize("text", CHANGED)
def test_changed_problem_is_that_of_a_changed_request(text, catalogue):
    """Asked for by a request of its own, the change has the same optimum."""
    prepared = prepare(parse_request(catalogue | {"what_if": True}))
    (change,) = (c for c in prepared.what_if.changes if c.text == text)
    question = Question(problem=prepared.what_if.problem, limits=prepared.limits)
    changed = deepcopy(catalogue)
    CHANGED[text](changed)
    asked = prepare(parse_request(changed))
    found, wanted = (
        solve(problem, limits=prepared.limits, stop=StopRule(gap=1e-4)).objective
        for problem in (change.edit(question).problem, asked.problem)
    )
    assert found == pytest.approx(wanted, rel=2e-4)


GPUS = ("T4", "P100-12G", "V100-32G", "A10", "L4", "A100-40G")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_predicted_signs_are_confirmed(seed):
    """What is predicted to gain or lose a percent does, on 24 layers and random clusters."""
    rng = np.random.default_rng(seed)
    nodes = [
        {"name": name, "gpus": [{"type": str(rng.choice(GPUS)), "count": int(rng.integers(1, 3))}]}
        for name in ("a", "b")
    ]
    answer = plan_request(
        {
            "model": "opt-1.3b",
            "cluster": {"nodes": nodes, "tensor_parallel": [1]},
            "workload": {"batch_size": 8, "prompt_tokens": 256, "output_tokens": 32},
            "objective": ("latency", "throughput")[seed % 2],
            "what_if": True,
        }
    )
    for effect in answer.what_if:
        if effect.confirmed and effect.feasible and abs(effect.estimate_percent or 0.0) >= 1:
            assert effect.gain * effect.estimate > 0
            assert effect.gap <= 0.05


def test_own_losses_keep_to_the_formats_they_cover(catalogue):
    """No format is proposed whose quality loss nobody has stated."""
    catalogue["quality"] = {"loss_nats": {"w16a16": [0.0] * 24, "w4a16": [0.001] * 24}}
    asked = prepare(parse_request(catalogue | {"what_if": True})).what_if
    formats = {c.subject for c in asked.changes if c.kind is ChangeKind.MORE_FORMATS}
    assert formats == {"w4a16"}


def test_without_a_plan_what_if_says_that_it_needs_one(two_layers):
    """Beside what would help."""
    body = {**two_layers, "what_if": True, "limits": {"ttft_ms": 1e-6}}
    text = io.StringIO()
    answer = plan_request(body)
    assert answer.what_if == []
    show(answer, make_console(text))
    assert "gains are counted from a plan, and there is none" in text.getvalue()
