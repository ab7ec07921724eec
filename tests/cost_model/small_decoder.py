"""
A byte-level decoder trained on the source of Python's standard library, kept as a checkpoint.

One thread, AdamW, a quarter of an hour. It is trained here because no published model is at hand in
a test.
"""

import json
import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tests.checkpoints import llama_config, llama_tensors, write_checkpoint

LAYERS, HIDDEN, HEADS, FFN, LENGTH = 10, 64, 4, 192, 128
CONFIG = llama_config(
    num_hidden_layers=LAYERS,
    hidden_size=HIDDEN,
    num_attention_heads=HEADS,
    num_key_value_heads=HEADS,
    intermediate_size=FFN,
    vocab_size=256,
    max_position_embeddings=LENGTH,
    tie_word_embeddings=False,
)
HELD_OUT = 40  # of the files, the last of each so many is for testing


def corpus() -> tuple[np.ndarray, np.ndarray]:
    """Bytes to train on, and bytes of other files."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = [np.frombuffer(path.read_bytes(), dtype=np.uint8) for path in paths]
    held = [text for at, text in enumerate(texts) if at % HELD_OUT == HELD_OUT - 1]
    seen = [text for at, text in enumerate(texts) if at % HELD_OUT != HELD_OUT - 1]
    return np.concatenate(seen), np.concatenate(held)


def sequences(text: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Pieces of a text at random places, shape (count, LENGTH + 1)."""
    starts = np.random.default_rng(seed).integers(0, len(text) - LENGTH - 1, count)
    return np.stack([text[start : start + LENGTH + 1] for start in starts]).astype(np.int64)


def train(folder: Path, *, steps: int, batch: int, seed: int = 0) -> Path:
    """Train and write the checkpoint; returns its folder."""
    torch.manual_seed(seed)
    seen, _ = corpus()
    weights = {
        name: torch.nn.Parameter(torch.from_numpy(first(name, values)))
        for name, values in llama_tensors(CONFIG, seed).items()
    }
    optimiser = torch.optim.AdamW(weights.values(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        rate = 4e-3 * min(1, (step + 1) / 50) * (0.02 + 0.98 * (1 - step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        tokens = torch.from_numpy(sequences(seen, batch, seed=1000 + step))
        loss = loss_of(weights, tokens)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
    tensors = {name: value.detach().numpy() for name, value in weights.items()}
    write_checkpoint(folder, CONFIG, tensors)
    (folder / "training.json").write_text(json.dumps({"last_loss_nats": float(loss.detach())}))
    return folder


def first(name: str, values: np.ndarray) -> np.ndarray:
    """
    Weights to start from: norms of one, outputs scaled by depth, embeddings as large as a layer's.

    Small embeddings would leave nearly all of the loss to the first layer, as in no real model.
    """
    values = values.astype(np.float32)
    if values.ndim == 1:
        return np.ones_like(values)
    if "embed" in name:
        return values * np.float32(np.sqrt(HIDDEN))
    is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
    return values * np.float32(0.7 / np.sqrt(2 * LAYERS) if is_output else 0.7)


def loss_of(weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Mean loss in nats of a byte."""
    state = weights["model.embed_tokens.weight"][tokens[:, :-1]]
    for layer in range(LAYERS):
        state = layer_of(weights, f"model.layers.{layer}", state)
    state = normed(state, weights["model.norm.weight"])
    logits = state @ weights["lm_head.weight"].T
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def normed(state: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(state, (HIDDEN,), weight, CONFIG["rms_norm_eps"])


def layer_of(weights: dict[str, torch.Tensor], start: str, state: torch.Tensor) -> torch.Tensor:
    def times(value: torch.Tensor, name: str) -> torch.Tensor:
        return value @ weights[f"{start}.{name}.weight"].T

    inner = normed(state, weights[f"{start}.input_layernorm.weight"])
    q, k, v = (
        times(inner, f"self_attn.{name}_proj").unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for name in "qkv"
    )
    mixed = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
    state = state + times(mixed.transpose(1, 2).flatten(2), "self_attn.o_proj")
    inner = normed(state, weights[f"{start}.post_attention_layernorm.weight"])
    gate = functional.silu(times(inner, "mlp.gate_proj"))
    return state + times(gate * times(inner, "mlp.up_proj"), "mlp.down_proj")


def turned(heads: torch.Tensor) -> torch.Tensor:
    dim = heads.shape[-1]
    rates = CONFIG["rope_theta"] ** -(torch.arange(0, dim, 2) / dim)
    angles = torch.arange(heads.shape[2])[:, None] * rates
    one, other = heads.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)
