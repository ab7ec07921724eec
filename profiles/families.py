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
    router_bias
        Whether the choice of experts adds a bias to each.
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
    router_bias: bool = False
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
    "glm4_moe": Family(qkv_bias=True, router_bias=True),
    "opt": _layer_norm(tied=True, position_offset=2),
    "bloom": _layer_norm(tied=True, final_vectors=4),
    "gpt2": _layer_norm(tied=True, position_offset=0),
    "gpt_bigcode": _layer_norm(tied=True, position_offset=0, defaults={"multi_query": True}),
    "gpt_neox": _layer_norm(),
    "phi": _layer_norm(norm_vectors=2),
    "starcoder2": _layer_norm(tied=True, window_rule="all"),
    "falcon": _layer_norm(tied=True, qkv_bias=False, out_bias=False, ffn_bias=False),
}

_MLA = "has multi-head latent attention (MLA)"
_STATE_SPACE = "has state-space layers"
_RECURRENT = "has recurrent layers"
_LINEAR = "has linear attention"
_HYBRID = "has hybrid layers"
_ENCODER = "is an encoder, not a decoder"
_ENCODER_DECODER = "is an encoder-decoder, not a decoder"

# How a `model_type` differs from a plain transformer decoder.
REFUSED_TYPES: Mapping[str, str] = {
    "llama4": "has interleaved experts and chunked attention",
    "gpt_neo": "has alternating local attention",
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "minicpm3", "kimi_k2"), _MLA),
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "codestral_mamba"), _STATE_SPACE),
    **dict.fromkeys(
        ("rwkv", "rwkv5", "rwkv6", "rwkv7", "recurrent_gemma", "xlstm", "retnet"), _RECURRENT
    ),
    **dict.fromkeys(("minimax", "minimax_m1", "kimi_linear", "qwen3_next"), _LINEAR),
    **dict.fromkeys(
        ("jamba", "bamba", "zamba", "zamba2", "falcon_h1", "nemotron_h", "granitemoehybrid"),
        _HYBRID,
    ),
    "nemotron-nas": "has layers of different shapes",
    "mllama": "has cross-attention layers",
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "albert", "distilbert", "electra", "deberta"), _ENCODER
    ),
    **dict.fromkeys(("deberta-v2", "modernbert", "mpnet", "longformer", "vit", "clip"), _ENCODER),
    **dict.fromkeys(
        ("t5", "mt5", "umt5", "longt5", "t5gemma", "switch_transformers"), _ENCODER_DECODER
    ),
    **dict.fromkeys(
        ("bart", "mbart", "pegasus", "marian", "m2m_100", "led", "whisper", "encoder-decoder"),
        _ENCODER_DECODER,
    ),
}

# The same by fields that only such models have, whatever their `model_type`.
REFUSED_KEYS: Mapping[str, str] = {
    "kv_lora_rank": _MLA,
    "ssm_cfg": _STATE_SPACE,
    "mamba_d_state": _STATE_SPACE,
    "ssm_state_size": _STATE_SPACE,
    "state_size": _STATE_SPACE,
    "lru_width": _RECURRENT,
    "linear_num_key_heads": _LINEAR,
    "linear_attn_config": _LINEAR,
    "attn_type_list": _LINEAR,
    "layers_block_type": _HYBRID,
    "block_types": _HYBRID,
    "hybrid_override_pattern": _HYBRID,
    "block_configs": "has layers of different shapes",
    "cross_attention_layers": "has cross-attention layers",
}
