"""Every kind of bad request gets one clear error: exit code 2, or 422 with a pointer."""

import copy
import json
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from api.cli import app

Change = Callable[[dict[str, Any]], None]
HUGE = 10**30


def put(pointer: str, value: object) -> Change:
    """Replace (or add) a value."""
    *path, last = pointer.strip("/").split("/")

    def change(body: dict[str, Any]) -> None:
        place = reduce(lambda at, key: at[int(key) if isinstance(at, list) else key], path, body)
        place[int(last) if isinstance(place, list) else last] = value

    return change


def drop(pointer: str) -> Change:
    """Leave a field out."""
    *path, last = pointer.strip("/").split("/")

    def change(body: dict[str, Any]) -> None:
        place = reduce(lambda at, key: at[int(key) if isinstance(at, list) else key], path, body)
        del place[last]

    return change


def both(*changes: Change) -> Change:
    """Several changes."""

    def change(body: dict[str, Any]) -> None:
        for one in changes:
            one(body)

    return change


class Bad(NamedTuple):
    """What is done to a valid request, and which error must come of it."""

    name: str
    change: Change
    pointer: str
    text: str


def mixed(*lengths: dict[str, Any], **more: object) -> Change:
    """Requests of several lengths."""
    return put("/workload", {"batch_size": 2, "lengths": list(lengths), **more})


SHORT = {"prompt_tokens": 8, "output_tokens": 8}
NODE = "/cluster/nodes/0"
GPU = f"{NODE}/gpus/0"
ROW = {
    "gpu": "T4",
    "engine": "vllm",
    "model": "opt-1.3b",
    "layer_kind": "decoder",
    "kernel": "cublas",
    "weight_bits": 16,
    "act_bits": 16,
    "kv_bits": 16,
    "group_size": None,
    "tp": 1,
    "phase": "decode",
    "batch": 1,
    "tokens": 64,
    "latency_us": 100.0,
    "source": "test",
    "provenance": "measured",
}

BAD = [
    # names
    Bad("unknown model", put("/model", "gpt-9"), "/model", "Unknown model 'gpt-9'"),
    Bad("unknown GPU", put(f"{GPU}/type", "T5"), f"{GPU}/type", "Unknown GPU 'T5'. Known: T4"),
    Bad("GPU of no catalogue", put(f"{GPU}/type", "Radeon"), f"{GPU}/type", "kind: coefficients"),
    Bad("part of a link's name", put("/cluster/nic", "10G"), "/cluster/nic", "mean ethernet-10g?"),
    Bad(
        "figure for quality",
        put("/limits/quality", 0.01),
        "/limits/quality",
        "use perplexity_increase_percent or quality_loss_nats",
    ),
    Bad("unknown engine", put("/engine", "mlx"), "/engine", "Unknown engine 'mlx'"),
    Bad("unknown link", put(f"{NODE}/link", "usb"), f"{NODE}/link", "Unknown link 'usb'"),
    Bad("unknown network", put("/cluster/nic", "tin-cans"), "/cluster/nic", "Unknown link"),
    Bad("unknown format", put("/formats", ["w5a16"]), "/formats/0", "Unknown format 'w5a16'"),
    Bad("unknown goal", put("/objective", "joy"), "/objective", "must be one of 'latency'"),
    Bad(
        "unknown kernel",
        put("/engine/kernels", {"T4": {"w4a16": "warp9"}}),
        "/engine/kernels/T4/w4a16",
        "warp9",
    ),
    Bad(
        "unknown node of a link",
        put("/cluster/links/0/between", ["a", "z"]),
        "/cluster/links/0/between",
        "Unknown node 'z'. Known: a, b",
    ),
    Bad("empty name", put(f"{NODE}/name", ""), f"{NODE}/name", "must not be empty"),
    Bad("name with control characters", put(f"{NODE}/name", "a\u0007"), f"{NODE}/name", "must"),
    # wrong types
    Bad("text for a count", put(f"{GPU}/count", "4"), f"{GPU}/count", "must be a whole number"),
    Bad("truth for a count", put(f"{GPU}/count", True), f"{GPU}/count", "must be a whole number"),
    Bad("half a GPU", put(f"{GPU}/count", 1.5), f"{GPU}/count", "is 1.5; must be a whole number"),
    Bad("list for a model", put("/model", ["opt-1.3b"]), "/model", "must be text (or an object)"),
    Bad("null for a cluster", put("/cluster", None), "/cluster", "must be an object"),
    Bad("number for nodes", put("/cluster/nodes", 3), "/cluster/nodes", "is 3; must be a list"),
    Bad("text for GPUs", put(f"{NODE}/gpus", "T4"), f"{NODE}/gpus", "must be a list"),
    Bad(
        "text for tokens", put("/workload/prompt_tokens", "512"), "/workload/prompt_tokens", "'512'"
    ),
    # ranges
    Bad("negative count", put(f"{GPU}/count", -1), f"{GPU}/count", "is -1; must be 1 or more"),
    Bad("no GPUs of a type", put(f"{GPU}/count", 0), f"{GPU}/count", "is 0; must be 1 or more"),
    Bad("huge count", put(f"{GPU}/count", HUGE), f"{GPU}/count", "must be 1024 or less"),
    Bad("empty cluster", put("/cluster/nodes", []), "/cluster/nodes", "must have at least 1 entry"),
    Bad("node without GPUs", put(f"{NODE}/gpus", []), f"{NODE}/gpus", "must have at least 1 entry"),
    Bad("no batch", put("/workload/batch_size", 0), "/workload/batch_size", "must be 1 or more"),
    Bad("empty batches", put("/workload/batch_size", []), "/workload/batch_size", "at least 1"),
    Bad(
        "negative in a list of batches",
        put("/workload/batch_size", [4, -4]),
        "/workload/batch_size/1",
        "is -4; must be 1 or more",
    ),
    Bad("no output", put("/workload/output_tokens", 0), "/workload/output_tokens", "1 or more"),
    Bad("no requests", put("/workload/num_requests", 0), "/workload/num_requests", "1 or more"),
    # lengths
    Bad("no lengths", mixed(), "/workload/lengths", "must have at least 1 entry"),
    Bad("lengths of null", mixed(lengths=None), "/workload", "exactly one of lengths and"),
    Bad("text for lengths", mixed(lengths="many"), "/workload/lengths", "'many'; must be a list"),
    Bad("too many lengths", mixed(*[SHORT] * 10_001), "/workload/lengths", "at most 10000 entries"),
    Bad(
        "lengths beside tokens",
        mixed(SHORT, prompt_tokens=8, output_tokens=8),
        "/workload",
        "leave out prompt_tokens and output_tokens, or the lengths",
    ),
    Bad(
        "lengths beside a file of lengths",
        mixed(SHORT, lengths_file="trace.csv"),
        "/workload",
        "exactly one of lengths and lengths_file",
    ),
    Bad(
        "length without output",
        mixed(SHORT, {"prompt_tokens": 8}),
        "/workload/lengths/1/output_tokens",
        "output_tokens is missing; it is needed: Tokens of their answers",
    ),
    Bad(
        "length without prompt tokens",
        mixed({**SHORT, "prompt_tokens": 0}),
        "/workload/lengths/0/prompt_tokens",
        "is 0; must be 1 or more",
    ),
    Bad(
        "huge length",
        mixed({**SHORT, "output_tokens": HUGE}),
        "/workload/lengths/0/output_tokens",
        "must be 1e+07 or less",
    ),
    Bad(
        "weight of nothing",
        mixed({**SHORT, "weight": 0}),
        "/workload/lengths/0/weight",
        "is 0; must be 1e-09 or more",
    ),
    Bad(
        "negative weight",
        mixed({**SHORT, "weight": -1.5}),
        "/workload/lengths/0/weight",
        "is -1.5; must be 1e-09 or more",
    ),
    Bad(
        "text for a weight",
        mixed({**SHORT, "weight": "half"}),
        "/workload/lengths/0/weight",
        "'half'; must be a number",
    ),
    Bad(
        "unknown field of a length",
        mixed({**SHORT, "wieght": 1}),
        "/workload/lengths/0/wieght",
        "Did you mean 'weight'?",
    ),
    Bad(
        "lengths beyond learned positions",
        mixed(SHORT, {"prompt_tokens": 2000, "output_tokens": 200}),
        "/workload",
        "output of the longest request are 2200 tokens together, but opt-1.3b has 2048",
    ),
    Bad("negative price", put(f"{GPU}/price_usd_per_hour", -2), f"{GPU}/price_usd_per_hour", "-2"),
    Bad(
        "huge price", put(f"{NODE}/price_usd_per_hour", 1e300), f"{NODE}/price_usd_per_hour", "less"
    ),
    Bad("negative gap", put("/solver/gap", -0.1), "/solver/gap", "is -0.1; must be 0 or more"),
    Bad("gap of one", put("/solver/gap", 1), "/solver/gap", "is 1; must be less than 1"),
    Bad("no time", put("/solver/time_limit_s", 0), "/solver/time_limit_s", "must be more than 0"),
    Bad("huge seed", put("/solver/seed", HUGE), "/solver/seed", "must be less than"),
    Bad(
        "more than all memory", put("/engine/memory_fraction", 1.5), "/engine/memory_fraction", "1"
    ),
    Bad("three-bit cache", put("/engine/kv_cache_bits", 3), "/engine/kv_cache_bits", "8 or 16"),
    Bad(
        "tp of three",
        put("/cluster/tensor_parallel", [3]),
        "/cluster/tensor_parallel/0",
        "1, 2, 4 or 8",
    ),
    Bad(
        "dead link",
        put("/cluster/nic", {"gb_per_s": 0, "latency_us": 1}),
        "/cluster/nic/gb_per_s",
        "0",
    ),
    Bad(
        "link without latency",
        put("/cluster/nic", {"gb_per_s": 1}),
        "/cluster/nic/latency_us",
        "missing",
    ),
    Bad(
        "perplexity below one",
        put("/quality/perplexity_16", 0.5),
        "/quality/perplexity_16",
        "1 or more",
    ),
    Bad(
        "theta below zero",
        put("/objective/theta_s_per_nat", -1),
        "/objective/theta_s_per_nat",
        "-1",
    ),
    # missing and unknown fields
    Bad("no model", drop("/model"), "/model", "model is missing"),
    Bad("no workload", drop("/workload"), "/workload", "workload is missing"),
    Bad("no batch size", drop("/workload/batch_size"), "/workload/batch_size", "is missing"),
    Bad("no GPU type", drop(f"{GPU}/type"), f"{GPU}/type", "type is missing"),
    Bad("unknown field", put("/speed", 9), "/speed", "Unknown field 'speed'"),
    Bad("misspelt field", put(f"{GPU}/cout", 4), f"{GPU}/cout", "Did you mean 'count'?"),
    Bad("unknown limit", put("/limits/ttft_s", 1), "/limits/ttft_s", "Did you mean 'ttft_ms'?"),
    Bad("unknown kind", put("/kind", "riddle"), "/kind", "must be one of 'catalogue'"),
    # contradictions
    Bad(
        "two nodes of a name",
        both(put("/cluster/nodes/1/name", "a"), drop("/cluster/links")),
        "/cluster/nodes/1/name",
        "'a' is taken",
    ),
    Bad(
        "GPU type twice",
        put("/cluster/nodes/1/gpus/1/type", "P100-12G"),
        "/cluster/nodes/1/gpus",
        "2 times",
    ),
    Bad(
        "more used than there are",
        both(put(f"{GPU}/min_used", 9), drop("/limits/gpus")),
        GPU,
        "min_used of T4 is 9",
    ),
    Bad("max beyond count", put(f"{GPU}/max_used", 9), f"{GPU}/max_used", "lower it"),
    Bad(
        "forced GPU without a kernel",
        both(put("/formats", ["w8a8"]), put("/cluster/nodes/1/gpus/0/min_used", 1)),
        "/cluster/nodes/1",
        "must be used, but vllm has no kernel there",
    ),
    Bad(
        "forced beyond the limit",
        both(put(f"{GPU}/min_used", 2), put("/limits/gpus", 1)),
        "",
        "contradicts",
    ),
    Bad(
        "two quality limits",
        both(put("/limits/quality_loss_nats", 0.1), put("/limits/perplexity_increase_percent", 5)),
        "/limits",
        "contradict each other",
    ),
    Bad(
        "quality off and limited",
        both(put("/limits/quality_loss_nats", 0.1), put("/limits/quality", "none")),
        "/limits",
        "contradict each other",
    ),
    Bad(
        "stages crossed",
        both(put("/limits/stages", 2), put("/limits/min_stages", 3)),
        "/limits/min_stages",
        "min_stages 3 exceeds stages 2",
    ),
    Bad(
        "theta without use",
        put("/objective/theta_s_per_nat", 5),
        "/objective/theta_s_per_nat",
        "no effect",
    ),
    Bad(
        "theta left out",
        put("/objective", {"goal": "latency_and_quality"}),
        "/objective/theta_s_per_nat",
        "theta_s_per_nat is missing: goal latency_and_quality needs the seconds of latency",
    ),
    Bad(
        "theta left out of a name",
        put("/objective", "latency_and_quality"),
        "/objective",
        "write objective: {goal: latency_and_quality, theta_s_per_nat: 20}",
    ),
    Bad(
        "price unknown, cost asked",
        put("/objective", "cost"),
        "/cluster/nodes/1/gpus/0/price_usd_per_hour",
        "P100-12G",
    ),
    Bad(
        "price unknown, price limited",
        put("/limits/usd_per_hour", 5),
        "/cluster/nodes/1/gpus/0/price_usd_per_hour",
        "limits.usd_per_hour needs",
    ),
    Bad(
        "link of a node with itself",
        put("/cluster/links/0/between", ["a", "a"]),
        "/cluster/links/0/between",
        "two different",
    ),
    Bad(
        "link twice",
        put(
            "/cluster/links",
            [
                {"between": ["a", "b"], "link": "ethernet-1g"},
                {"between": ["b", "a"], "link": "ethernet-1g"},
            ],
        ),
        "/cluster/links/1/between",
        "have a link already",
    ),
    # formats and layers
    Bad(
        "bits without a kernel",
        put("/formats", ["llm-int8"]),
        "/formats/0",
        "no kernel for llm-int8",
    ),
    Bad("empty formats", put("/formats", []), "/formats", "at least 1 entry"),
    Bad(
        "format without a kernel there",
        put("/formats/per_gpu", {"T4": ["llm-int8"]}),
        "/formats/per_gpu/T4/0",
        "no kernel",
    ),
    Bad(
        "GPU not in the cluster",
        put("/formats/per_gpu", {"H200": ["w16a16"]}),
        "/formats/per_gpu/H200",
        "cluster",
    ),
    Bad(
        "layers that do not exist",
        put("/formats/per_layer", {"0-99": ["w16a16"]}),
        "/formats/per_layer/0-99",
        "0 to 23",
    ),
    Bad(
        "layers in no order",
        put("/formats/per_layer", {"9-3": ["w16a16"]}),
        "/formats/per_layer/9-3",
        "range",
    ),
    Bad(
        "layers in words",
        put("/formats/per_layer", {"all": ["w16a16"]}),
        "/formats/per_layer/all",
        'write "7" or "0-3"',
    ),
    Bad(
        "layers twice",
        put("/formats/per_layer", {"0-3": ["w16a16"], "3": ["w4a16"]}),
        "/formats/per_layer/3",
        "overlap",
    ),
    # own figures
    Bad(
        "losses too short",
        put("/quality/loss_nats", {"w16a16": [0.0], "w4a16": [0.0] * 24}),
        "/quality/loss_nats/w16a16",
        "24 layers",
    ),
    Bad(
        "losses of one format",
        put("/quality/loss_nats", {"w16a16": [0.0] * 24}),
        "/quality/loss_nats",
        "w4a16 are missing",
    ),
    Bad(
        "negative loss",
        put("/quality/loss_nats", {"w4a16": [-1.0]}),
        "/quality/loss_nats/w4a16/0",
        "is -1.0",
    ),
    Bad(
        "model of neither form",
        put("/model", {"name": "mine"}),
        "/model",
        "exactly one of config and config_file",
    ),
    Bad(
        "model with an empty config",
        put("/model", {"name": "mine", "config": {}}),
        "/model/config",
        "",
    ),
    Bad(
        "model with nonsense in its config",
        put("/model", {"name": "mine", "config": {"model_type": "llama", "hidden_size": "big"}}),
        "/model/config",
        "",
    ),
    # micro-batches and size
    Bad(
        "micro-batch beyond the batch",
        put("/workload/prefill_micro_batches", [64]),
        "/workload/prefill_micro_batches/0",
        "exceeds the largest batch, 4",
    ),
    Bad(
        "no micro-batch small enough",
        put("/workload/decode_micro_batches", [3]),
        "/workload/decode_micro_batches",
        "Batch 2 is smaller",
    ),
    Bad(
        "layers x devices too large",
        both(put(f"{GPU}/count", 1024), put("/workload/batch_size", 60000)),
        "",
        "The problem is too large: 24 layers x 1026 GPUs",
    ),
    # cost tables
    Bad(
        "row without a column",
        put("/cost_table", [{k: v for k, v in ROW.items() if k != "tp"}]),
        "/cost_table",
        "line 1: Missing column: tp",
    ),
    Bad(
        "row with text for a time",
        put("/cost_table", [ROW, {**ROW, "latency_us": "fast"}]),
        "/cost_table/1",
        "line 3: latency_us",
    ),
    Bad(
        "row with a negative time",
        put("/cost_table", [{**ROW, "latency_us": -1}]),
        "/cost_table/0",
        "line 2: latency_us is -1",
    ),
    Bad(
        "row of an unknown GPU",
        put("/cost_table", [{**ROW, "gpu": "T5"}]),
        "/cost_table/0",
        "line 2: gpu",
    ),
    Bad(
        "row of an unknown phase",
        put("/cost_table", [{**ROW, "phase": "coffee"}]),
        "/cost_table/0",
        "line 2: phase",
    ),
    Bad(
        "rows that disagree",
        put("/cost_table", [ROW, {**ROW, "latency_us": 7.0}]),
        "/cost_table/1",
        "line 3",
    ),
    Bad("row that is a list", put("/cost_table", [[1, 2]]), "/cost_table/0", "must be an object"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name.replace(" ", "-"))
def test_bad_request_gets_one_clear_error(bad, small_request, client, tmp_path):
    """The command line and HTTP name the same place and say the same thing."""
    body = copy.deepcopy(small_request)
    bad.change(body)
    response = client.post("/v1/plans", json=body)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    errors = response.json()["errors"]
    assert [error["pointer"] for error in errors] == [bad.pointer] or bad.pointer == "/model/config"
    assert bad.text in errors[0]["detail"]
    assert client.app.state.pool.seen <= 1

    path = tmp_path / "request.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith(f"Bad input in {path}: 1 error\n")
    assert errors[0]["detail"][:80] in result.stderr
    assert "Traceback" not in result.stderr
    assert "Value error" not in result.stderr


def test_several_errors_are_all_told(small_request, client):
    """Three mistakes in one request are three entries."""
    put(f"{GPU}/count", -1)(small_request)
    put("/workload/output_tokens", 0)(small_request)
    put("/extra", 1)(small_request)
    errors = client.post("/v1/plans", json=small_request).json()["errors"]
    assert {error["pointer"] for error in errors} == {
        f"{GPU}/count",
        "/workload/output_tokens",
        "/extra",
    }


def test_several_unknown_names_are_all_told(small_request, client):
    """Names are looked up all at once, too."""
    put("/model", "gpt-9")(small_request)
    put(f"{GPU}/type", "T5")(small_request)
    put("/cluster/nodes/1/link", "usb")(small_request)
    errors = client.post("/v1/plans", json=small_request).json()["errors"]
    assert [error["pointer"] for error in errors] == [
        "/model",
        f"{GPU}/type",
        "/cluster/nodes/1/link",
    ]


TEXTS = [
    ("broken YAML", "model: [opt-1.3b\ncluster: {", "line 2"),
    ("tab in YAML", "model: opt-1.3b\n\tcluster: x", "line 2"),
    ("key twice", "model: opt-1.3b\nmodel: opt-13b\n", "'model' occurs twice, again in line 2"),
    ("alias", "model: &m opt-1.3b\nengine: *m\n", "alias"),
    ("NaN", "solver: {gap: .nan}\n", "gap is .nan in line 1; must be a finite number"),
    ("infinity", "solver: {time_limit_s: .inf}\n", "time_limit_s is .inf"),
    ("tag", "model: !!python/object:os.system x\n", "plain value"),
    ("number too large", "solver: {gap: 1e999}\n", "gap is 1e999; must be a finite number"),
    ("nested too deeply", "a: " + "[" * 3000, "nested deeper than"),
    ("empty", "", "The request is empty"),
    ("comment alone", "# nothing\n", "The request is empty"),
    ("a word", "hello\n", "must be an object"),
    ("a list", "- 1\n", "must be an object"),
    ("broken JSON", '{"model": }', "The JSON cannot be read: line 1, column 11"),
    ("key twice in JSON", '{"model": 1, "model": 2}', "'model' occurs twice"),
    ("NaN in JSON", '{"solver": {"gap": NaN}}', "NaN is not a number of JSON"),
    ("JSON nested too deeply", "[" * 100_000, "nested deeper than"),
    ("JSON number too long", '{"seed": ' + "9" * 5000 + "}", "5000 digits"),
    ("JSON number too large", '{"gap": 1e999}', "must be a finite number"),
]


@pytest.mark.parametrize(
    ("name", "text", "words"), TEXTS, ids=[t[0].replace(" ", "-") for t in TEXTS]
)
def test_text_that_cannot_be_read_is_explained(name, text, words, tmp_path):
    """Syntax and what the reader refuses: one error, with its place."""
    path = tmp_path / "request.yaml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "text", ["{", "[1", '{"a": NaN}', '{"a": 1, "a": 2}', "nonsense", "", "[" * 100_000]
)
def test_http_body_that_cannot_be_read_is_422(text, client):
    """Over HTTP as well."""
    response = client.post("/v1/plans", content=text, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["errors"]


def test_yaml_errors_name_the_line(tmp_path):
    """A wrong value in a YAML file is told with its line."""
    path = tmp_path / "request.yaml"
    path.write_text(
        "model: opt-1.3b\ncluster:\n  nodes:\n    - name: a\n      gpus: [{type: T4, count: -2}]\n"
        "workload: {batch_size: 1, prompt_tokens: 1, output_tokens: 1}\n",
        encoding="utf-8",
    )
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert result.exit_code == 2
    assert "line 5 /cluster/nodes/0/gpus/0/count\n" in result.stderr
    assert "count is -2; must be 1 or more." in result.stderr


def test_row_of_a_table_file_is_named_by_file_and_line(small_request, tmp_path):
    """A malformed row: file, line, column."""
    header = ",".join(ROW)
    good = ",".join("" if value is None else str(value) for value in ROW.values())
    (tmp_path / "mine.csv").write_text(f"{header}\n{good}\n{good.replace('100.0', 'soon')}\n")
    small_request["tables"] = ["mine.csv"]
    path = tmp_path / "request.json"
    path.write_text(json.dumps(small_request))
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert result.exit_code == 2
    assert "mine.csv, line 3: latency_us is 'soon'" in result.stderr


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("tables", ["/etc/passwd"], "/tables/0"),
        ("model", {"name": "m", "config_file": "/etc/passwd"}, "/model/config_file"),
        ("workload", {"batch_size": 1, "lengths_file": "/etc/passwd"}, "/workload/lengths_file"),
    ],
)
def test_http_reads_no_files(field, value, pointer, small_request, client):
    """Paths are for the command line alone."""
    small_request[field] = value
    response = client.post("/v1/plans", json=small_request)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert "only the command line" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_missing_table_file_is_told(name, small_request, tmp_path):
    """The path is shown."""
    small_request["tables"] = [name]
    path = tmp_path / "request.json"
    path.write_text(json.dumps(small_request))
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert result.exit_code == 2
    assert "There is no file" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "nowhere.yaml"],
        ["plan", "x.yaml", "--gap", "wide"],
        ["plan", "x.yaml", "--format", "braille"],
        ["plan", "x.yaml", "--objective", "joy"],
        ["plan"],
        ["evaluate", "x.yaml"],
        ["dance"],
        ["examples", "nowhere"],
        ["schema", "nowhere"],
        ["plan", "."],
        ["serve", "--port", "99999"],
    ],
    ids=" ".join,
)
def test_bad_command_lines_exit_with_2(arguments):
    """Wrong options, files that are not there, commands that do not exist."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--gap", "-1", "must be 0 or more"),
        ("--time-limit", "0", "must be more than 0"),
        ("--seed", "-1", "0 or more"),
        ("--time-limit", "nan", "finite"),
    ],
)
def test_bad_option_values_are_told_like_fields(option, value, words, small_request, tmp_path):
    """Options override fields and are judged as these are."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps(small_request))
    result = CliRunner().invoke(app, ["plan", str(path), option, value])
    assert result.exit_code == 2
    assert words in result.stderr
