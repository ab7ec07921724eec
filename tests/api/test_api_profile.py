"""`hetplan profile`: a small layer is measured on the CPU, and its table plans."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from api.cli import app

pytest.importorskip("torch", reason="PyTorch is missing: pip install 'hetplan[torch]'")

CONFIG = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
RANGES = ["--batch", "1-4", "--prompt", "8-32", "--context", "8-64"]
QUICK = ["--device", "cpu", "--visits", "3", "--tolerance", "30", *RANGES]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def arguments(config, output, *more):
    return ["profile", "layers", str(config), "--name", "tiny", "--output", str(output), *more]


def run(*parts):
    return CliRunner().invoke(app, [str(part) for part in parts])


def journal_of(output):
    return output.with_suffix(".journal.jsonl")


def test_a_layer_is_measured_and_its_table_plans(config, tmp_path):
    """Every time of the plan is measured or interpolated: nothing is asked of a model."""
    table = tmp_path / "cpu.csv"
    found = run(*arguments(config, table, *QUICK, "--kernels", "bf16,int-mm"))
    assert found.exit_code == 0, found.output
    assert "own_gpus:" in found.output
    rows = pd.read_csv(table)
    assert set(rows["kernel"]) == {"bf16", "int-mm"}
    assert set(rows["layer_kind"]) == {"decoder", "embedding", "lm_head"}
    assert set(rows["provenance"]) == {"measured"}
    assert rows["source"].str.contains("PyTorch").all()

    request = yaml.safe_load(found.output.split("In a request:")[1])
    request |= {
        "model": {"name": "tiny", "config_file": "config.json"},
        "formats": ["w16a16", "w8a8"],
        "workload": {"batch_size": 4, "prompt_tokens": 20, "output_tokens": 16},
        "limits": {"quality": "none"},
    }
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
    planned = run("plan", tmp_path / "request.yaml", "--format", "json")
    assert planned.exit_code == 0, planned.output
    answer = json.loads(planned.stdout)
    assert answer["sources"]["times_by_source"]["analytic"] == 0
    assert answer["stages"][0]["gpu"] == "CPU"


def test_killed_in_the_middle_it_goes_on(config, tmp_path):
    """SIGKILL after some visits: the next run keeps them, measures the rest, and is done."""
    table = tmp_path / "cpu.csv"
    options = arguments(config, table, *QUICK, "--kernels", "bf16")
    code = "import sys; from api.cli import main; sys.argv[0] = 'hetplan'; main()"
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, *options], cwd=root)
    until = monotonic() + 120
    while len(_lines(table)) < 12 and process.poll() is None and monotonic() < until:
        sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    kept = _lines(table)[:-1]  # the last one may have been cut off
    assert len(kept) >= 11
    assert not table.exists()

    found = run(*options)
    assert found.exit_code == 0, found.output
    lines = _lines(table)
    assert lines[: len(kept)] == kept
    assert len(lines) > len(kept)
    assert table.exists()
    assert run(*options).exit_code == 0
    assert _lines(table) == lines  # nothing left to do


def _lines(table):
    path = journal_of(table)
    return path.read_text().splitlines() if path.is_file() else []


def test_out_of_time_it_says_how_to_go_on(config, tmp_path):
    table = tmp_path / "cpu.csv"
    found = run(*arguments(config, table, *QUICK, "--kernels", "bf16", "--time-limit", "0"))
    assert found.exit_code == 4
    assert "Nothing is measured yet" in found.output
    assert not table.exists()


def test_a_bad_line_of_the_journal_is_named(config, tmp_path):
    table = tmp_path / "cpu.csv"
    options = arguments(config, table, *QUICK, "--kernels", "bf16", "--time-limit", "0")
    run(*options)
    with journal_of(table).open("a") as file:
        file.write('{"kind": "visit", "subject": 3}\n')
    found = run(*options)
    assert found.exit_code == 2
    assert "cpu.journal.jsonl, line 2: it is not a line of a journal" in found.output


def test_another_model_does_not_go_into_the_same_table(config, tmp_path):
    table = tmp_path / "cpu.csv"
    options = [*QUICK, "--kernels", "bf16", "--time-limit", "0"]
    run(*arguments(config, table, *options))
    found = run("profile", "layers", "opt-1.3b", "--output", table, *options)
    assert found.exit_code == 2
    assert "was begun with layers" in found.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--batch", "four"], "--batch is 'four'; give a whole number or a range such as 1-32"),
        (["--batch", "8-2"], "batch is 8-2; give a range"),
        (["--tp", "3"], "--tp is '3'; give some of 1, 2, 4, 8"),
        (["--kernels", "warp"], "--kernels names 'warp'; there are bf16, fp16"),
        (["--kernels", "bnb-nf4"], "does not run here: not made for a CPU"),
        (["--engine", "vllm"], "No kernel runs here (cublas: not made for a CPU"),
        (["--device", "cuda:99"], "--device is 'cuda:99', but PyTorch"),
        (["--gpu", "A10"], "--gpu is 'A10', which is A10 of the catalogue"),
    ],
)
def test_a_bad_option_is_named(config, tmp_path, more, words):
    found = run(*arguments(config, tmp_path / "t.csv", *QUICK, *more))
    assert found.exit_code == 2
    assert words in " ".join(found.output.split())


def test_a_config_without_a_name_is_refused(config, tmp_path):
    found = run("profile", "layers", config, "--output", tmp_path / "t.csv")
    assert found.exit_code == 2
    assert "add --name" in found.output


def test_kernels_are_listed_with_the_reason_why_others_do_not_run():
    found = run("profile", "kernels", "--device", "cpu")
    assert found.exit_code == 0
    lines = {line.split()[1]: line for line in found.output.splitlines() if "torch " in line}
    assert lines["int4pack"].endswith("yes")
    assert lines["bnb-nf4"].endswith("no: not made for a CPU")


def test_without_pytorch_the_extra_is_named(config, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("cost_model.profiler.torch_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = run(*arguments(config, tmp_path / "t.csv", *QUICK))
    assert found.exit_code == 2
    assert "pip install 'hetplan[torch]'" in found.output
