"""The catalogue of models, and models read from config.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.families import FAMILIES
from profiles.models import Model, find_model, load_models, model_aliases, model_from_config

CONFIGS = Path(__file__).parents[1] / "data" / "configs"

# Parameters of the published weights (sum of the tensors in the checkpoints); OPT-175B by name.
PUBLISHED = {
    "opt-1.3b": 1_315_758_080,
    "opt-2.7b": 2_651_596_800,
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
    "opt-30b": 29_974_540_288,
    "opt-66b": 65_719_701_504,
    "opt-175b": 174_604_468_224,
    "bloom-176b": 176_247_271_424,
    "llama-1-30b": 32_528_943_616,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "mistral-7b": 7_248_023_552,
    "mistral-7b-v0.1": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gemma-3-27b": 27_009_346_304,  # 27 432 406 640 less the vision tower of 423 060 336
    "glm-4.5-air": 106_852_251_264,  # 110 468 824 832 less the layer for multi-token prediction
}

PUBLISHED_CONFIGS = {
    "bloom-560m": 559_214_592,
    "deepseek-moe-16b": 16_375_728_128,
    "falcon-40b": 41_303_293_952,
    "falcon-7b": 6_921_720_704,
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-4b": 3_880_263_168,  # the language model alone
    "gpt-neox-20b": 20_554_567_680,
    "gpt-oss-20b": 20_914_757_184,
    "gpt2": 124_439_808,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b-v0.1": 7_241_732_096,
    "mixtral-8x22b": 140_620_634_112,
    "opt-125m": 125_239_296,
    "phi-3-mini-4k": 3_821_079_552,
    "qwen1.5-moe-a2.7b": 14_315_784_192,
    "qwen2.5-0.5b": 494_032_768,
    "starcoder2-7b": 7_173_923_840,
}

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}

STARCODER = {
    "model_type": "gpt_bigcode",
    "activation_function": "gelu",
    "multi_query": True,
    "n_embd": 6144,
    "n_head": 48,
    "n_inner": 24576,
    "n_layer": 40,
    "n_positions": 8192,
    "vocab_size": 49152,
}


def read(name: str) -> Model:
    return model_from_config(json.loads((CONFIGS / f"{name}.json").read_text()), name)


def windows(model: Model) -> list[int | None]:
    return [kind.window for kind in model.layers]


def test_the_catalogue_has_all_published_sizes():
    assert set(load_models()) == set(PUBLISHED)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameters_of_the_catalogue_are_the_published_ones(name, parameters):
    assert find_model(name).num_parameters == parameters


def test_llama_2_70b_by_hand():
    """Attention 8192 x 128 x 2 x (64 + 8), gated FFN 3 x 8192 x 28672; 80 such layers."""
    model = find_model("llama-2-70b")
    (kind,) = model.kinds
    assert model.num_layers == 80
    assert kind.attention_weights == 150_994_944
    assert kind.ffn_weights == 704_643_072
    assert kind.weights == 855_638_016
    assert model.num_parameters == pytest.approx(68.98e9, rel=1e-3)


def test_a_token_visits_two_of_eight_experts_of_mixtral():
    (kind,) = find_model("mixtral-8x7b").kinds
    assert kind.ffn_weights == 8 * 3 * 4096 * 14336
    assert kind.active_ffn_weights == 2 * 3 * 4096 * 14336


def test_qwen3_30b_activates_three_billion():
    """3.3 billion with the embedding and head, as the name says."""
    model = find_model("qwen3-30b-a3b")
    active = sum(kind.active_weights for kind in model.layers)
    assert active + model.head_weights + model.embedding_weights == pytest.approx(3.3e9, rel=0.02)


def test_models_answer_to_repository_names_and_any_case():
    assert find_model("meta-llama/Llama-2-70b-hf").name == "llama-2-70b"
    assert find_model("Qwen3-30B-A3B").name == "qwen3-30b-a3b"
    assert set(model_aliases().values()) <= set(load_models())


def test_an_unknown_model_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"Unknown model 'gpt-5'. Known: opt-1.3b") as caught:
        find_model("gpt-5", "/model")
    assert caught.value.pointer == "/model"


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_CONFIGS.items())
def test_parameters_read_from_a_config_are_the_published_ones(name, parameters):
    """Within 0.05 %: biases of experts and of the head are left out."""
    assert read(name).num_parameters == pytest.approx(parameters, rel=5e-4)


def test_mistral_slides_a_window_over_all_layers():
    assert windows(read("mistral-7b-v0.1")) == [4096] * 32


def test_a_sliding_window_that_is_not_used_is_none():
    assert windows(read("qwen2.5-0.5b")) == [None] * 24


def test_gemma_2_alternates_between_window_and_full_attention():
    model = read("gemma-2-9b")
    assert windows(model) == [4096, None] * 21
    assert [kind.name for kind in model.kinds] == ["decoder-window", "decoder-full"]


def test_gemma_3_attends_fully_in_every_sixth_layer():
    model = read("gemma-3-4b")
    assert [i for i, window in enumerate(windows(model)) if window is None] == [5, 11, 17, 23, 29]
    assert model.kinds[0].heads == 8
    assert model.vocab == 262208


def test_gemma_3_27b_has_ten_full_layers_of_62():
    model = find_model("gemma-3-27b")
    assert [i for i, window in enumerate(windows(model)) if window is None] == list(range(5, 62, 6))
    assert {window for window in windows(model) if window} == {1024}


def test_layer_types_say_which_layers_slide():
    assert windows(read("gpt-oss-20b")) == [128, None] * 12


def test_qwen2_slides_from_max_window_layers_on():
    config = LLAMA | {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 1024,
        "max_window_layers": 30,
    }
    assert windows(model_from_config(config, "m")) == [None] * 30 + [1024] * 2


def test_the_first_layer_of_deepseek_moe_is_dense():
    model = read("deepseek-moe-16b")
    assert model.layer_kinds == (0,) + (1,) * 27
    dense, sparse = model.kinds
    assert (dense.name, dense.ffn, dense.num_experts) == ("decoder-dense", 10944, 0)
    assert (sparse.name, sparse.ffn, sparse.shared_ffn) == ("decoder-moe", 1408, 2 * 1408)


def test_the_first_layer_of_glm_4_5_air_is_dense():
    """Every token of the others visits 8 of 128 experts and one more: 9 x 3 x 4096 x 1408."""
    model = find_model("glm-4.5-air")
    assert model.layer_kinds == (0,) + (1,) * 45
    dense, sparse = model.kinds
    assert (dense.name, dense.ffn_weights) == ("decoder-dense", 3 * 4096 * 10944)
    assert (sparse.name, sparse.ffn_weights) == ("decoder-moe", 129 * 3 * 4096 * 1408)
    assert sparse.active_ffn_weights == 9 * 3 * 4096 * 1408


def test_glm_4_5_air_is_read_from_its_own_config():
    """As published, with `attention_bias`, counted also where the output has none."""
    config = {
        "architectures": ["Glm4MoeForCausalLM"],
        "attention_bias": True,
        "first_k_dense_replace": 1,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 10944,
        "max_position_embeddings": 131072,
        "model_type": "glm4_moe",
        "moe_intermediate_size": 1408,
        "n_group": 1,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "num_attention_heads": 96,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 46,
        "num_key_value_heads": 8,
        "num_nextn_predict_layers": 1,
        "tie_word_embeddings": False,
        "topk_group": 1,
        "use_qk_norm": False,
        "vocab_size": 151552,
    }
    model = model_from_config(config, "m")
    assert model.num_parameters - 46 * 4096 == PUBLISHED["glm-4.5-air"]
    assert model.notes == ()


@pytest.mark.parametrize("model_type", ["deepseek_v2", "deepseek_v3"])
def test_dense_first_layers_do_not_make_up_for_latent_attention(model_type):
    """DeepSeek-V2-Lite and Moonlight: one dense layer, then experts, all with MLA."""
    config = LLAMA | {"model_type": model_type, "first_k_dense_replace": 1, "kv_lora_rank": 512}
    with pytest.raises(InputError, match=r"multi-head latent attention \(MLA\): not modelled"):
        model_from_config(config, "m")


def test_experts_in_every_second_layer_and_not_where_listed():
    config = LLAMA | {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 6,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 512,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [3],
    }
    layers = model_from_config(config, "m").layers
    assert [bool(kind.num_experts) for kind in layers] == [False, True, False, False, False, True]


def test_falcon_7b_has_one_head_of_keys_and_values():
    assert read("falcon-7b").kinds[0].kv_heads == 1
    assert read("falcon-40b").kinds[0].kv_heads == 8


def test_opt_has_two_positions_more_than_it_says():
    assert read("opt-125m").learned_positions == 2050


def test_starcoder_has_one_head_of_keys_and_values_and_no_gate():
    """40 layers of 379 128 064 weights, (49 152 + 8 192) x 6 144 embedded, 12 288 in the norm."""
    model = model_from_config(STARCODER, "starcoder")
    (kind,) = model.kinds
    assert (kind.kv_heads, kind.gated, kind.ffn) == (1, False, 24576)
    assert model.num_parameters == 15_517_456_384
    assert (model.max_positions, model.learned_positions) == (8192, 8192)
    assert model.notes == ()


def test_starcoder_without_multi_query_has_as_many_heads_as_queries():
    model = model_from_config(STARCODER | {"multi_query": False}, "m")
    assert model.kinds[0].kv_heads == 48


def test_the_activation_of_gpt_2s_kin_goes_without_a_gate():
    """EXAONE gates its silu; GPT-J's gelu_new, and any gelu under this name, has no gate."""
    new = {"model_type": "new", "architectures": ["NewForCausalLM"]}
    for activation, gated in (("silu", True), ("gelu_new", False), ("gelu_pytorch_tanh", False)):
        config = LLAMA | new | {"activation_function": activation}
        assert model_from_config(config, "m").kinds[0].gated is gated


POSITIONS = {
    "opt-": 2048,
    "bloom-": 2048,
    "llama-1-": 2048,
    "llama-2-": 4096,
    "llama-3.1-": 131072,
    "mistral-": 32768,
    "mixtral-": 32768,
    "qwen2.5-": 32768,
    "qwen3-": 40960,
    "gemma-3-": 131072,
    "glm-4.5-": 131072,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_catalogue_knows_how_many_positions_a_model_has(name):
    (positions,) = (each for prefix, each in POSITIONS.items() if name.startswith(prefix))
    assert find_model(name).max_positions == positions
    assert find_model(name).notes == ()


@pytest.mark.parametrize(
    ("scaling", "positions"),
    [
        ({"type": "linear", "factor": 2.0}, 4096),
        ({"rope_type": "dynamic", "factor": 4}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 4096),
        ({"rope_type": "yarn", "factor": 4.0}, 8192),
        ({"rope_type": "llama3", "factor": 8.0}, 2048),
        ({"rope_type": "default"}, 2048),
    ],
)
def test_scaled_positions_count_as_often_as_they_are_scaled(scaling, positions):
    config = LLAMA | {"max_position_embeddings": 2048, "rope_scaling": scaling}
    assert model_from_config(config, "m").max_positions == positions


@pytest.mark.parametrize("factor", [0, -1, "2", True, float("nan")])
def test_a_scale_of_positions_that_is_no_number_is_named(factor):
    config = LLAMA | {
        "max_position_embeddings": 2048,
        "rope_scaling": {"type": "linear", "factor": factor},
    }
    with pytest.raises(InputError, match="factor") as caught:
        model_from_config(config, "m")
    assert caught.value.pointer.endswith("/rope_scaling/factor")


@pytest.mark.parametrize(
    ("name", "positions"),
    [("bloom-560m", 2048), ("gpt2", 1024), ("opt-125m", 2048), ("falcon-7b", None)],
)
def test_positions_stand_under_several_names_or_nowhere(name, positions):
    assert read(name).max_positions == positions


@pytest.mark.parametrize(
    ("quantization", "how"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq, 4 bits"),
        ({"quant_method": "awq", "w_bit": 4}, "awq, 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"quant_method": "fp8"}, "fp8"),
        ({}, "method not named"),
    ],
)
def test_a_quantised_checkpoint_is_noted(quantization, how):
    model = model_from_config(LLAMA | {"quantization_config": quantization}, "m")
    (note,) = model.notes
    assert note == (
        f"The weights in this checkpoint are already quantised ({how}); "
        "hetplan plans formats from 16 bits."
    )
    assert model.kinds == model_from_config(LLAMA, "m").kinds


def test_a_quantised_checkpoint_is_noted_beside_a_text_config():
    config = {"text_config": LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 8}}
    (note,) = model_from_config(config, "m").notes
    assert "gptq, 8 bits" in note


def test_heads_without_kv_heads_are_not_grouped():
    assert model_from_config(LLAMA, "m").kinds[0].kv_heads == 32


def test_a_head_may_be_wider_than_its_share():
    assert model_from_config(LLAMA | {"head_dim": 256}, "m").kinds[0].head_dim == 256


def test_an_unknown_causal_model_is_read_as_llama_like_and_says_so():
    config = LLAMA | {"model_type": "new", "architectures": ["NewForCausalLM"]}
    model = model_from_config(config, "m")
    assert model.kinds == model_from_config(LLAMA, "m").kinds
    assert model.source.endswith("read as a Llama-like decoder")
    (note,) = model.notes
    assert note == (
        "model_type 'new' is not known by name: m is read as a Llama-like decoder of 6.61 billion "
        "parameters; check that number."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": None}, "`model_type` is missing"),
        ({"model_type": "clvp"}, "not a known decoder"),
        ({"model_type": "deepseek_v3"}, "MLA"),
        ({"kv_lora_rank": 512}, "MLA"),
        ({"mamba_d_state": 16}, "state-space"),
        ({"state_size": 128}, "state-space"),
        ({"ssm_cfg": {}}, "state-space"),
        ({"block_configs": []}, "different shapes"),
        ({"text_config": LLAMA, "model_type": "mllama"}, "cross-attention"),
        ({"quantization_config": 4}, "must be an object"),
        ({"quantization_config": {"bits": "four"}}, "must be a whole number"),
        ({"max_position_embeddings": 0}, "must lie between 1"),
        (
            {"model_type": "new", "architectures": ["NewForCausalLM"], "moe_num_experts": 8},
            "experts under this name are not known",
        ),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"hidden_size": None}, "`hidden_size` .* is missing"),
        ({"hidden_size": 0}, "0 must lie between 1"),
        ({"hidden_size": "4096"}, "'4096' must be a whole number"),
        ({"hidden_size": True}, "True must be a whole number"),
        ({"hidden_size": float("nan")}, "nan must be a whole number"),
        ({"num_hidden_layers": 10**9}, "must lie between 1 and 10000"),
        ({"num_attention_heads": 33}, "do not divide hidden_size"),
        ({"num_key_value_heads": 5}, "kv_heads 5 does not divide heads 32"),
        ({"intermediate_size": None}, "`intermediate_size` is missing"),
        ({"tie_word_embeddings": "no"}, "must be true or false"),
        ({"num_local_experts": 8}, "`num_experts_per_tok` .* is missing"),
        ({"num_local_experts": 4, "num_experts_per_tok": 5}, "experts_per_token is 5 of 4"),
        ({"layer_types": ["full_attention"]}, "names 1 layers, but there are 32"),
        ({"layer_types": ["linear_attention"] * 32}, "'linear_attention' is not modelled"),
        ({"layer_types": ["sliding_attention"] * 32}, "`sliding_window` is missing"),
        ({"text_config": 3}, "must be an object"),
        ({"model_type": "opt", "ffn_dim": 512, "word_embed_proj_dim": 512}, "differs from"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(InputError, match=message) as caught:
        model_from_config(LLAMA | change, "m", "/model/config")
    assert caught.value.pointer.startswith("/model/config")


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("mamba", "has state-space layers"),
        ("mamba2", "has state-space layers"),
        ("falcon_mamba", "has state-space layers"),
        ("rwkv", "has recurrent layers"),
        ("recurrent_gemma", "has recurrent layers"),
        ("jamba", "has hybrid layers"),
        ("t5", "is an encoder-decoder, not a decoder"),
        ("bart", "is an encoder-decoder, not a decoder"),
        ("bert", "is an encoder, not a decoder"),
    ],
)
def test_what_is_no_plain_decoder_is_refused_by_name(model_type, why):
    """Even when all figures of a decoder are there and the architecture says causal."""
    config = LLAMA | {"model_type": model_type, "architectures": ["AnyForCausalLM"]}
    with pytest.raises(InputError, match=f"'{model_type}' {why}: not modelled") as caught:
        model_from_config(config, "m", "/model/config")
    assert caught.value.pointer == "/model/config/model_type"


def test_a_config_must_be_an_object():
    with pytest.raises(InputError, match="must be a JSON object, not list"):
        model_from_config([], "m")  # type: ignore[arg-type]


def test_a_model_needs_layers_of_known_kinds():
    model = find_model("opt-1.3b")
    with pytest.raises(InputError, match="has no layers"):
        replace(model, layer_kinds=())
    with pytest.raises(InputError, match="count from 0"):
        replace(model, layer_kinds=(0, 1))


FIELDS = sorted(
    set(LLAMA)
    | {"head_dim", "num_key_value_heads", "num_experts", "num_local_experts", "layer_types"}
    | {"num_experts_per_tok", "moe_intermediate_size", "sliding_window", "use_sliding_window"}
    | {"mlp_only_layers", "text_config", "tie_word_embeddings", "architectures", "moe_layer_freq"}
    | {"first_k_dense_replace", "n_shared_experts", "max_window_layers", "attention_bias"}
    | {"max_position_embeddings", "n_layer", "n_head", "n_embd", "sliding_window_pattern"}
    | {"quantization_config", "bits", "multi_query", "activation_function", "n_ctx"}
)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([*FAMILIES, "full_attention"]),
    st.lists(st.one_of(st.integers(-1, 5), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 9), max_size=3),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(change=st.dictionaries(st.sampled_from(FIELDS), CELLS, max_size=8))
def test_any_config_is_either_a_model_or_an_input_error(change):
    try:
        model = model_from_config(LLAMA | change, "m")
    except InputError:
        return
    assert model.num_layers >= 1
    assert model.num_parameters >= 1
