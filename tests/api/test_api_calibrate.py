"""`hetplan calibrate`: measurements in, factors out, and requests that take them."""

import csv
import json

import jsonschema
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.json_schemas import json_schema
from api.measured import measured_rows, read_measured
from api.problems import InvalidRequestError
from api.request import parse_request, prepare
from api.schemas.calibration import CalibrationSpec
from api.service import judge, plan_request
from api.work import Caps, plan_work
from profiles.errors import InputError, TableError

runner = CliRunner()
LOADS = ((1, 64, 8), (4, 64, 8), (4, 256, 32))

VLLM = {
    "date": "20260101-120000",
    "backend": "vllm",
    "model_id": "m",
    "num_prompts": 8,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": None,
    "duration": 4.0,
    "completed": 8,
    "total_input_tokens": 4096,
    "total_output_tokens": 1024,
    "request_throughput": 2.0,
    "output_throughput": 256.0,
    "total_token_throughput": 1280.0,
    "mean_ttft_ms": 500.0,
    "mean_tpot_ms": 25.0,
}


@pytest.fixture
def request_body(small_request):
    """One T4 runs OPT-1.3b at 16 bits."""
    small_request["cluster"] = {"nodes": [{"name": "a", "gpus": [{"type": "T4"}]}]}
    small_request["workload"]["batch_size"] = 4
    small_request["engine"] = "vllm"
    small_request["formats"] = ["w16a16"]
    del small_request["limits"]
    return small_request


@pytest.fixture
def saved(request_body, tmp_path):
    """A saved answer, as `hetplan plan --output plan.json` writes it."""
    path = tmp_path / "plan.json"
    path.write_text(plan_request(request_body).model_dump_json())
    return path


def predicted(body, plan, load):
    """Mean TTFT, TPOT and throughput of a plan at a load, one micro-batch in either phase."""
    batch, prompt, output = load
    workload = {"batch_size": batch, "prompt_tokens": prompt, "output_tokens": output}
    sizes = {f"{phase}_micro_batches": [batch] for phase in ("prefill", "decode")}
    prepared = prepare(parse_request(body | {"workload": workload | sizes}))
    spec = plan.model_copy(
        update={"batch_size": batch, "prefill_micro_batch": batch, "decode_micro_batch": batch}
    )
    metrics = judge(prepared, spec, with_solve=False).metrics
    return metrics.ttft_ms, metrics.tpot_ms


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def measured(request_body, saved, tmp_path):
    """What a machine would show that prefills 1.3 and decodes 0.7 times as long as predicted."""
    plan = plan_request(request_body).plan
    plan = plan.model_copy(update={"prefill_micro_batch": 4, "decode_micro_batch": 4})
    answer = json.loads(saved.read_text())
    answer["plan"] |= {"prefill_micro_batch": 4, "decode_micro_batch": 4}
    saved.write_text(json.dumps(answer))
    rows = []
    for load in LOADS:
        ttft_ms, tpot_ms = predicted(request_body, plan, load)
        rows.append(
            dict(zip(("batch_size", "prompt_tokens", "output_tokens"), load, strict=True))
            | {"ttft_ms": 1.3 * ttft_ms, "tpot_ms": 0.7 * tpot_ms}
        )
    return write_csv(tmp_path / "measured.csv", rows)


def calibration(saved, measured, *more):
    result = runner.invoke(
        app, ["calibrate", str(saved), str(measured), "--by", "lab", "--format", "json", *more]
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_calibration_finds_hidden_factors_and_says_where_they_come_from(saved, measured):
    found = calibration(saved, measured)
    CalibrationSpec.model_validate(found)
    factors = {each["phase"]: each for each in found["factors"]}
    for phase, hidden in (("prefill", 1.3), ("decode", 0.7)):
        assert factors[phase]["factor"] == pytest.approx(hidden, rel=0.02)
        assert factors[phase]["low"] < hidden < factors[phase]["high"]
        assert (factors[phase]["gpu"], factors[phase]["kernel"]) == ("T4", "cublas")
    assert (found["engine"], found["made_by"], found["values"]) == ("vllm", "lab", 6)
    assert found["error_after"] < 0.02 < found["error_before"]
    assert len(found["plans"][0]["plan_hash"]) == 64
    assert (found["plans"][0]["measured"], found["plans"][0]["rows"]) == ("measured.csv", 3)


def test_times_of_a_calibrated_request_are_multiplied(request_body, saved, measured):
    """Prefill by the factor of the kernel, layers and ends alike; and the answer says by whom."""
    found = calibration(saved, measured)
    before = plan_request(request_body)
    after = plan_request(request_body | {"calibration": found})
    factor = next(each["factor"] for each in found["factors"] if each["phase"] == "prefill")
    spec = before.plan
    prepared = prepare(parse_request(request_body | {"calibration": found}))
    judged = judge(prepared, spec, with_solve=False)
    assert judged.metrics.ttft_ms == pytest.approx(factor * before.metrics.ttft_ms)
    use = after.sources.calibrated
    assert (use.made_by, use.rows, len(use.plans)) == ("lab", 3, 1)
    assert {each.phase: each.factor for each in use.factors}["prefill"] == factor
    assert before.sources.calibrated is None
    jsonschema.validate(json.loads(after.model_dump_json()), json_schema("answer"))


def test_a_calibration_is_taken_from_a_file_inline_and_over_http(
    request_body, saved, measured, tmp_path
):
    file = tmp_path / "calibration.json"
    result = runner.invoke(app, ["calibrate", str(saved), str(measured), "--output", str(file)])
    assert result.exit_code == 0
    inline = plan_request(request_body | {"calibration": json.loads(file.read_text())})
    by_path = plan_request(request_body | {"calibration": file.name}, folder=tmp_path)
    assert by_path.problem_hash == inline.problem_hash
    assert by_path.request_body == inline.request_body
    request = tmp_path / "request.json"
    request.write_text(json.dumps(request_body))
    option = runner.invoke(
        app, ["plan", str(request), "--calibration", str(file), "--format", "json"]
    )
    assert json.loads(option.stdout)["problem_hash"] == inline.problem_hash
    text = runner.invoke(app, ["plan", str(request), "--calibration", str(file)]).stdout
    assert "calibrated" in text
    assert "T4 w16a16 prefill ×1.3" in text
    caps = Caps(max_time_limit_s=60, max_problem_size=10**9)
    over_http = plan_work(request_body | {"calibration": json.loads(file.read_text())}, caps)
    assert json.loads(over_http.answer_or_raise())["problem_hash"] == inline.problem_hash


def test_a_calibrated_plan_is_calibrated_anew_not_twice(request_body, saved, measured, tmp_path):
    """Factors are of the tables: those that the plan was made with are left out."""
    first = calibration(saved, measured)
    answer = plan_request(request_body | {"calibration": first})
    again = tmp_path / "again.json"
    plan = json.loads(saved.read_text())["plan"]
    again.write_text(json.dumps(json.loads(answer.model_dump_json()) | {"plan": plan}))
    second = calibration(again, measured)
    assert [each["factor"] for each in second["factors"]] == pytest.approx(
        [each["factor"] for each in first["factors"]]
    )


def test_other_gpus_take_the_factor_of_the_engine(request_body, saved, measured):
    found = calibration(saved, measured)
    other = request_body | {"cluster": {"nodes": [{"name": "b", "gpus": [{"type": "L4"}]}]}}
    before = plan_request(other)
    prepared = prepare(parse_request(other | {"calibration": found}))
    judged = judge(prepared, before.plan, with_solve=False)
    factor = next(each["factor"] for each in found["engine_factors"] if each["phase"] == "prefill")
    assert judged.metrics.ttft_ms == pytest.approx(factor * before.metrics.ttft_ms)
    after = plan_request(other | {"calibration": found})
    assert not any(each.identified for each in after.sources.calibrated.factors)


def test_text_tells_factors_with_their_intervals(saved, measured):
    result = runner.invoke(app, ["calibrate", str(saved), str(measured), "--by", "lab"])
    assert result.exit_code == 0
    assert "vllm, calibrated by lab at 20" in result.stdout
    assert "1 plan, 3 loads, 6 values measured" in result.stdout
    assert "mean error of the predictions:" in result.stdout
    assert "measured" in result.stdout


# -- what is measured ---------------------------------------------------------------------------


def test_a_batch_gives_ttft_tpot_and_latency():
    """4 requests of 10 tokens at 20 tokens a second take 2 s."""
    row = {
        "batch_size": 4,
        "prompt_tokens": 100,
        "output_tokens": 10,
        "ttft_ms": 300.0,
        "tpot_ms": 20.0,
        "throughput_tokens_per_s": 20.0,
    }
    (found,) = measured_rows(row)
    assert found.values == pytest.approx({"ttft_s": 0.3, "tpot_s": 0.02, "latency_s": 2.0})


def test_a_stream_is_a_batch_of_those_at_once():
    """Requests take 0.5 + 99 x 0.05 = 5.45 s, 2 a second: 11 at once."""
    row = {
        "request_rate": 2.0,
        "prompt_tokens": 100,
        "output_tokens": 100,
        "ttft_ms": 500.0,
        "tpot_ms": 50.0,
    }
    (found,) = measured_rows([row])
    assert found.batch_size == 11
    assert found.values == pytest.approx({"latency_s": 5.45})


def test_results_of_vllm_are_read():
    """8 prompts of 512 tokens sent at once, answers of 128: a batch of 8."""
    (found,) = measured_rows(VLLM)
    assert (found.batch_size, found.prompt_tokens, found.output_tokens) == (8, 512, 128)
    assert found.values == pytest.approx({"ttft_s": 0.5, "tpot_s": 0.025, "latency_s": 4.0})


def test_results_of_vllm_with_a_limit_are_a_stream():
    """Requests take 0.5 + 127 x 0.025 = 3.675 s, 2 end each second: 7.35 at once, at most 4."""
    (found,) = measured_rows(VLLM | {"max_concurrency": 4})
    assert found.batch_size == 4
    assert found.values == pytest.approx({"latency_s": 3.675})
    (by_rate,) = measured_rows(VLLM | {"request_rate": 2.0})
    assert by_rate.batch_size == 7


def test_results_of_vllm_may_stand_one_a_line(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("\n".join(json.dumps(VLLM) for _ in range(3)))
    assert len(read_measured(path)) == 3


ROW = {"batch_size": 4, "prompt_tokens": 64, "output_tokens": 8, "ttft_ms": 10.0}


@pytest.mark.parametrize(
    ("row", "pointer", "text"),
    [
        (ROW | {"ttft_ms": -1.0}, "/ttft_ms", "ttft_ms"),
        (ROW | {"ttft_ms": "fast"}, "/ttft_ms", "ttft_ms"),
        (ROW | {"batch_size": 0}, "/batch_size", "batch_size"),
        (ROW | {"ttft": 3}, "/ttft", "ttft"),
        (ROW | {"request_rate": 1.0}, "", "exactly one"),
        ({**ROW, "batch_size": None}, "", "exactly one"),
        ({k: v for k, v in ROW.items() if k != "ttft_ms"}, "", "measure at least one"),
        ({k: v for k, v in ROW.items() if k != "prompt_tokens"}, "/prompt_tokens", "missing"),
        ({**ROW, "batch_size": None, "request_rate": 2.0}, "", "Little's law"),
        (3, "", "A measured load is an object"),
        (VLLM | {"completed": 7}, "/completed", "requests failed"),
        (VLLM | {"mean_tpot_ms": 0.0}, "/mean_tpot_ms", "over 0"),
        (VLLM | {"mean_ttft_ms": None}, "/mean_ttft_ms", "over 0"),
        (VLLM | {"max_concurrency": "all"}, "/max_concurrency", "at least 1"),
    ],
)
def test_bad_rows_are_named(row, pointer, text):
    with pytest.raises(InvalidRequestError) as caught:
        measured_rows([ROW, row])
    (problem,) = caught.value.problems
    assert problem.pointer == f"/1{pointer}"
    assert text in problem.detail


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("batch_size,speed\n1,2\n", "line 1: Unknown column 'speed'"),
        ("batch_size,batch_size\n1,2\n", "line 1: A column occurs twice"),
        ("batch_size,prompt_tokens,output_tokens,ttft_ms\n4,64,8,10\n4,64,8,slow\n", "line 3"),
        ("batch_size,prompt_tokens,output_tokens,ttft_ms\n4,64,8\n", "line 2: It has 3 cells"),
        ("batch_size,prompt_tokens,output_tokens,ttft_ms\n", "It has 0 rows"),
    ],
)
def test_bad_csv_is_named_by_its_line(tmp_path, content, text):
    path = tmp_path / "measured.csv"
    path.write_text(content)
    with pytest.raises(TableError, match=text):
        read_measured(path)


def test_empty_lists_are_refused():
    with pytest.raises(InputError, match="There are 0 measured loads"):
        measured_rows([])


# -- bad input ----------------------------------------------------------------------------------


def refused(*arguments):
    result = runner.invoke(app, ["calibrate", *map(str, arguments)])
    assert result.exit_code == 2
    return result.stderr


def test_plans_and_measurements_come_in_pairs(saved, measured):
    assert "3 files are given; name pairs" in refused(saved, measured, saved)


def test_missing_files_are_named(saved, measured, tmp_path):
    assert "There is no such file" in refused(saved, tmp_path / "none.csv")
    assert "There is no such file" in refused(tmp_path / "none.json", measured)


def test_an_answer_without_a_plan_is_named(saved, measured):
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"plan": None}))
    assert "There is no plan in it" in refused(saved, measured)


def test_a_plan_without_its_request_is_named(saved, measured):
    saved.write_text(json.dumps(json.loads(saved.read_text())["plan"]))
    assert "hetplan calibrate PLAN --request REQUEST" in refused(saved, measured)


def test_measurements_are_not_written_over(saved, measured):
    assert "choose another --output" in refused(saved, measured, "--output", measured)


def test_problems_by_coefficients_cannot_be_calibrated(two_layers, measured, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(plan_request(two_layers).model_dump_json())
    assert "by coefficients" in refused(path, measured)


@pytest.mark.parametrize(
    ("change", "pointer", "text"),
    [
        ({"engine": "llm-pq-2023"}, "/calibration", "of engine 'llm-pq-2023'"),
        ({"kind": "plan"}, "/calibration/kind", "calibration"),
        ({"factors": "none"}, "/calibration/factors", "factors"),
        ({"made_on": "Monday"}, "/calibration/made_on", "made_on"),
    ],
)
def test_bad_calibrations_are_named(request_body, saved, measured, change, pointer, text):
    body = request_body | {"calibration": calibration(saved, measured) | change}
    with pytest.raises(InvalidRequestError) as caught:
        prepare(parse_request(body))
    (problem,) = caught.value.problems
    assert problem.pointer == pointer
    assert text in problem.detail


def test_bad_factors_are_named(request_body, saved, measured):
    found = calibration(saved, measured)
    twice = found | {"factors": [*found["factors"], found["factors"][0]]}
    disordered = found | {"factors": [found["factors"][0] | {"low": 5.0}]}
    unknown = found | {"factors": [found["factors"][0] | {"gpu": "T5"}]}
    for wrong, place, text in (
        (twice, 2, "occurs twice"),
        (disordered, 0, "in order"),
        (unknown, 0, "Unknown GPU 'T5'"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            prepare(parse_request(request_body | {"calibration": wrong}))
        (problem,) = caught.value.problems
        assert problem.pointer == f"/calibration/factors/{place}"
        assert text in problem.detail


def test_a_file_of_a_calibration_must_be_one(request_body, tmp_path):
    (tmp_path / "other.json").write_text('{"kind": "calibration"}')
    for name, folder, text in (
        ("none.json", tmp_path, "There is no file"),
        ("other.json", tmp_path, "is not a calibration"),
        ("other.json", None, "only the command line reads"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            prepare(parse_request(request_body | {"calibration": name}), folder=folder)
        assert [problem.pointer for problem in caught.value.problems] == ["/calibration"]
        assert text in caught.value.problems[0].detail
