"""Exports: what a plan becomes on vLLM, what is refused, and that the scripts are what they say."""

import json
import os
import random
import re
import subprocess

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from api.cli import app
from api.exports import launch
from api.json_schemas import json_schema
from api.work import Caps, export_work
from profiles.catalogue import read_text
from tests.api.mutations import mutated, values

CAPS = Caps(max_time_limit_s=60, max_problem_size=2_000_000)
MODELS = json.loads(read_text("models.json"))
MATRICES = ("self_attn.q_proj", "mlp.down_proj")


def exported(body):
    """The answer of the service's worker."""
    return json.loads(export_work(body, CAPS).answer_or_raise())


def refusals(body):
    """Pointer and text of everything that is wrong."""
    outcome = export_work(body, CAPS)
    assert outcome.failure is None
    return [(problem.pointer, problem.detail) for problem in outcome.problems]


def stage(node, gpu, first, last, formats, **more):
    """A stage as people write it."""
    place = {"node": node, "gpu": gpu, "first_layer": first, "last_layer": last}
    return {**place, "formats": formats, **more}


def body_of(model, nodes, stages, **request):
    """A request of four prompts, and a plan for it; nodes by name: GPUs by type."""
    cluster = {
        "nodes": [
            {"name": name, "gpus": [{"type": gpu, "count": n} for gpu, n in gpus.items()]}
            for name, gpus in nodes.items()
        ]
    }
    workload = {
        "batch_size": 4,
        "prompt_tokens": 100,
        "output_tokens": 28,
        "prefill_micro_batches": [2],
        "decode_micro_batches": [4],
    }
    limits = {"quality": "none"}
    whole = {"model": model, "cluster": cluster, "workload": workload, "limits": limits, **request}
    return {"request": whole, "plan": {"stages": stages}}


@pytest.fixture
def three_types():
    """Llama-3.1-8b: layers 0-5 at 4 bits on a T4, 6-15 at 8 on an A10, 16-31 at 16 on an A100."""
    return body_of(
        "llama-3.1-8b",
        {"box": {"A100": 1, "A10": 2, "T4": 1}},
        [
            stage("box", "T4", 0, 5, "w4a16"),
            stage("box", "A10", 6, 15, "w8a16"),
            stage("box", "A100", 16, 31, "w16a16"),
        ],
    )


@pytest.fixture
def two_nodes():
    """OPT-1.3b in 16 bits on two nodes of one T4 each."""
    return body_of(
        "opt-1.3b",
        {"a": {"T4": 1}, "b": {"T4": 1}},
        [stage("a", "T4", 0, 11, "w16a16"), stage("b", "T4", 12, 23, "w16a16")],
    )


# -- what a plan becomes --------------------------------------------------------------------------


def test_plan_becomes_options_of_vllm(three_types):
    """Sizes, lengths, data type of the oldest GPU, prompts of a micro-batch as token budget."""
    answer = exported(three_types)
    assert answer["settings"] == {
        "served-model-name": "llama-3.1-8b",
        "pipeline-parallel-size": 3,
        "tensor-parallel-size": 1,
        "dtype": "float16",
        "max-model-len": 128,
        "max-num-seqs": 4,
        "max-num-batched-tokens": 200,
        "gpu-memory-utilization": 0.92,
        "quantization": "compressed-tensors",
        "distributed-executor-backend": "mp",
    }
    (node,) = answer["nodes"]
    assert node["environment"]["VLLM_PP_LAYER_PARTITION"] == "6,10,16"
    (command,) = node["commands"]
    assert command[:3] == ["vllm", "serve", "$CHECKPOINT"]
    assert command[command.index("--dtype") + 1] == "float16"


def test_stage_order_is_device_order(three_types):
    """Listed as A100, A10, A10, T4, which are devices 0 to 3; the second A10 is asked for."""
    for given_stage, numbers in zip(three_types["plan"]["stages"], ([0], [1], [0]), strict=True):
        given_stage["gpu_numbers"] = numbers
    (node,) = exported(three_types)["nodes"]
    assert node["environment"]["CUDA_VISIBLE_DEVICES"] == "3,2,0"
    assert node["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert [(place["stage"], place["gpu"]) for place in node["gpus"]] == [
        (1, "T4"),
        (2, "A10"),
        (3, "A100-40G-SXM"),
    ]


def test_recipe_names_each_layer_once(three_types):
    """Layer 1 in 4 bits is not 10 to 15 in 8; 16-bit layers and router are ignored."""
    recipe = yaml.safe_load(exported(three_types)["files"]["recipe.yaml"])
    modifier = recipe["quant_stage"]["quant_modifiers"]["GPTQModifier"]
    groups = modifier["config_groups"]
    assert {name: group["weights"]["num_bits"] for name, group in groups.items()} == {
        "w4a16": 4,
        "w8a16": 8,
    }
    for layer in range(32):
        for matrix in MATRICES:
            name = f"model.layers.{layer}.{matrix}"
            found = [
                each
                for each, group in groups.items()
                if any(re.match(target.removeprefix("re:"), name) for target in group["targets"])
            ]
            assert found == ["w4a16"] * (layer < 6) + ["w8a16"] * (6 <= layer < 16)
            ignored = any(
                re.match(rule.removeprefix("re:"), name)
                for rule in modifier["ignore"]
                if rule.startswith("re:")
            )
            assert ignored == (layer >= 16)


def test_published_weights_need_no_recipe(two_nodes):
    """16 bits throughout: the repository itself, no --quantization."""
    answer = exported(two_nodes)
    assert answer["checkpoint"]["kind"] == "published"
    assert answer["checkpoint"]["folder"] == "facebook/opt-1.3b"
    assert "quantization" not in answer["settings"]
    assert [name for name in answer["files"] if not name.endswith(".sh")] == []


def test_one_gpu_has_no_pipeline():
    """No partition and no executor; bfloat16 stays possible."""
    body = body_of("opt-1.3b", {"a": {"A10": 1}}, [stage("a", "A10", 0, 23, "w4a16")])
    answer = exported(body)
    assert list(answer["files"]) == ["launch.sh", "recipe.yaml"]
    assert "VLLM_PP_LAYER_PARTITION" not in answer["nodes"][0]["environment"]
    assert "distributed-executor-backend" not in answer["settings"]
    assert answer["settings"]["dtype"] == "auto"
    assert "- Linear" in answer["files"]["recipe.yaml"]


def test_equal_nodes_start_by_rank(two_nodes):
    """One script a node; the second has no front end and knows the first's address."""
    answer = exported(two_nodes)
    (first,), (second,) = (node["commands"] for node in answer["nodes"])
    assert first[-6:] == ["--nnodes", "2", "--node-rank", "0", "--master-addr", "$HEAD_ADDRESS"]
    assert second[-1] == "--headless"
    assert second[second.index("--node-rank") + 1] == "1"


def test_unequal_nodes_start_by_ray():
    """Two GPUs, then one: the head starts Ray and serves, the other joins."""
    body = body_of(
        "opt-1.3b",
        {"a": {"T4": 2}, "b": {"T4": 1}},
        [
            stage("a", "T4", 0, 7, "w16a16"),
            stage("a", "T4", 8, 15, "w16a16"),
            stage("b", "T4", 16, 23, "w16a16"),
        ],
    )
    answer = exported(body)
    head, other = (node["commands"] for node in answer["nodes"])
    assert head[0][:3] == ["ray", "start", "--head"]
    assert head[1][:2] == ["vllm", "serve"]
    assert other == [["ray", "start", "--block", "--address", "$HEAD_ADDRESS:6379"]]


def test_smallest_stage_sets_the_kv_cache(three_types):
    """The A10: ten layers at 8 bits, and what is left for keys and values of 128 tokens."""
    found = exported(three_types)["kv_cache"]
    assert found["needed_requests"] == 4
    per_token = 2 * 8 * 128 * 2
    assert found["stage"] == 2
    # It has 0.92 x 22.06 - 1 GiB; a layer has 218 million parameters at 8.1875 bits.
    weights = 10 * 218_103_808 * 8.1875 / 8
    room = (0.92 * 22.06 - 1) * 1024**3 - weights
    assert found["fits_requests"] == pytest.approx(room / (10 * per_token * 128), rel=0.01)


def test_tensor_parallel_gpus_stay_together():
    """Two stages of two GPUs: stage by stage, as vLLM numbers its workers."""
    body = body_of(
        "opt-1.3b",
        {"a": {"T4": 4}},
        [
            stage("a", "T4", 0, 11, "w8a8", tensor_parallel=2),
            stage("a", "T4", 12, 23, "w8a8", tensor_parallel=2),
        ],
    )
    answer = exported(body)
    assert answer["settings"]["tensor-parallel-size"] == 2
    assert answer["nodes"][0]["environment"]["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert any("SmoothQuant" in warning for warning in answer["warnings"])


def test_three_bits_and_8_bit_activations_share_a_checkpoint():
    """Both are compressed-tensors; that the plan counts with a kernel vLLM dropped is told."""
    body = body_of(
        "opt-1.3b",
        {"a": {"A10": 2}},
        [stage("a", "A10", 0, 11, "w3a16"), stage("a", "A10", 12, 23, "w8a8")],
        formats=["w3a16", "w8a8"],
    )
    answer = exported(body)
    assert answer["settings"]["quantization"] == "compressed-tensors"
    recipe = yaml.safe_load(answer["files"]["recipe.yaml"])
    groups = recipe["quant_stage"]["quant_modifiers"]["GPTQModifier"]["config_groups"]
    assert groups["w3a16"]["weights"]["group_size"] == 128
    assert groups["w8a8"]["weights"]["strategy"] == "channel"
    assert groups["w8a8"]["input_activations"]["dynamic"] is True
    assert any("A10 w3a16: the plan counts with gptq_gemm" in text for text in answer["warnings"])


# -- refusals -------------------------------------------------------------------------------------


def test_gpus_that_vllm_left_behind_are_refused():
    """V100 is sm70, T4 is sm75."""
    body = body_of(
        "opt-1.3b",
        {"a": {"V100": 1, "T4": 1}},
        [stage("a", "V100", 0, 11, "w16a16"), stage("a", "T4", 12, 23, "w16a16")],
    )
    ((pointer, text),) = refusals(body)
    assert pointer == "/plan/stages/0/gpu"
    assert text == "vLLM runs on sm75 and newer, V100-32G is sm70; plan again without it."


def test_different_tensor_parallel_sizes_are_refused():
    """vLLM has one size for all stages."""
    body = body_of(
        "opt-1.3b",
        {"a": {"T4": 3}},
        [
            stage("a", "T4", 0, 11, "w16a16"),
            stage("a", "T4", 12, 23, "w16a16", tensor_parallel=2),
        ],
    )
    ((pointer, text),) = refusals(body)
    assert pointer == "/plan/stages/1/tensor_parallel"
    assert "has tensor_parallel 2 and stage 1 has 1" in text
    assert "`cluster.tensor_parallel: [1]`" in text


def test_pipeline_that_returns_to_a_node_is_refused():
    """A, B, A: vLLM numbers the GPUs of a node in a row."""
    body = body_of(
        "opt-1.3b",
        {"a": {"T4": 2}, "b": {"T4": 1}},
        [
            stage("a", "T4", 0, 7, "w16a16"),
            stage("b", "T4", 8, 15, "w16a16"),
            stage("a", "T4", 16, 23, "w16a16"),
        ],
    )
    ((pointer, text),) = refusals(body)
    assert pointer == "/plan/stages/2"
    assert text.startswith("Stage 3 is on node 'a' again")


def test_orders_that_ray_changes_are_refused():
    """It orders the nodes after the first, and the devices of a node."""
    body = body_of(
        "opt-1.3b",
        {"a": {"T4": 1}, "b": {"A10": 1, "T4": 1}, "c": {"T4": 1}},
        [
            stage("a", "T4", 0, 5, "w16a16"),
            stage("b", "T4", 6, 11, "w16a16"),
            stage("b", "A10", 12, 17, "w16a16"),
            stage("c", "T4", 18, 23, "w16a16"),
        ],
    )
    (nodes, devices) = refusals(body)
    assert nodes[0] == "/plan/stages/1"
    assert "different numbers of GPUs in the plan ('a' 1, 'b' 2, 'c' 1)" in nodes[1]
    assert devices[0] == "/plan/stages/1"
    assert "takes GPUs 1, 0 in this order" in devices[1]


def test_float16_is_refused_where_the_model_is_unstable_in_it():
    """Gemma 3 needs bfloat16, which a T4 lacks."""
    body = body_of(
        "gemma-3-27b",
        {"a": {"T4": 1, "A100-80G": 1}},
        [stage("a", "T4", 0, 5, "w4a16"), stage("a", "A100-80G", 6, 61, "w4a16")],
    )
    ((pointer, text),) = refusals(body)
    assert pointer == "/plan/stages"
    assert "gemma3_text in float16 (unstable), and T4 has no bfloat16" in text


def test_8_bit_kv_cache_needs_newer_gpus():
    """fp8: refused on a T4, an option on an A10."""
    engine = {"name": "vllm", "kv_cache_bits": 8}
    old = body_of("opt-1.3b", {"a": {"T4": 1}}, [stage("a", "T4", 0, 23, "w4a16")], engine=engine)
    ((pointer, text),) = refusals(old)
    assert pointer == "/request/engine/kv_cache_bits"
    assert "not on T4" in text
    new = body_of("opt-1.3b", {"a": {"A10": 1}}, [stage("a", "A10", 0, 23, "w4a16")], engine=engine)
    assert exported(new)["settings"]["kv-cache-dtype"] == "fp8"


def test_formats_without_a_kernel_are_refused():
    """LLM.int8() of 2023 is none of vLLM's that hetplan knows."""
    body = body_of(
        "opt-1.3b",
        {"a": {"T4": 1}},
        [stage("a", "T4", 0, 23, "llm-int8")],
        engine="llm-pq-2023",
    )
    found = refusals(body)
    assert found[0][0] == "/plan/stages/0/formats"
    assert found[0][1].startswith("vLLM has no kernel for llm-int8 on T4 (sm75)")


def test_plans_of_another_engine_are_warned_of():
    """The weights are the same, the times are not."""
    body = body_of(
        "opt-1.3b", {"a": {"T4": 1}}, [stage("a", "T4", 0, 23, "w4a16")], engine="llm-pq-2023"
    )
    assert any("kernels of llm-pq-2023" in warning for warning in exported(body)["warnings"])


def test_plans_without_enough_memory_are_refused():
    """OPT-13b in 16 bits takes 24 GiB, a T4 has 14.6."""
    body = body_of("opt-13b", {"a": {"T4": 1}}, [stage("a", "T4", 0, 39, "w16a16")])
    ((pointer, text),) = refusals(body)
    assert pointer == "/plan/stages"
    assert "would not start" in text


def test_other_limits_are_warned_of(two_nodes):
    """A plan that is too slow starts all the same."""
    two_nodes["request"]["limits"]["ttft_ms"] = 0.001
    assert exported(two_nodes)["warnings"][0].startswith("TTFT is")


def test_coefficients_are_refused(two_layers):
    """They name no model."""
    plan = {"stages": [stage("n", "d", 0, 1, "w16a16")]}
    ((pointer, text),) = refusals({"request": two_layers, "plan": plan})
    assert pointer == "/request"
    assert "coefficients alone" in text


def test_micro_batches_of_decode_are_warned_of(two_nodes):
    """vLLM cannot be asked for decode in twos."""
    two_nodes["request"]["workload"]["decode_micro_batches"] = [2]
    told = " ".join(exported(two_nodes)["warnings"])
    assert "decode in 2s cannot be asked for" in told


def test_more_tokens_than_positions_are_refused():
    """Llama-2 has 4,096."""
    body = body_of("llama-2-7b", {"a": {"A10": 1}}, [stage("a", "A10", 0, 31, "w4a16")])
    body["request"]["workload"]["output_tokens"] = 3996
    assert exported(body)["settings"]["max-model-len"] == 4096
    body["request"]["workload"]["output_tokens"] = 3997
    ((pointer, text),) = refusals(body)
    assert pointer == "/request/workload"
    assert "4097 tokens together, llama-2-7b has 4096 positions" in text


def test_scaled_positions_are_launched():
    """Twice as many by the rope_scaling of the model's own config.json."""
    body = body_of("llama-2-7b", {"a": {"A10": 1}}, [stage("a", "A10", 0, 31, "w4a16")])
    (entry,) = (each for each in MODELS if each["name"] == "llama-2-7b")
    config = entry["config"] | {"rope_scaling": {"type": "linear", "factor": 2.0}}
    body["request"]["model"] = {"name": "long", "config": config}
    body["request"]["workload"]["output_tokens"] = 4900
    assert exported(body)["settings"]["max-model-len"] == 5000


# -- scripts --------------------------------------------------------------------------------------


def run_script(text, folder, **environment):
    """What a script starts: its words, by programs that print them; also checks `bash -n`."""
    path = folder / "script.sh"
    path.write_text(text, encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(path)], check=True).returncode == 0
    for name in ("vllm", "ray"):
        program = folder / name
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@" "$CUDA_VISIBLE_DEVICES"\n')
        program.chmod(0o755)
    told = subprocess.run(
        ["bash", str(path), "--more"],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    return told.stdout.splitlines(), told.stderr


@pytest.mark.parametrize("word", ["it's $(touch me)", 'a `b` "c" }', "π; rm -rf", "--a b", ""])
def test_any_word_reaches_the_command_whole(word, tmp_path):
    """Quotes, substitutions, spaces, nothing at all."""
    out, _ = run_script(f"exec vllm {launch._quoted(word)}\n", tmp_path)
    assert out[1] == word


def test_odd_names_reach_the_command_whole(two_nodes, tmp_path):
    """Whatever a request lets a model or a node be called."""
    (entry,) = (each for each in MODELS if each["name"] == "opt-1.3b")
    two_nodes["request"]["model"] = {"name": "my (own) model", "config": entry["config"]}
    two_nodes["request"]["cluster"]["nodes"][0]["name"] = "π (box)"
    two_nodes["plan"]["stages"][0]["node"] = "π (box)"
    script = exported(two_nodes)["files"]["launch-1.sh"]
    out, error = run_script(script, tmp_path, HEAD_ADDRESS="h", CHECKPOINT="/my own/weights")
    assert error == ""
    assert out[2:5] == ["/my own/weights", "--served-model-name", "my (own) model"]
    no_weights = run_script(script, tmp_path, HEAD_ADDRESS="h")[1]
    assert "set it to the folder or repository of my (own) model" in no_weights
    no_head = run_script(script, tmp_path, CHECKPOINT="/w")[1]
    assert "set it to the address of node π (box)" in no_head


def test_every_script_runs_its_commands(two_nodes, three_types, tmp_path):
    """Words as in the answer, variables filled in, further words at the end."""
    for body in (two_nodes, three_types):
        answer = exported(body)
        scripts = [text for name, text in answer["files"].items() if name.endswith(".sh")]
        for node, text in zip(answer["nodes"], scripts, strict=True):
            out, error = run_script(text, tmp_path, HEAD_ADDRESS="10.0.0.1")
            assert error == ""
            (command,) = node["commands"]
            values = {"$CHECKPOINT": answer["checkpoint"]["folder"], "$HEAD_ADDRESS": "10.0.0.1"}
            expected = [values.get(word, word) for word in command[1:]]
            assert out[1:] == [*expected, "--more", node["environment"]["CUDA_VISIBLE_DEVICES"]]


def test_checkpoint_and_address_are_asked_for(two_nodes, tmp_path):
    """Another checkpoint by a variable; without the head's address nothing starts."""
    text = exported(two_nodes)["files"]["launch-1.sh"]
    out, error = run_script(text, tmp_path)
    assert out == []
    assert "set it to the address of node a" in error
    out, _ = run_script(text, tmp_path, HEAD_ADDRESS="h", CHECKPOINT="/my models/opt")
    assert out[2] == "/my models/opt"


# -- command line and HTTP ------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Runs `hetplan export` with a body's plan and request as files."""

    def go(body, *options):
        for name in ("plan", "request"):
            (tmp_path / f"{name}.json").write_text(json.dumps(body[name]), encoding="utf-8")
        plan, request = str(tmp_path / "plan.json"), str(tmp_path / "request.json")
        return CliRunner().invoke(app, ["export", plan, "--request", request, *options])

    return go


def test_export_writes_a_folder(run, three_types, tmp_path):
    """Scripts to be run, and the recipe; the text says where."""
    folder = tmp_path / "new" / "vllm"
    result = run(three_types, "--engine", "vllm", "--output", str(folder))
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["launch.sh", "recipe.yaml"]
    assert os.access(folder / "launch.sh", os.X_OK)
    assert " ".join(result.stdout.split()).endswith("launch.sh, recipe.yaml")
    assert "vllm serve" not in result.stdout


def test_scripts_of_another_export_are_not_mixed_in(run, three_types, two_nodes, tmp_path):
    """One node's script beside those of two would start the wrong plan."""
    folder = str(tmp_path / "vllm")
    assert run(two_nodes, "--output", folder).exit_code == 0
    assert run(two_nodes, "--output", folder).exit_code == 0
    result = run(three_types, "--output", folder)
    assert result.exit_code == 2
    assert "of which launch-0.sh, launch-1.sh would stay" in result.stderr
    assert sorted(path.name for path in (tmp_path / "vllm").iterdir()) == [
        "launch-0.sh",
        "launch-1.sh",
    ]


def test_export_prints_its_files(run, three_types):
    """Whole, not wrapped; as JSON too."""
    result = run(three_types)
    assert 'exec vllm serve "$CHECKPOINT"' in result.stdout
    assert all(text in result.stdout for text in exported(three_types)["files"].values())
    assert json.loads(run(three_types, "--format", "json").stdout)["kind"] == "export"


def test_answer_of_plan_is_exported_as_it_is(tmp_path, small_request):
    """It carries its request."""
    small_request["cluster"]["tensor_parallel"] = [1]
    small_request["limits"] = {"gpus": 1}
    (tmp_path / "request.json").write_text(json.dumps(small_request))
    plan = str(tmp_path / "plan.json")
    runner = CliRunner()
    assert runner.invoke(app, ["plan", str(tmp_path / "request.json"), "--output", plan])
    result = runner.invoke(app, ["export", plan])
    assert result.exit_code == 0, result.stderr
    assert "launch.sh" in result.stdout


def test_refusals_exit_with_2(run, two_nodes, tmp_path):
    """With every reason; so do folders that cannot be written and plans without a request."""
    two_nodes["plan"]["stages"][1]["formats"] = "w3a16"
    result = run(two_nodes, "--output", "/proc/nowhere")
    assert result.exit_code == 2
    assert "/proc/nowhere cannot be written" in result.stderr
    plan = str(tmp_path / "plan.json")
    result = CliRunner().invoke(app, ["export", plan])
    assert result.exit_code == 2
    assert "hetplan export PLAN --request REQUEST" in result.stderr


def test_export_is_answered_over_http(client, three_types):
    """The same answer, and 422 with pointers."""
    response = client.post("/v1/exports", json=three_types)
    assert response.status_code == 200
    jsonschema.validate(response.json(), json_schema("export-answer"))
    assert response.json() == exported(three_types)
    response = client.post("/v1/exports", json={**three_types, "engine": "none"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/engine"


def test_mutated_plan_files_are_told(tmp_path, three_types):
    """A file cut off or mixed up anywhere: exit code 0 or 2 with words, never a failure."""
    plan = tmp_path / "plan.json"
    text = json.dumps({"request_body": three_types["request"], "plan": three_types["plan"]})
    rng = random.Random(0)
    for _ in range(60):
        at, length = rng.randrange(len(text)), rng.randrange(12)
        plan.write_text(text[:at] + rng.choice(["", "null", '"', "0", "]"]) + text[at + length :])
        result = CliRunner().invoke(app, ["export", str(plan)])
        assert result.exit_code in (0, 2)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert result.exit_code == 0 or result.stderr.startswith("Bad input in")


# -- any input ------------------------------------------------------------------------------------


VALUES = values(["T4", "w4a16", "w3a16", "w8a8", "box", "A10"])


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_mutated_export_never_fails_inside(data, three_types):
    """Up to three values replaced or left out: an answer, or errors in words."""
    body = mutated({**three_types, "engine": "vllm"}, data, VALUES)
    outcome = export_work(body, CAPS)
    assert outcome.failure is None
    assert bool(outcome.answer) is not bool(outcome.problems)
    assert all(problem.detail for problem in outcome.problems)
