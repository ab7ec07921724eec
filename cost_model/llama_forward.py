"""
A plain forward of Llama-like decoders in PyTorch, from the weights of a checkpoint.

Llama, Mistral, Qwen2 and Qwen3: RMS norms, rotary positions, grouped-query attention and a gated
feed-forward network, in 32 bits. It is for sequences of hundreds of tokens: no cache.
"""

from collections.abc import Mapping
from functools import cached_property
from math import pi
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_model.rounding import Rounding, round_weights
from profiles.checkpoint import Checkpoint
from profiles.config_fields import ConfigFields
from profiles.errors import InputError
from profiles.safetensors_file import read_rows

__all__ = ["LlamaDecoder", "import_torch"]

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_PREFIXES = ("model.", "")
_ROPE_THETA = 10_000.0
_MOST_PARAMETERS = 4e9  # 16 GB in 32 bits
TorchTensor = Any
"""A ``torch.Tensor``; PyTorch is optional, so that its types are not known here."""


def import_torch() -> ModuleType:
    """
    PyTorch.

    Raises
    ------
    InputError
        When it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            "Calibration runs the model with PyTorch, which is not installed; install it with "
            "pip install 'hetplan[torch]', or leave --calibrate out."
        ) from None
    module: ModuleType = torch
    return module


class LlamaDecoder:
    """
    A decoder that runs layer by layer; follows `cost_model.layer_divergence.Decoder`.

    Parameters
    ----------
    checkpoint
        Of a dense model of the families above; all of it is held in 32 bits.
    rounding
        How `layer` rounds weights.
    device
        Of PyTorch.

    Raises
    ------
    InputError
        When PyTorch is missing, or the model is of another architecture or too large.
    """

    def __init__(self, checkpoint: Checkpoint, rounding: Rounding, device: str = "cpu") -> None:
        self._torch = import_torch()
        self._checkpoint = checkpoint
        self._rounding = rounding
        self._device = device
        self._fields = ConfigFields(checkpoint.config)
        _refuse_others(checkpoint)
        self._kind = checkpoint.model.kinds[0]
        self._prefix = next(
            each for each in _PREFIXES if f"{each}embed_tokens.weight" in checkpoint.tensors
        )
        self._layers = [self._weights(index) for index in range(self.num_layers)]
        self._rounded: tuple[tuple[int, int], Mapping[str, TorchTensor]] = ((-1, 16), {})

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return self._checkpoint.model.num_layers

    @property
    def vocab(self) -> int:
        """Tokens of the vocabulary."""
        return self._checkpoint.model.vocab

    def embed(self, tokens: NDArray[np.int64]) -> TorchTensor:
        """Embeddings of tokens of shape (sequences, length)."""
        return self._embedding[self._torch.from_numpy(tokens).to(self._device)]

    def layer(self, index: int, state: TorchTensor, bits: int = 16) -> TorchTensor:
        """What leaves a layer, its matrices rounded to so many bits."""
        weights = self._layers[index] if bits == 16 else self._at(index, bits)
        with self._torch.inference_mode():
            state = state + self._attention(weights, self._norm(state, weights["input_layernorm"]))
            inner = self._norm(state, weights["post_attention_layernorm"])
            gate = self._torch.nn.functional.silu(inner @ weights["gate"].T)
            return state + (gate * (inner @ weights["up"].T)) @ weights["down"].T

    def log_probabilities(self, state: TorchTensor) -> TorchTensor:
        """Ln p of the next token, shape (..., vocab), from what leaves the last layer."""
        with self._torch.inference_mode():
            logits = self._norm(state, self._final_norm) @ self._head.T
            return logits.log_softmax(dim=-1)

    def kl_nats(self, state_16: TorchTensor, state: TorchTensor) -> float:
        """Mean over tokens of KL(p_16 || p); one sequence at a time, as vocabularies are large."""
        total, tokens = 0.0, 0
        for one_16, one in zip(state_16, state, strict=True):
            log_p, log_q = self.log_probabilities(one_16), self.log_probabilities(one)
            total += float((log_p.exp() * (log_p - log_q)).sum(dtype=self._torch.float64))
            tokens += len(one)
        return total / tokens

    # -- weights ----------------------------------------------------------------------------

    def _read(self, name: str) -> TorchTensor:
        tensor = self._checkpoint.tensors.get(name)
        if tensor is None:
            raise InputError(f"The checkpoint has no tensor {name}; calibration needs it.")
        rows = read_rows(tensor)
        return self._torch.from_numpy(rows.reshape(tensor.shape)).to(self._device)

    @cached_property
    def _embedding(self) -> TorchTensor:
        return self._read(f"{self._prefix}embed_tokens.weight")

    @cached_property
    def _final_norm(self) -> TorchTensor:
        return self._read(f"{self._prefix}norm.weight")

    @cached_property
    def _head(self) -> TorchTensor:
        tied = self._checkpoint.model.tied_embeddings
        return self._embedding if tied else self._read("lm_head.weight")

    def _weights(self, index: int) -> Mapping[str, TorchTensor]:
        """Matrices by module; norms and biases by the last words of their names."""
        start = f"{self._prefix}layers.{index}."
        small = {
            name.removeprefix(start).removeprefix("self_attn.").removesuffix(".weight"): name
            for name, tensor in self._checkpoint.tensors.items()
            if name.startswith(start) and len(tensor.shape) == 1
        }
        matrices = {
            matrix.module: self._torch.from_numpy(read_rows(matrix.tensor, matrix.rows)).to(
                self._device
            )
            for matrix in self._checkpoint.layers[index]
        }
        return {**matrices, **{word: self._read(name) for word, name in small.items()}}

    def _at(self, index: int, bits: int) -> Mapping[str, TorchTensor]:
        """The layer with rounded matrices; the last one asked for is kept."""
        if self._rounded[0] != (index, bits):
            modules = {matrix.module for matrix in self._checkpoint.layers[index]}
            rounded = {
                word: self._round(value, bits) if word in modules else value
                for word, value in self._layers[index].items()
            }
            self._rounded = ((index, bits), rounded)
        return self._rounded[1]

    def _round(self, weights: TorchTensor, bits: int) -> TorchTensor:
        rounded = round_weights(weights.cpu().numpy(), bits, self._rounding)
        return self._torch.from_numpy(rounded).to(self._device)

    # -- parts of a layer -------------------------------------------------------------------

    def _norm(self, state: TorchTensor, weight: TorchTensor) -> TorchTensor:
        mean = state.square().mean(dim=-1, keepdim=True)
        return state * (mean + self._epsilon).rsqrt() * weight

    @cached_property
    def _epsilon(self) -> float:
        return self._fields.number("rms_norm_eps", default=1e-6)

    def _attention(self, weights: Mapping[str, TorchTensor], state: TorchTensor) -> TorchTensor:
        kind = self._kind
        queries = self._turned(self._heads(weights, "q", state, kind.heads))
        keys = self._turned(self._heads(weights, "k", state, kind.kv_heads))
        values = self._heads(weights, "v", state, kind.kv_heads)
        share = kind.heads // kind.kv_heads
        mixed = self._torch.nn.functional.scaled_dot_product_attention(
            queries,
            keys.repeat_interleave(share, dim=1),
            values.repeat_interleave(share, dim=1),
            attn_mask=self._mask(state.shape[1]),
        )
        out = mixed.transpose(1, 2).flatten(2) @ weights["o"].T
        return out + weights["o_proj.bias"] if "o_proj.bias" in weights else out

    def _heads(
        self, weights: Mapping[str, TorchTensor], module: str, state: TorchTensor, heads: int
    ) -> TorchTensor:
        """Shape (sequences, heads, length, head_dim)."""
        out = state @ weights[module].T
        bias = weights.get(f"{module}_proj.bias")
        out = out if bias is None else out + bias
        out = out.unflatten(-1, (heads, self._kind.head_dim))
        norm = weights.get(f"{module}_norm")
        return (out if norm is None else self._norm(out, norm)).transpose(1, 2)

    def _mask(self, length: int) -> TorchTensor:
        """Which earlier tokens each token sees, shape (length, length)."""
        at = self._torch.arange(length, device=self._device)
        back = at[:, None] - at[None, :]
        return (back >= 0) & (back < (self._kind.window or length))

    def _turned(self, heads: TorchTensor) -> TorchTensor:
        """Rotary positions (arXiv 2104.09864), halves of a head turned against each other."""
        at = self._torch.arange(heads.shape[2], device=self._device)[:, None]
        angles = at * self._frequencies
        cos, sin = angles.cos(), angles.sin()
        first, second = heads.chunk(2, dim=-1)
        return self._torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    @cached_property
    def _frequencies(self) -> TorchTensor:
        fields = self._fields
        scaling = fields.nested("rope_parameters") or fields.nested("rope_scaling") or fields
        own = scaling.number("rope_theta", default=_ROPE_THETA)
        theta = fields.number("rope_theta", default=own)
        plain = theta ** -(np.arange(0, self._kind.head_dim, 2) / self._kind.head_dim)
        scaled = _scaled(plain, scaling)
        return self._torch.from_numpy(scaled.astype(np.float32)).to(self._device)


def _refuse_others(checkpoint: Checkpoint) -> None:
    model = checkpoint.model
    if model.model_type not in _FAMILIES or len(model.kinds) > 1 or model.kinds[0].num_experts:
        raise InputError(
            f"Calibration runs dense models of {', '.join(_FAMILIES)} with layers of one kind; "
            f"{model.name} is another ({model.model_type}). Leave --calibrate out, or follow "
            "cost_model.layer_divergence.Decoder in Python."
        )
    if model.num_parameters > _MOST_PARAMETERS:
        raise InputError(
            f"{model.name} has {model.num_parameters / 1e9:.1f} billion parameters; calibration "
            f"runs at most {_MOST_PARAMETERS / 1e9:.0f} billion. Leave --calibrate out."
        )
    prefixes = [each for each in _PREFIXES if f"{each}embed_tokens.weight" in checkpoint.tensors]
    packed = [m.tensor.name for m in checkpoint.layers[0] if len(m.rows) != m.tensor.shape[0]]
    if packed or not prefixes:
        what = packed[0] if packed else "embed_tokens.weight is not where Llama has it"
        raise InputError(
            f"Calibration reads the names of Llama's matrices only ({what}); leave it out."
        )


def _scaled(plain: NDArray[np.float64], fields: ConfigFields) -> NDArray[np.float64]:
    """Frequencies for long contexts: none, ``linear``, or ``llama3`` (Llama 3.1's)."""
    kind = fields.text("rope_type", default=fields.text("type", default="default"))
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / fields.number("factor")
    if kind != "llama3":
        raise fields.wrong("rope_type", f"{kind!r} is not known to the calibration")
    factor, low = fields.number("factor"), fields.number("low_freq_factor")
    high = fields.number("high_freq_factor")
    turns = fields.number("original_max_position_embeddings") * plain / (2 * pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return plain * (kept + (1 - kept) / factor)
