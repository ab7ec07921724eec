"""What a ``model_type`` of Hugging Face implies beyond the figures in its config.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["FAMILIES", "REFUSED_KEYS", "REFUSED_TYPES", "Family", "WindowRule"]

WindowRule = Literal["none", "all", "from_max_window_layers", "even", "pattern"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """
    Conventions of a family of models.

    Parameters
    ----------
    gated
        Whether the feed-forward network has a gate.
    tied
        Whether embeddings are tied when the config does not say.
    norm_vectors
        Vectors of width ``hidden`` in the norms of a layer (two per LayerNorm with bias).
    final_vectors
        Such vectors beside the layers: final norm, norm of the embedding.
    qkv_bias, out_bias, ffn_bias
        Which matrices have biases when the config does not say.
    qk_norm
        Whether queries and keys are normalised per head.
    position_offset
        Extra rows of the matrix of learned positions; None if there is no such matrix.
    window_rule
        Which layers a ``sliding_window`` holds for when there are no ``layer_types``.
    defaults
        Fields that published files of the family leave out.
    """

    gated: bool = True
    tied: bool = False
    norm_vectors: int = 2
    final_vectors: int = 1
    qkv_bias: bool = False
    out_bias: bool = False
    ffn_bias: bool = False
    qk_norm: bool = False
    position_offset: int | None = None
    window_rule: WindowRule = "none"
    defaults: Mapping[str, object] = field(default_factory=dict)


_GEMMA3 = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262208,
    "sliding_window_pattern": 6,
}


def _layer_norm(**conventions: object) -> Family:
    """The older families: no gate, LayerNorm with bias, biases everywhere."""
    usual: dict[str, object] = {
        "gated": False,
        "norm_vectors": 4,
        "final_vectors": 2,
        "qkv_bias": True,
        "out_bias": True,
        "ffn_bias": True,
    }
    return Family(**(usual | conventions))  # type: ignore[arg-type]


# Read from the model code of transformers: defaults of each configuration class and the
# parameters that each decoder layer creates.
FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(window_rule="all"),
    "mixtral": Family(window_rule="all"),
    "qwen2": Family(qkv_bias=True, window_rule="from_max_window_layers"),
    "qwen2_moe": Family(qkv_bias=True, window_rule="from_max_window_layers"),
    "qwen3": Family(qk_norm=True, window_rule="from_max_window_layers"),
    "qwen3_moe": Family(qk_norm=True, window_rule="from_max_window_layers"),
    "gemma": Family(tied=True),
    "gemma2": Family(tied=True, norm_vectors=4, window_rule="even"),
    "gemma3": Family(tied=True, norm_vectors=4, qk_norm=True, window_rule="pattern"),
    "gemma3_text": Family(
        tied=True, norm_vectors=4, qk_norm=True, window_rule="pattern", defaults=_GEMMA3
    ),
    "phi3": Family(window_rule="all"),
    "deepseek": Family(),
    "opt": _layer_norm(tied=True, position_offset=2),
    "bloom": _layer_norm(tied=True, final_vectors=4),
    "gpt2": _layer_norm(tied=True, position_offset=0),
    "gpt_neox": _layer_norm(),
    "phi": _layer_norm(norm_vectors=2),
    "starcoder2": _layer_norm(tied=True, window_rule="all"),
    "falcon": _layer_norm(tied=True, qkv_bias=False, out_bias=False, ffn_bias=False),
}

REFUSED_TYPES: Mapping[str, str] = {
    "llama4": "its interleaved experts and chunked attention",
    "gpt_neo": "its alternating local attention",
    "deepseek_v2": "multi-head latent attention (MLA)",
    "deepseek_v3": "multi-head latent attention (MLA)",
}

REFUSED_KEYS: Mapping[str, str] = {
    "kv_lora_rank": "multi-head latent attention (MLA)",
    "ssm_cfg": "state-space layers",
    "mamba_d_state": "state-space layers",
    "ssm_state_size": "state-space layers",
    "state_size": "state-space layers",
    "linear_num_key_heads": "linear attention",
    "layers_block_type": "hybrid layers",
    "block_types": "hybrid layers",
    "hybrid_override_pattern": "hybrid layers",
}
