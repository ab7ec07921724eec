"""The command line: exit codes, output, progress, help."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api import service
from api.cli import app
from api.example_files import example_names, example_path, examples_folder
from api.progress import ProgressLine, run_until_interrupt
from profiles.errors import BackendError
from solver import Goal, Progress, SolveReport, Status, StopReason


@pytest.fixture
def run(tmp_path):
    """Runs a command; dictionaries among the arguments become files."""

    def go(*arguments, **options):
        words = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, dict):
                path = tmp_path / f"{number}.json"
                path.write_text(json.dumps(argument), encoding="utf-8")
                argument = str(path)
            words.append(argument)
        return CliRunner().invoke(app, words, **options)

    return go


def test_plan_prints_text_and_exits_with_0(run, two_layers):
    """Optimal: exit code 0."""
    result = run("plan", two_layers)
    assert result.exit_code == 0, result.stderr
    assert "Optimal plan" in result.stdout
    assert result.stderr == ""


def test_infeasible_exits_with_3(run, two_layers):
    """Infeasible is an answer, with its own code."""
    two_layers["devices"][0]["memory_gib"] = 0.1
    result = run("plan", two_layers, "--format", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["status"] == "infeasible"


def test_limit_without_a_plan_exits_with_4(run, two_layers, monkeypatch):
    """A search that found nothing and proved nothing."""
    nothing = SolveReport(
        status=Status.UNKNOWN,
        stop_reason=StopReason.TIME_LIMIT,
        objective=None,
        bound=None,
        gap=None,
        plan=None,
        evaluation=None,
        runtime_s=1.0,
        num_bounds=0,
        num_milps=0,
    )
    monkeypatch.setattr(service, "solve", lambda *_, **__: nothing)
    assert run("plan", two_layers).exit_code == 4


def test_failure_of_the_solver_is_not_bad_input(run, two_layers, monkeypatch):
    """Exit code 4 and a text of its own."""

    def fail(*_, **__):
        raise BackendError("HiGHS ended with 'Unknown'.")

    monkeypatch.setattr(service, "solve", fail)
    result = run("plan", two_layers)
    assert result.exit_code == 4
    assert result.stderr.startswith("The solver failed on ")
    assert "Bad input" not in result.stderr


def test_answer_or_folder_in_place_of_a_request_is_told(run, two_layers, tmp_path):
    """One error that says what it is."""
    answer = json.loads(run("plan", two_layers, "--format", "json").stdout)
    result = run("plan", answer)
    assert result.exit_code == 2
    assert "1 error\n  This is an answer, not a request" in result.stderr
    assert "This is a folder" in run("plan", str(tmp_path)).stderr


LIGHT = """
import sys
from typer.testing import CliRunner
from api.cli import app
result = CliRunner().invoke(app, sys.argv[1:])
heavy = {"pandas", "pyarrow", "highspy", "fastapi"} & sys.modules.keys()
sys.exit(f"{result.exit_code} {heavy}" if result.exit_code or heavy else 0)
"""


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["models"], ["gpus"], ["examples"]])
def test_quick_commands_import_nothing_heavy(command):
    """What needs no search answers at once."""
    folder = examples_folder().parent
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *command],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_plan_of_an_answer_is_evaluated(run, two_layers, tmp_path):
    """The whole answer, or its plan alone; with and without solving."""
    path = tmp_path / "answer.json"
    assert run("plan", two_layers, "--output", str(path)).exit_code == 0
    answer = json.loads(path.read_text())
    result = run("evaluate", two_layers, "--plan", str(path), "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["gap"] <= 1e-6
    alone = run("evaluate", two_layers, "--plan", answer["plan"], "--no-solve")
    assert alone.exit_code == 0
    assert "The plan is feasible" in alone.stdout
    two_layers["limits"] = {"ttft_ms": 5}
    assert run("evaluate", two_layers, "--plan", str(path), "--no-solve").exit_code == 3


@pytest.mark.parametrize(
    "plan",
    [{}, {"plan": None}, {"stages": []}, {"plan": {"batch_size": 1, "stages": "x"}}],
    ids=str,
)
def test_file_without_a_plan_is_refused(plan, run, two_layers):
    """One clear block, exit code 2."""
    result = run("evaluate", two_layers, "--plan", plan)
    assert result.exit_code == 2
    assert result.stderr.startswith("Bad input in ")


def test_plan_for_another_problem_is_refused(run, two_layers):
    """A micro-batch that the request does not have."""
    stage = {
        "node": "n",
        "gpu": "d",
        "first_layer": 0,
        "last_layer": 1,
        "formats": [{"first_layer": 0, "last_layer": 1, "format": "w16a16"}],
    }
    plan = {"batch_size": 7, "prefill_micro_batch": 1, "decode_micro_batch": 1, "stages": [stage]}
    result = run("evaluate", two_layers, "--plan", plan, "--no-solve")
    assert result.exit_code == 2
    assert "Batch 7" in result.stderr


@pytest.mark.parametrize("field", ["prefill_micro_batch", "decode_micro_batch"])
def test_micro_batch_that_is_no_candidate_is_told(field, run, client, two_layers):
    """Where it stands, which there are, and what to do; in a file and over HTTP."""
    answer = json.loads(run("plan", two_layers, "--format", "json").stdout)
    plan = {**answer["plan"], field: 3}
    text = (
        f"{field} is 3, which is not among the request's candidates for batch 1: 1; take one of "
        f"these, or list 3 in {field}es of the request."
    )
    result = run("evaluate", two_layers, "--plan", plan, "--no-solve")
    assert result.exit_code == 2
    assert f"  /plan/{field}\n    {text}\n" in result.stderr
    response = client.post("/v1/evaluations", json={"request": two_layers, "plan": plan})
    assert response.json()["errors"] == [{"pointer": f"/plan/{field}", "detail": text}]


@pytest.mark.parametrize(
    ("name", "options", "is_json"),
    [
        ("plan.json", [], True),
        ("plan.JSON", [], True),
        ("plan.txt", [], False),
        ("plan", [], False),
        ("plan.json", ["--format", "text"], False),
        ("plan.yaml", ["--format", "json"], True),
    ],
)
def test_the_form_of_a_file_follows_its_name(name, options, is_json, run, two_layers, tmp_path):
    """Unless --format says otherwise."""
    path = tmp_path / name
    assert run("plan", two_layers, "--output", str(path), *options).exit_code == 0
    text = path.read_text()
    assert text.startswith("{") is is_json
    assert ("Optimal plan" in text) is not is_json


@pytest.mark.parametrize("name", ["plan.yaml", "plan.yml"])
def test_answers_are_not_written_as_yaml(name, run, two_layers, tmp_path):
    """Exit code 2 before any search, and what to do."""
    path = tmp_path / name
    result = run("plan", two_layers, "--output", str(path))
    assert result.exit_code == 2
    assert "not as YAML" in result.stderr
    assert "--format" in result.stderr
    assert not path.exists()


@pytest.mark.parametrize("link", [None, Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize(
    "command", ["plan", "compare", "evaluate", "evaluate plan", "export-model"]
)
def test_inputs_are_not_written_over(command, link, run, two_layers, tmp_path):
    """By whatever name; exit code 2."""
    request, mine = tmp_path / "request.json", tmp_path / "mine.json"
    request.write_text(json.dumps(two_layers))
    mine.write_text(json.dumps({"stages": []}))
    before = {path: path.read_text() for path in (request, mine)}
    output = mine if command == "evaluate plan" else request
    if link is not None:
        (tmp_path / "other.json").unlink(missing_ok=True)
        link(tmp_path / "other.json", output)
        output = tmp_path / "other.json"
    plan = ["--plan", str(mine)] * command.startswith("evaluate")
    result = run(command.split()[0], str(request), *plan, "--output", str(output))
    assert result.exit_code == 2
    assert result.stderr == (
        f"--output is {output}, which is an input of this run; choose another --output.\n"
    )
    assert {path: path.read_text() for path in before} == before


def test_files_that_a_request_names_are_not_written_over(run, small_request, tmp_path):
    """A cost table of one's own."""
    table = tmp_path / "mine.csv"
    table.write_text("gpu\n")
    small_request["tables"] = ["mine.csv"]
    result = run("plan", small_request, "--output", str(tmp_path / "." / "mine.csv"))
    assert result.exit_code == 2
    assert "which is an input of this run" in result.stderr
    assert table.read_text() == "gpu\n"


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--gap", "5", "--gap is 5.0; must be less than 1."),
        ("--time-limit", "0", "--time-limit is 0.0; must be more than 0."),
        ("--objective", "latency_and_quality", "theta_s_per_nat is missing: goal"),
    ],
)
def test_wrong_options_are_not_blamed_on_the_file(option, value, text, run, two_layers):
    """They are named as they were given; what is wrong in the file is told besides."""
    result = run("plan", two_layers, option, value)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Bad input in the options: 1 error\n  {option}\n    {text}")
    assert ".json" not in result.stderr
    if option != "--objective":
        result = run("plan", {**two_layers, "speed": 9}, option, value)
        assert "Bad input in the options: 1 error" in result.stderr
        assert "0.json" not in result.stderr.split("Bad input in ")[1]
        assert "1.json: 1 error\n  /speed" in result.stderr


def test_options_override_the_request(run, two_layers):
    """What the answer echoes is what was in force."""
    result = run(
        "plan", two_layers, "--gap", "0.5", "--seed", "3", "--time-limit", "9",
        "--objective", "ttft", "--format", "json",
    )  # fmt: skip
    answer = json.loads(result.stdout)
    assert answer["goal"] == "ttft"
    assert (answer["solver"]["gap"], answer["solver"]["seed"]) == (0.5, 3)
    assert answer["solver"]["time_limit_s"] == 9


def test_standard_input_is_read(run, two_layers):
    """- stands for standard input."""
    assert run("plan", "-", input=json.dumps(two_layers)).exit_code == 0
    assert "standard input" in run("plan", "-", input="{").stderr


def test_output_that_cannot_be_written_is_told(run, two_layers):
    """The path is a folder that does not exist."""
    result = run("plan", two_layers, "--output", "/nowhere/at/all.json")
    assert result.exit_code == 2
    assert "/nowhere/at/all.json cannot be written" in result.stderr


@pytest.mark.parametrize("command", ["models", "gpus", "examples"])
def test_catalogues_are_listed(command, run):
    """As text and as JSON."""
    text = run(command)
    entries = json.loads(run(command, "--format", "json").stdout)
    assert text.exit_code == 0
    assert len(entries) > 10
    assert entries[0]["name"] in text.stdout


def test_examples_are_printed_as_they_are(run):
    """Ready to be written to a file."""
    name = example_names()[0]
    assert run("examples", name).stdout == example_path(name).read_text(encoding="utf-8")
    assert run("examples", example_path(name).name).exit_code == 0


def test_schemas_and_version_are_printed(run):
    """JSON Schema and one line."""
    assert json.loads(run("schema", "request").stdout)["$schema"]
    assert run("--version").stdout.startswith("hetplan ")


def commands():
    """Every command and its parameters."""
    group = typer.main.get_command(app)
    return [(name, command) for name, command in group.commands.items()]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_and_option_is_explained(name, command):
    """No command without a sentence, no option without help but --format's list."""
    assert command.help, name
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def progress(elapsed_s, incumbent=2.0, gap=0.5):
    """A state of a search."""
    return Progress(
        elapsed_s=elapsed_s,
        goal=Goal.LATENCY,
        incumbent=incumbent,
        bound=1.0,
        gap=gap,
        phase="search",
    )


def test_progress_is_silent_for_two_seconds_then_now_and_then():
    """On something that is no terminal: a line every ten seconds."""
    stream = io.StringIO()
    line = ProgressLine(stream)
    for elapsed_s in (0.5, 1.9, 2.1, 3.0, 11.0, 12.2):
        line(progress(elapsed_s))
    line.close()
    assert [text.split()[0] for text in stream.getvalue().splitlines()] == ["2", "12"]
    assert "best plan 2 s, bound 1 s, gap 50.00%" in stream.getvalue()
    nothing = replace(progress(3.0, incumbent=None, gap=None), bound=None)
    assert line.text(nothing).endswith("search: best plan none yet, bound none yet")


def test_progress_rewrites_one_line_on_a_terminal(monkeypatch):
    """And takes it away at the end."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    line = ProgressLine(stream)
    line(progress(2.5))
    line.close()
    assert stream.getvalue().endswith("\r\x1b[2K")
    assert "\n" not in stream.getvalue()


def test_failure_of_a_search_reaches_the_caller():
    """What the thread raises is raised."""

    def fail(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_until_interrupt(fail, lambda: None)


INTERRUPTED = """
import os, signal, threading, time
from api.progress import run_until_interrupt
def work(cancelled):
    while not cancelled():
        time.sleep(0.01)
    return "incumbent"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
print(run_until_interrupt(work, lambda: print("stopping")))
"""


def test_interrupt_ends_a_search_with_what_it_has():
    """Ctrl-C asks the search to stop, and its result is printed."""
    folder = examples_folder().parent
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, cwd=folder, check=True
    )
    assert done.stdout.split() == ["stopping", "incumbent"]
