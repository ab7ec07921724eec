"""The regret of a plan in answers: asked for, told in words, and capped by a service."""

import io
import json

import jsonschema
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.console import make_console
from api.json_schemas import json_schema
from api.problems import InvalidRequestError
from api.render import show
from api.request import parse_request, prepare
from api.service import Hooks, plan, plan_request
from api.work import Caps, plan_work

runner = CliRunner()


@pytest.fixture
def asked(small_request):
    """OPT-1.3b on two T4s, a P100 and an L4; three tables."""
    return small_request | {"regret": {"samples": 3, "seed": 2}}


def test_regret_is_answered_where_it_is_asked(asked):
    states = []
    answer = plan(prepare(parse_request(asked)), hooks=Hooks(on_progress=states.append))
    document = json.loads(answer.model_dump_json())
    jsonschema.validate(document, json_schema("answer"))
    found = answer.regret
    assert (found.samples, found.samples_asked, found.seed) == (3, 3, 2)
    assert found.within + found.beyond + found.undecided == 3
    assert 0 < found.assumed_terms < found.error_terms
    assert any(state.phase == "regret, sample 3 of 3" for state in states)


def test_regret_is_null_where_it_is_not_asked_or_there_is_no_plan(small_request):
    assert plan_request(small_request).regret is None
    infeasible = small_request | {"limits": {"ttft_ms": 0.001}, "regret": True}
    assert plan_request(infeasible).regret is None


def test_regret_is_told_in_words(asked):
    text = io.StringIO()
    show(plan_request(asked), make_console(text))
    text = text.getvalue()
    assert "If times are off by as much as they may be" in text
    assert "of 3 tables drawn (proven; 95 % interval" in text
    assert "random factors is assumed" in text


def test_the_option_asks_for_it(asked, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(asked))
    result = runner.invoke(app, ["plan", str(path), "--regret", "--format", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["regret"]["samples_asked"] == 3


def test_a_service_caps_its_time(asked):
    caps = Caps(max_time_limit_s=1e-6, max_problem_size=10**9)
    answer = json.loads(plan_work(asked, caps).answer_or_raise())
    assert answer["regret"] is None or answer["regret"]["samples"] == 0


@pytest.mark.parametrize(
    ("regret", "pointer"),
    [
        ({"samples": 0}, "/regret/samples"),
        ({"seed": -1}, "/regret/seed"),
        ({"time_limit_s": 0}, "/regret/time_limit_s"),
        ({"draws": 3}, "/regret/draws"),
        ("yes", "/regret"),
    ],
)
def test_bad_settings_are_named(small_request, regret, pointer):
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(small_request | {"regret": regret})
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_problems_by_coefficients_have_no_error_to_draw_from(two_layers):
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(two_layers | {"regret": True})
    assert caught.value.problems[0].pointer == "/regret"
