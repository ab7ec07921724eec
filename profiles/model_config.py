"""Reading a model from the config.json that Hugging Face keeps beside its weights."""

import dataclasses
from collections.abc import Mapping, Sequence

from profiles.architecture import LayerKind, Model
from profiles.attention_windows import layer_windows
from profiles.config_fields import ConfigFields
from profiles.errors import InputError
from profiles.families import FAMILIES, REFUSED_KEYS, REFUSED_TYPES, Family

__all__ = ["model_from_config"]

_MAX_LAYERS = 10_000
_GATED_ACTIVATIONS = ("silu", "swish", "swiglu", "geglu")
_GATED_HIDDEN_ACT = (*_GATED_ACTIVATIONS, "gelu_pytorch_tanh")
_POSITION_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
)
# Rotary embeddings whose positions are stated before scaling.
_SCALED_ROPE = ("linear", "dynamic", "yarn")


def model_from_config(config: Mapping[str, object], name: str, pointer: str = "") -> Model:
    """
    The model that a config.json describes.

    Parameters
    ----------
    config
        The parsed file. Families not known by name are read as Llama-like when their
        ``architectures`` say that they are causal language models.
    name
        What to call the model.
    pointer
        JSON pointer to the file within the request, for errors.

    Returns
    -------
    Model
        With one kind per distinct shape of layer: dense or mixture of experts, full or
        sliding-window attention.

    Raises
    ------
    InputError
        When a figure is missing or senseless, or the architecture is not a decoder of plain
        attention and feed-forward layers (MLA, state-space, linear attention, an encoder).
    """
    whole = ConfigFields(config, pointer)
    fields = whole.nested("text_config") or whole
    try:
        for part in (whole, fields):
            _refuse_others(part)
        model = _model(fields, _family(fields), name)
        notes = (*_family_notes(fields, model), *_quantization_notes(whole))
        return dataclasses.replace(model, notes=notes)
    except InputError as error:
        if error.pointer:
            raise
        raise InputError(error.message, pointer=pointer) from None


def _model(fields: ConfigFields, family: Family, name: str) -> Model:
    fields = fields.with_defaults(family.defaults)
    num_layers = fields.integer("num_hidden_layers", "n_layer", "num_layers", at_most=_MAX_LAYERS)
    hidden = _hidden(fields)
    base = _base_kind(fields, family)
    windows = layer_windows(fields, family, num_layers)
    sparse = _sparse_layers(fields, num_layers)
    moe = _moe_kind(fields, family, base) if any(sparse) else base
    layers = [
        dataclasses.replace(moe if is_sparse else base, window=window)
        for is_sparse, window in zip(sparse, windows, strict=True)
    ]
    kinds, layer_kinds = _number(layers)
    return Model(
        name=name,
        hidden=hidden,
        vocab=fields.integer("vocab_size"),
        tied_embeddings=fields.flag("tie_word_embeddings", default=family.tied),
        learned_positions=_learned_positions(fields, family),
        kinds=kinds,
        layer_kinds=layer_kinds,
        pretrained=True,
        source=_source(fields),
        small_weights=family.final_vectors * hidden,
        max_positions=_max_positions(fields),
        model_type=fields.text("model_type"),
    )


def _max_positions(fields: ConfigFields) -> int | None:
    """Positions, as many times as they are scaled, where the file does not count that already."""
    positions = fields.optional_integer(*_POSITION_FIELDS)
    scaling = fields.nested("rope_scaling") or fields.nested("rope_parameters")
    is_gemma = fields.text("model_type", "").startswith("gemma3")  # its positions are scaled ones
    if positions is None or scaling is None or is_gemma:
        return positions
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    if kind not in _SCALED_ROPE:
        return positions
    original = scaling.optional_integer("original_max_position_embeddings")
    before = original if kind == "yarn" and original is not None else positions
    return round(before * scaling.number("factor", 1.0))


def _family_notes(fields: ConfigFields, model: Model) -> tuple[str, ...]:
    """A word of caution about a family that is not known by name."""
    model_type = fields.text("model_type")
    if model_type in FAMILIES:
        return ()
    note = (
        f"model_type {model_type!r} is not known by name: {model.name} is read as a Llama-like "
        f"decoder of {model.num_parameters / 1e9:.2f} billion parameters; check that number."
    )
    return (note,)


def _quantization_notes(fields: ConfigFields) -> tuple[str, ...]:
    """That a checkpoint is quantised already, and how, where the file says so."""
    quantization = fields.nested("quantization_config")
    if quantization is None:
        return ()
    method = quantization.text("quant_method", default="method not named")
    bits = _quantized_bits(quantization)
    how = method if bits is None else f"{method}, {bits} bits"
    note = (
        f"The weights in this checkpoint are already quantised ({how}); "
        "hetplan plans formats from 16 bits."
    )
    return (note,)


def _quantized_bits(quantization: ConfigFields) -> int | None:
    for bits in (4, 8):
        if quantization.flag(f"load_in_{bits}bit", default=False):
            return bits
    return quantization.optional_integer("bits", "w_bit")


def _source(fields: ConfigFields) -> str:
    model_type = fields.text("model_type")
    known = "" if model_type in FAMILIES else ", read as a Llama-like decoder"
    return f"config.json of model_type {model_type}{known}"


def _refuse_others(fields: ConfigFields) -> None:
    """Refuse what is no plain transformer decoder, by its type or by a field that tells."""
    model_type = fields.text("model_type", default="")
    refused = REFUSED_TYPES.get(model_type)
    for key, what in REFUSED_KEYS.items():
        if fields.has(key):
            refused = what
    if refused:
        raise fields.wrong(
            "model_type",
            f"{model_type!r} {refused}: not modelled, only plain transformer decoders are",
        )
    if fields.flag("is_encoder_decoder", default=False):
        raise fields.wrong("is_encoder_decoder", "this is an encoder-decoder, not a decoder")


def _family(fields: ConfigFields) -> Family:
    model_type = fields.text("model_type")
    return FAMILIES.get(model_type) or _llama_like(fields, model_type)


def _llama_like(fields: ConfigFields, model_type: str) -> Family:
    architectures = fields.texts("architectures") or ()
    if not any(each.endswith("ForCausalLM") for each in architectures):
        raise fields.wrong(
            "model_type",
            f"{model_type!r} is not a known decoder (known: {', '.join(FAMILIES)}) and "
            "`architectures` names no ...ForCausalLM",
        )
    experts = [key for key in fields.values if "expert" in str(key) or "moe" in str(key)]
    if experts and not _num_experts(fields):
        raise fields.wrong(experts[0], f"experts under this name are not known for {model_type!r}")
    # PretrainedConfig ties embeddings unless told otherwise, and then leaves the field out.
    return Family(tied=True, gated=_is_gated(fields), window_rule="none")


def _is_gated(fields: ConfigFields) -> bool:
    """Whether the activation goes with a gate; GPT-2's kin call it `activation_function`."""
    if fields.has("activation_function"):
        return fields.text("activation_function") in _GATED_ACTIVATIONS
    return fields.text("hidden_act", default="silu") in _GATED_HIDDEN_ACT


def _hidden(fields: ConfigFields) -> int:
    hidden = fields.integer("hidden_size", "n_embd", "n_embed", "d_model")
    projected = fields.integer("word_embed_proj_dim", default=hidden)
    if projected != hidden:
        raise fields.wrong(
            "word_embed_proj_dim", f"{projected} differs from hidden_size {hidden}: not modelled"
        )
    return hidden


def _head_dim(fields: ConfigFields, hidden: int, heads: int) -> int:
    head_dim = fields.optional_integer("head_dim")
    if head_dim is None and hidden % heads:
        raise fields.wrong(
            "num_attention_heads",
            f"{heads} heads do not divide hidden_size {hidden}: give head_dim",
        )
    return head_dim or hidden // heads


def _kv_heads(fields: ConfigFields, heads: int) -> int:
    # Falcon's older files say multi_query and repeat num_kv_heads without using it.
    if fields.text("model_type") == "falcon" and not fields.flag(
        "new_decoder_architecture", default=False
    ):
        return 1 if fields.flag("multi_query", default=True) else heads
    kv_heads = fields.optional_integer("num_key_value_heads", "num_kv_heads", "n_head_kv")
    alone = 1 if fields.flag("multi_query", default=False) else heads
    return kv_heads or alone


def _base_kind(fields: ConfigFields, family: Family) -> LayerKind:
    hidden = _hidden(fields)
    heads = fields.integer("num_attention_heads", "n_head")
    kv_heads, head_dim = _kv_heads(fields, heads), _head_dim(fields, hidden, heads)
    ffn = fields.optional_integer("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
    if ffn is None and family.gated:
        raise fields.missing("intermediate_size")
    kind = LayerKind(
        name="decoder",
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=ffn or 4 * hidden,
        gated=family.gated,
    )
    return dataclasses.replace(kind, small_weights=_small_weights(fields, family, kind))


def _small_weights(fields: ConfigFields, family: Family, kind: LayerKind) -> int:
    """Norms and biases of a dense layer."""
    attention_bias = fields.optional_flag("attention_bias", "use_bias", "enable_bias", "bias")
    ffn_bias = fields.optional_flag("mlp_bias", "use_bias", "enable_bias", "bias")
    count = family.norm_vectors * kind.hidden + 2 * family.qk_norm * kind.head_dim
    if family.qkv_bias if attention_bias is None else attention_bias:
        count += kind.head_dim * (kind.heads + 2 * kind.kv_heads)
    if family.out_bias if attention_bias is None else attention_bias:
        count += kind.hidden
    if family.ffn_bias if ffn_bias is None else ffn_bias:
        count += (kind.matrices_per_ffn - 1) * kind.ffn + kind.hidden
    return count


def _num_experts(fields: ConfigFields) -> int:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return fields.optional_integer(*names, at_least=0) or 0


def _sparse_layers(fields: ConfigFields, num_layers: int) -> list[bool]:
    """Which layers route their tokens to experts."""
    if _num_experts(fields) == 0:
        return [False] * num_layers
    dense = set(fields.integers("mlp_only_layers") or ())
    step = fields.integer("decoder_sparse_step", default=1)
    first = fields.integer("first_k_dense_replace", default=0, at_least=0)
    every = fields.integer("moe_layer_freq", default=1)
    return [
        layer not in dense and (layer + 1) % step == 0 and layer >= first and layer % every == 0
        for layer in range(num_layers)
    ]


def _moe_kind(fields: ConfigFields, family: Family, dense: LayerKind) -> LayerKind:
    num_experts = _num_experts(fields)
    ffn = fields.optional_integer("moe_intermediate_size") or dense.ffn
    shared = fields.optional_integer("shared_expert_intermediate_size", at_least=0)
    if shared is None:
        shared = ffn * fields.integer("n_shared_experts", default=0, at_least=0)
    gate = dense.hidden if fields.has("shared_expert_intermediate_size") else 0
    router = num_experts * (dense.hidden + family.router_bias)
    return dataclasses.replace(
        dense,
        num_experts=num_experts,
        experts_per_token=fields.integer("num_experts_per_tok", "num_experts_per_token"),
        ffn=ffn,
        shared_ffn=shared,
        small_weights=dense.small_weights + router + gate,
    )


def _learned_positions(fields: ConfigFields, family: Family) -> int:
    if family.position_offset is None:
        return 0
    return fields.integer("max_position_embeddings", "n_positions") + family.position_offset


def _number(layers: Sequence[LayerKind]) -> tuple[tuple[LayerKind, ...], tuple[int, ...]]:
    """Distinct kinds with names of their own, and the index of each layer's kind."""
    distinct = list(dict.fromkeys(layers))
    kinds = tuple(dataclasses.replace(kind, name=_name(kind, distinct)) for kind in distinct)
    return kinds, tuple(distinct.index(layer) for layer in layers)


def _name(kind: LayerKind, distinct: Sequence[LayerKind]) -> str:
    parts = ["decoder"]
    if len({bool(each.num_experts) for each in distinct}) > 1:
        parts.append("moe" if kind.num_experts else "dense")
    if len({each.window for each in distinct}) > 1:
        parts.append("window" if kind.window else "full")
    return "-".join(parts)
