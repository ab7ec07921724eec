"""Answers: numbers follow from the request, in the field's units; plans go round and round."""

import json
from dataclasses import replace
from typing import get_args

import jsonschema
import pytest

from api.answer import plan_answer
from api.given_plans import plan_from_spec
from api.json_schemas import json_schema
from api.problems import InvalidRequestError
from api.request import parse_request, prepare
from api.schemas.goal import GoalName
from api.schemas.names import SCHEMA_NAMES, GoalChoice
from api.schemas.plan import GivenPlan, PlanSpec
from api.service import judge, plan
from solver import Goal, SolveReport, Status, StopReason


@pytest.fixture
def answered(two_layers):
    """The small problem, its preparation and its answer."""
    prepared = prepare(parse_request(two_layers))
    return prepared, plan(prepared)


def test_values_can_be_redone_by_hand(answered):
    """Two layers: TTFT 2 x 3 ms; the second token 2 x 2 ms later."""
    _, answer = answered
    assert answer.status == "optimal"
    assert answer.metrics.ttft_ms == pytest.approx(6.0)
    assert answer.metrics.latency_s == pytest.approx(0.010)
    assert answer.objective == pytest.approx(0.010)
    assert answer.metrics.throughput_tokens_per_s == pytest.approx(2 / 0.010)
    assert answer.metrics.usd_per_hour == pytest.approx(3.6)
    # 3.6 USD per hour are 0.001 USD per second; 0.010 s give 2 tokens.
    assert answer.metrics.usd_per_million_tokens == pytest.approx(0.001 * 0.010 / 2 * 1e6)
    memory = answer.stages[0].memory
    assert memory.weights_gib == pytest.approx(200 / 1024)
    assert memory.kv_cache_gib == pytest.approx(2 / 1024)
    assert memory.available_gib == pytest.approx(1.0)


def test_answer_follows_its_schema_and_holds_what_is_needed_to_repeat_it(answered):
    """JSON is complete: statuses at the top, settings, versions, hash."""
    _, answer = answered
    document = json.loads(answer.model_dump_json())
    jsonschema.validate(document, json_schema("answer"))
    for name in ("status", "stop_reason", "objective", "bound", "gap", "versions", "solver"):
        assert document[name] is not None
    assert len(document["problem_hash"]) == 64
    assert document["solver"]["seed"] == 0


def test_hash_tells_problems_apart(two_layers):
    """Equal requests have equal hashes; another coefficient, another hash."""
    first, second = (plan(prepare(parse_request(two_layers))).problem_hash for _ in range(2))
    two_layers["decode_ms"] = [[[[2.5]]]]
    assert first == second
    assert plan(prepare(parse_request(two_layers))).problem_hash != first


def test_plan_of_an_answer_can_be_evaluated(answered):
    """What a plan says of itself is what its evaluation says."""
    prepared, answer = answered
    again = judge(prepared, answer.plan)
    assert again.feasible
    assert again.status == "optimal"
    assert again.metrics == answer.metrics
    assert plan_from_spec(answer.plan, prepared).stages[0].formats == (0, 0)


def test_infeasible_request_says_why(two_layers):
    """200 MiB do not fit into 102: the answer says what is short."""
    two_layers["devices"][0]["memory_gib"] = 0.1
    prepared = prepare(parse_request(two_layers))
    answer = plan(prepared)
    assert (answer.status, answer.plan, answer.objective) == ("infeasible", None, None)
    assert answer.remedies
    assert answer.remedies[0].unit


def test_limits_are_reported_with_their_slack(two_layers):
    """A TTFT of 6 ms leaves 4 of 10 ms."""
    two_layers["limits"] = {"ttft_ms": 10, "min_stages": 1}
    answer = plan(prepare(parse_request(two_layers)))
    (limit,) = answer.limits
    assert (limit.limit, limit.unit, limit.basis) == ("ttft_ms", "ms", "asked")
    assert limit.slack == pytest.approx(4.0)


def test_broken_limit_is_a_violation_not_an_error(two_layers):
    """A plan that is too slow is judged all the same."""
    prepared = prepare(parse_request(two_layers))
    spec = plan(prepared).plan
    two_layers["limits"] = {"ttft_ms": 5}
    answer = judge(prepare(parse_request(two_layers)), spec, with_solve=False)
    assert not answer.feasible
    assert [broken.limit for broken in answer.violations] == ["ttft_ms"]
    assert answer.violations[0].value == pytest.approx(6.0)


def test_report_without_a_plan_is_answered(answered):
    """A search that ended early with nothing to show."""
    prepared, _ = answered
    report = SolveReport(
        status=Status.UNKNOWN,
        stop_reason=StopReason.TIME_LIMIT,
        objective=None,
        bound=0.5,
        gap=None,
        plan=None,
        evaluation=None,
        runtime_s=1.0,
        num_bounds=1,
        num_milps=0,
    )
    answer = plan_answer(prepared, report)
    assert answer.metrics is None
    assert any("ended before its gap" in warning for warning in answer.warnings)
    assert plan_answer(prepared, replace(report, stop_reason=StopReason.PROVEN)).warnings == []


BAD_PLANS = [
    ("node", {"node": "z"}, "There is no d on node 'z'"),
    ("GPU", {"gpu": "T5"}, "There is no T5 on node 'n'"),
    ("group", {"tensor_parallel": 2}, "it may be 1"),
    ("layers", {"last_layer": 7}, "not within the model's, 0 to 1"),
    ("order", {"first_layer": 1, "last_layer": 0}, "not within"),
    ("format", {"formats": [{"first_layer": 0, "last_layer": 1, "format": "w2a16"}]}, "'w2a16'"),
    (
        "gap",
        {"formats": [{"first_layer": 0, "last_layer": 0, "format": "w16a16"}]},
        "cover 1 layers",
    ),
    (
        "jump",
        {"formats": [{"first_layer": 1, "last_layer": 1, "format": "w16a16"}]},
        "do not follow",
    ),
    ("no such GPU", {"gpu_numbers": [7]}, "no d on node 'n' with number 7"),
    ("too many GPUs", {"gpu_numbers": [0, 1]}, "tensor_parallel is 1"),
    ("two tales", {"layer_formats": ["w16a16"]}, "disagree"),
]


@pytest.mark.parametrize(("name", "change", "words"), BAD_PLANS, ids=[b[0] for b in BAD_PLANS])
def test_plan_that_does_not_fit_is_refused(name, change, words, answered):
    """Each with the place in the plan."""
    prepared, answer = answered
    document = json.loads(answer.plan.model_dump_json())
    document["stages"][0].pop("layer_formats")
    document["stages"][0] |= change
    with pytest.raises(InvalidRequestError, match=words) as caught:
        plan_from_spec(PlanSpec.model_validate(document), prepared)
    assert caught.value.problems[0].pointer.startswith("/plan/stages/0")


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_schemas_are_valid_and_describe_every_field(name):
    """JSON Schema 2020-12, and no field without a word on it."""
    schema = json_schema(name)
    defined = schema.get("$defs", {})
    jsonschema.Draft202012Validator.check_schema(schema)
    for title, definition in [("", schema), *defined.items()]:
        for field, form in definition.get("properties", {}).items():
            target = defined.get(form.get("$ref", "").rpartition("/")[2], {})
            assert form.get("description") or target.get("description"), f"{title}.{field}"


def test_goals_outside_are_the_solvers():
    """Every goal of the solver can be asked for."""
    assert set(get_args(GoalName)) == {goal.value for goal in Goal}
    assert {choice.value for choice in GoalChoice} == {goal.value for goal in Goal}


def test_gpu_named_twice_is_refused(answered):
    """Two stages on the same GPU."""
    prepared, _ = answered
    stage = {"node": "n", "gpu": "d", "gpu_numbers": [0], "formats": "w16a16"}
    stages = [{**stage, "first_layer": at, "last_layer": at} for at in (0, 1)]
    with pytest.raises(InvalidRequestError, match="Number 0 of d on node 'n' is used twice"):
        plan_from_spec(GivenPlan.model_validate({"stages": stages}), prepared)


def test_short_plan_is_read(small_request):
    """Aliases, any case, one format for a stage; a size is missing only where there is a choice."""
    small_request["cluster"]["nodes"] = [{"name": "a", "gpus": [{"type": "A100-80G"}]}]
    small_request["cluster"]["links"] = []
    small_request["engine"] = "vllm"
    small_request["limits"] = {}
    prepared = prepare(parse_request(small_request))
    first = prepared.background.warnings[0]
    assert first.startswith("A100-80G is read as A100-80G-SXM; write A100-80G-PCIe if")
    stage = {
        "node": "A",
        "gpu": "a100-80g",
        "first_layer": 0,
        "last_layer": 23,
        "formats": "W16A16",
    }
    with pytest.raises(InvalidRequestError, match="batch_size is missing"):
        plan_from_spec(GivenPlan.model_validate({"stages": [stage]}), prepared)
    sizes = {"batch_size": 2, "prefill_micro_batch": 1, "decode_micro_batch": 2}
    given = GivenPlan.model_validate({**sizes, "stages": [stage]})
    assert plan_from_spec(given, prepared).stages[0].formats == (0,) * 24
    assert judge(prepared, given, with_solve=False).plan.stages[0].gpu == "A100-80G-SXM"


def test_remedy_of_the_answer_can_be_followed(two_layers):
    """TTFT of 5 ms is impossible; what the remedy asks for is not."""
    two_layers["limits"] = {"ttft_ms": 5}
    answer = plan(prepare(parse_request(two_layers)))
    (remedy,) = answer.remedies
    assert "limits.ttft_ms is 5; " in remedy.text
    assert "with the other limits kept" in remedy.text
    two_layers["limits"] = {"ttft_ms": remedy.needed}
    assert plan(prepare(parse_request(two_layers))).status == "optimal"


def test_limits_that_contradict_each_other_are_told_so(two_layers):
    """Neither alone can be relaxed; the solver's sentence says which case it is."""
    two_layers["limits"] = {"ttft_ms": 5, "tpot_ms": 1}
    texts = [remedy.text for remedy in plan(prepare(parse_request(two_layers))).remedies]
    assert texts
    assert all("No single limit can be relaxed alone" in text for text in texts)


def test_default_quality_limit_is_told_as_such(small_request):
    """0.1 nats are 10.5 %: a warning, and a word on how to set it."""
    prepared = prepare(parse_request(small_request))
    warnings = " ".join(prepared.background.warnings)
    assert "allows an increase of perplexity of 10.5 %" in warnings
