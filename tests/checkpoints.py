"""Checkpoints written for tests: safetensors files of given or random numbers."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4"}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str = "F32") -> None:
    """Write tensors in one type of numbers."""
    header, offset, parts = {}, 0, []
    for name, values in tensors.items():
        raw = _raw(values, dtype)
        ends = [offset, offset + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": ends}
        offset += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def _raw(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(DTYPES[dtype]).tobytes()


def write_checkpoint(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], dtype: str = "F32"
) -> Path:
    """A folder with config.json and one file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", tensors, dtype)
    return folder


def displaced(count: int, orders: int) -> list[np.ndarray]:
    """Random orders in which nothing keeps its place."""
    rng, found = np.random.default_rng(0), []
    while len(found) < orders:
        order = rng.permutation(count)
        if (order != np.arange(count)).all():
            found.append(order)
    return found


def llama_config(**fields: object) -> dict[str, Any]:
    """A Llama-like decoder of 3 layers, 64 wide, with 4 heads that share 2 of keys."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 48,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        **fields,
    }


def llama_tensors(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under Llama's names."""
    rng = np.random.default_rng(seed)
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim", hidden // config["num_attention_heads"])
    queries, keys = (
        config[name] * head_dim for name in ("num_attention_heads", "num_key_value_heads")
    )
    shapes = {"model.embed_tokens": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        start = f"model.layers.{layer}"
        shapes |= {
            f"{start}.self_attn.q_proj": (queries, hidden),
            f"{start}.self_attn.k_proj": (keys, hidden),
            f"{start}.self_attn.v_proj": (keys, hidden),
            f"{start}.self_attn.o_proj": (hidden, queries),
            f"{start}.mlp.gate_proj": (ffn, hidden),
            f"{start}.mlp.up_proj": (ffn, hidden),
            f"{start}.mlp.down_proj": (hidden, ffn),
            f"{start}.input_layernorm": (hidden,),
            f"{start}.post_attention_layernorm": (hidden,),
        }
    shapes["model.norm"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head"] = (config["vocab_size"], hidden)
    return {
        f"{name}.weight": np.ones(shape) + 0.1 * rng.standard_normal(shape)
        if len(shape) == 1
        else rng.standard_normal(shape) / np.sqrt(shape[1])
        for name, shape in shapes.items()
    }
