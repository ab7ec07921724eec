"""Checkpoints: tensors where they lie, and which matrix of which layer each one is."""

import json

import numpy as np
import pytest

from cost_model.weight_errors import matrix_rows
from profiles.checkpoint import read_checkpoint
from profiles.errors import InputError
from profiles.matrix_names import matrix_name
from profiles.safetensors_file import read_rows, read_safetensors
from tests.checkpoints import llama_config, llama_tensors, write_checkpoint, write_safetensors


@pytest.mark.parametrize(("dtype", "digits"), [("F32", 2**-24), ("F16", 2**-11), ("BF16", 2**-7)])
def test_rows_are_read_in_every_type(tmp_path, dtype, digits):
    """A bfloat16 keeps 8 bits of a number, a half 11, a float 24."""
    values = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    write_safetensors(tmp_path / "a.safetensors", {"first": np.ones(3), "t": values}, dtype)
    tensor = read_safetensors(tmp_path / "a.safetensors").tensors["t"]
    np.testing.assert_allclose(read_rows(tensor, [1, 4]), values[[1, 4]], rtol=digits)
    assert read_rows(tensor).shape == (6, 5)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"t": np.array([[1.0, np.inf]])})
    tensor = read_safetensors(tmp_path / "a.safetensors").tensors["t"]
    with pytest.raises(InputError, match=r"t in a.safetensors holds numbers that are not finite"):
        read_rows(tensor)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"abc", "shorter than 8 bytes"),
        (b"\xff" * 16, "its header would have"),
        (b"\x09" + b"\0" * 7 + b"{}", "ends within its header"),
        (b"\x02" + b"\0" * 7 + b"[]", "no JSON object"),
        (b"\x02" + b"\0" * 7 + b"{,", "is not JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, why):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=why):
        read_safetensors(path)


def test_a_file_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"t": np.ones((4, 4))})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"it ends before 't' does. Download it again"):
        read_safetensors(path)


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "modules"),
    [
        ("model.layers.7.self_attn.q_proj.weight", 7, ("q",)),
        ("model.layers.0.self_attn.o_proj.weight", 0, ("o",)),
        ("model.layers.0.mlp.down_proj.weight", 0, ("down",)),
        ("model.layers.3.mlp.experts.17.gate_proj.weight", 3, ("gate",)),
        ("model.layers.3.mlp.shared_experts.up_proj.weight", 3, ("up",)),
        ("model.layers.3.block_sparse_moe.experts.2.w2.weight", 3, ("down",)),
        ("model.layers.1.self_attn.qkv_proj.weight", 1, ("q", "k", "v")),
        ("model.layers.1.mlp.gate_up_proj.weight", 1, ("gate", "up")),
        ("language_model.model.layers.5.mlp.up_proj.weight", 5, ("up",)),
        ("model.decoder.layers.5.self_attn.out_proj.weight", 5, ("o",)),
        ("decoder.layers.2.fc2.weight", 2, ("down",)),
        ("h.4.self_attention.query_key_value.weight", 4, ("q", "k", "v")),
        ("transformer.h.4.self_attention.dense.weight", 4, ("o",)),
        ("h.4.mlp.dense_4h_to_h.weight", 4, ("down",)),
        ("gpt_neox.layers.4.attention.dense.weight", 4, ("o",)),
        ("h.1.attn.c_proj.weight", 1, ("o",)),
        ("h.1.mlp.c_proj.weight", 1, ("down",)),
    ],
)
def test_matrices_are_known_by_name(name, layer, modules):
    found = matrix_name(name)
    assert (found.layer, found.modules) == (layer, modules)


@pytest.mark.parametrize(
    "name",
    [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.mlp.gate.weight",
        "model.layers.0.mlp.shared_expert_gate.weight",
        "model.layers.0.block_sparse_moe.gate.weight",
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
        "model.visual.layers.0.mlp.up_proj.weight",
    ],
)
def test_others_are_no_matrices_of_a_layer(name):
    assert matrix_name(name) is None


# -- checkpoints --------------------------------------------------------------------------------


def test_the_modules_of_a_layer_have_their_shapes(tmp_path):
    config = llama_config()
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, config, llama_tensors(config)), "mine")
    sizes = {matrix.module: matrix.size for matrix in checkpoint.layers[1]}
    big, small, ffn = 64 * 64, 32 * 64, 128 * 64
    assert sizes == {"q": big, "k": small, "v": small, "o": big} | dict.fromkeys(
        ("gate", "up", "down"), ffn
    )


def test_shards_are_found_by_their_index(tmp_path):
    """The same tensors in two files are the same matrices."""
    config = llama_config()
    tensors = llama_tensors(config)
    whole = read_checkpoint(write_checkpoint(tmp_path / "one", config, tensors), "mine")
    folder = tmp_path / "two"
    write_checkpoint(folder, config, {})
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in shards.items():
        write_safetensors(folder / file, {name: tensors[name] for name in some})
    weight_map = {name: file for file, some in shards.items() for name in some}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    sharded = read_checkpoint(folder, "mine")
    names = [[m.tensor.name for m in layer] for layer in sharded.layers]
    assert names == [[m.tensor.name for m in layer] for layer in whole.layers]
    assert sharded.headers_sha256 != whole.headers_sha256
    (folder / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks b\.safetensors; download the whole checkpoint"):
        read_checkpoint(folder, "mine")


def test_a_single_file_is_read_beside_its_config(tmp_path):
    config = llama_config()
    folder = write_checkpoint(tmp_path, config, llama_tensors(config))
    assert len(read_checkpoint(folder / "model.safetensors", "mine").layers) == 3


def fused(tensors, layer, ending, parts):
    """One tensor in place of several, its rows in this order."""
    rows = [tensors.pop(f"model.layers.{layer}.{part}_proj.weight") for part in parts]
    tensors[f"model.layers.{layer}.{ending}.weight"] = np.concatenate(rows)


def test_fused_matrices_are_parted(tmp_path):
    """Phi-3's blocks hold what Llama has apart: the same rows for the same modules."""
    config = llama_config(model_type="phi3")
    plain = llama_tensors(config)
    tensors = dict(plain)
    for layer in range(3):
        fused(tensors, layer, "self_attn.qkv_proj", [f"self_attn.{part}" for part in "qkv"])
        fused(tensors, layer, "mlp.gate_up_proj", ["mlp.gate", "mlp.up"])
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, config, tensors), "mine")
    for matrix in checkpoint.layers[2]:
        place = "self_attn" if matrix.module in "qkvo" else "mlp"
        apart = plain[f"model.layers.2.{place}.{matrix.module}_proj.weight"]
        np.testing.assert_allclose(read_rows(matrix.tensor, matrix.rows), apart, rtol=1e-6)


def test_heads_by_turns_are_parted(tmp_path):
    """BLOOM stores queries, keys and values of each head one after the other."""
    config = {
        "model_type": "bloom",
        "hidden_size": 8,
        "n_layer": 1,
        "n_head": 2,
        "vocab_size": 16,
    }
    rng = np.random.default_rng(0)
    turns = np.repeat(np.arange(6), 4)[:, None] * np.ones((1, 8))  # 2 heads of q, k, v, 4 rows each
    tensors = {
        "h.0.self_attention.query_key_value.weight": turns,
        "h.0.self_attention.dense.weight": rng.standard_normal((8, 8)),
        "h.0.mlp.dense_h_to_4h.weight": rng.standard_normal((32, 8)),
        "h.0.mlp.dense_4h_to_h.weight": rng.standard_normal((8, 32)),
    }
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, config, tensors), "mine")
    marks = {
        matrix.module: set(read_rows(matrix.tensor, matrix.rows).flat)
        for matrix in checkpoint.layers[0]
        if matrix.module in "qkv"
    }
    assert marks == {"q": {0, 3}, "k": {1, 4}, "v": {2, 5}}


OPT = {
    "model_type": "opt",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "ffn_dim": 16,
    "vocab_size": 16,
    "max_position_embeddings": 32,
}
GPT2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 16}
FALCON = {
    "model_type": "falcon",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "new_decoder_architecture": True,
    "vocab_size": 16,
}
FAMILIES = {
    "opt": (
        OPT,
        {
            **{
                f"model.decoder.layers.0.self_attn.{m}_proj": (8, 8) for m in ("q", "k", "v", "out")
            },
            "model.decoder.layers.0.fc1": (16, 8),
            "model.decoder.layers.0.fc2": (8, 16),
        },
    ),
    "gpt2, inputs first": (
        {**GPT2, "n_positions": 32},
        {
            "h.0.attn.c_attn": (8, 24),
            "h.0.attn.c_proj": (8, 8),
            "h.0.mlp.c_fc": (8, 32),
            "h.0.mlp.c_proj": (32, 8),
        },
    ),
    "falcon, two heads of queries to one of keys": (
        FALCON,
        {
            "transformer.h.0.self_attention.query_key_value": (16, 8),
            "transformer.h.0.self_attention.dense": (8, 8),
            "transformer.h.0.mlp.dense_h_to_4h": (32, 8),
            "transformer.h.0.mlp.dense_4h_to_h": (8, 32),
        },
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_older_families_have_all_their_matrices(tmp_path, family):
    """Each number of a tensor is in one matrix; inputs are along the rows that are read."""
    config, shapes = FAMILIES[family]
    tensors = {
        f"{name}.weight": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        for name, shape in shapes.items()
    }
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, config, tensors), "mine")
    read = {name: [] for name in tensors}
    for matrix in checkpoint.layers[0]:
        rows = matrix_rows(matrix, matrix.rows)
        assert rows.shape == (len(matrix.rows), matrix.num_inputs)
        read[matrix.tensor.name] += rows.ravel().tolist()
    assert all(sorted(numbers) == list(range(len(numbers))) for numbers in read.values())
    assert {matrix.module for matrix in checkpoint.layers[0]} == {*"qkvo", "up", "down"}


# -- refusals -----------------------------------------------------------------------------------


def test_a_quantised_checkpoint_is_refused_by_its_config(tmp_path):
    config = llama_config(quantization_config={"quant_method": "gptq", "bits": 4})
    folder = write_checkpoint(tmp_path, config, {})
    with pytest.raises(InputError, match=r"quantised already \(gptq\); give the checkpoint at 16"):
        read_checkpoint(folder, "mine")


def test_a_quantised_checkpoint_is_refused_by_its_tensors(tmp_path):
    config = llama_config()
    folder = write_checkpoint(tmp_path, config, {})
    packed = {"model.layers.0.self_attn.q_proj.qweight": np.ones((8, 64))}
    write_safetensors(folder / "model.safetensors", packed, "I32")
    with pytest.raises(InputError, match=r"quantised already \(model.layers.0.*qweight, I32\)"):
        read_checkpoint(folder, "mine")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    tensors = llama_tensors(llama_config())
    folder = write_checkpoint(tmp_path, llama_config(intermediate_size=96), tensors)
    with pytest.raises(InputError, match="Layer 0 has 36864 weights in its matrices, but config"):
        read_checkpoint(folder, "mine")


def test_a_layer_without_a_matrix_is_refused(tmp_path):
    tensors = llama_tensors(llama_config())
    del tensors["model.layers.1.mlp.up_proj.weight"]
    folder = write_checkpoint(tmp_path, llama_config(), tensors)
    with pytest.raises(InputError, match="Layer 1 has no up matrix under a known name"):
        read_checkpoint(folder, "mine")


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"There is no config\.json in"):
        read_checkpoint(tmp_path, "mine")
