"""Seconds of layers: by hand, against the datasheet, and in the directions they must go."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_model.answer import needed_full_kernel
from cost_model.latency import (
    decode_layer_s,
    embedding_s,
    head_s,
    prefill_layer_s,
    tp_allowed,
)
from cost_model.lookup import CostTables
from cost_model.roofline import roofline_s
from cost_model.source import Source
from cost_model.work import decode_work, linear_work, matrix_work, prefill_work
from profiles.architecture import LayerKind
from profiles.coefficients import coefficients_for, load_coefficients
from profiles.errors import MissingProfileError
from profiles.formats import find_format
from profiles.gpus import find_gpu, load_gpus
from profiles.kernels import default_kernel, find_kernel, load_kernels
from profiles.links import default_link
from profiles.models import find_model
from profiles.tables import cost_table_from_rows

NO_TABLES = CostTables()
LLAMA_70B = find_model("llama-2-70b")
SMALL = LayerKind(
    name="decoder", hidden=1024, heads=8, kv_heads=2, head_dim=128, ffn=4096, gated=True
)


def seconds(phase, gpu_name, form="w16a16", *, kind=None, tp=1, batch=(8,), tokens=512, **more):
    """Seconds of a layer (Llama-2-70b's by default) in vLLM, with nothing but its own link."""
    gpu = find_gpu(gpu_name)
    engine = more.get("engine", "vllm")
    format_ = find_format(form)
    kernel = default_kernel(engine, format_, gpu)
    if "kernel" in more:
        kernel = find_kernel(engine, format_, gpu, more["kernel"])
    about = (kind or LLAMA_70B.kinds[0], gpu, engine, kernel, format_, tp, default_link([gpu]))
    tables, batch = more.get("tables", NO_TABLES), np.array(batch)
    if phase == "prefill":
        return prefill_layer_s(*about, batch, tokens, tables)
    return decode_layer_s(*about, batch, tokens, more.get("kv_bits", 16), tables)


# By hand.


@pytest.fixture
def round_gpu():
    """100 TFLOP/s in fp16, 200 in int8, 1 TB/s."""
    return replace(find_gpu("A10"), fp16_flops=100e12, int8_ops=200e12, memory_bytes_per_s=1e12)


@pytest.fixture
def round_coefficients():
    """Half of every peak, a sharp corner, and nothing besides."""
    return replace(
        coefficients_for("A10", "vllm", "cublas", "w16a16"),
        compute_share=0.5,
        memory_share=0.5,
        cache_share=0.5,
        attention_share=0.5,
        group_penalty=0.0,
        attention_half_tokens=0.0,
        activation_factor=0.0,
        half_tokens=0.0,
        wave_share=0.0,
        narrow_factor=0.0,
        step_share=0.0,
        input_factor=0.0,
        sharpness=np.inf,
        layer_overhead_s=0.0,
        host_floor_s=0.0,
    )


def test_a_decode_step_reads_weights_and_cache_by_hand(round_gpu, round_coefficients):
    """
    Attention 1024 x 128 x 2 x (8 + 2) = 2 621 440 weights, FFN 3 x 1024 x 4096 = 12 582 912.

    15 204 352 x 2 bytes at 0.5 TB/s are 60.817408 us, and 4 rows of 2 560, 2 048, 9 216 and 5 120
    inputs and outputs, 151 552 bytes, 0.303104 us; 4 requests x 500 tokens x 2 x 2 x 128
    numbers x 2 bytes = 2 048 000 bytes are 4.096 us.
    """
    work = decode_work(SMALL, 1, np.array([4]), 500, 16)
    found = roofline_s(work, round_gpu, find_format("w16a16"), round_coefficients)
    assert found == pytest.approx(60.817408e-6 + 0.303104e-6 + 4.096e-6)


def test_prefill_multiplies_weights_and_attends_by_hand(round_gpu, round_coefficients):
    """
    2 x 15 204 352 x 4000 FLOP at 50 TFLOP/s are 2432.69632 us.

    Attention: 4 requests x 1000^2 / 2 pairs x 4 x 8 x 128 FLOP = 8.192e9, 163.84 us.
    """
    work = prefill_work(SMALL, 1, np.array([4]), 1000)
    found = roofline_s(work, round_gpu, find_format("w16a16"), round_coefficients)
    assert found == pytest.approx(2432.69632e-6 + 163.84e-6)


def product(rows, inputs, outputs):
    return matrix_work(inputs, outputs, 1, np.array([float(rows)]))


def test_tiles_and_waves_are_paid_whole_by_hand(round_gpu, round_coefficients):
    """
    130 rows x 1280 outputs are 2 x 10 tiles of 128 x 128: two waves on 16 multiprocessors.

    They compute 2 x 16 x 128 x 128 = 524 288 outputs instead of 166 400, each 2 x 8192 FLOP at
    50 TFLOP/s: 171.8 us.
    """
    gpu = replace(round_gpu, multiprocessors=16)
    whole = replace(round_coefficients, wave_share=1.0)
    found = roofline_s(product(130, 8192, 1280), gpu, find_format("w16a16"), whole)
    assert found == pytest.approx(524_288 * 2 * 8192 / 50e12)


def test_beyond_a_step_weights_are_read_more_slowly(round_gpu, round_coefficients):
    """32 rows read once; 33 half as slowly again, 65 twice; 129 half as slowly, for tiles pay."""
    stepped = replace(round_coefficients, step_rows=32.0, step_share=0.5)
    weights = 2 * 8192 * 8192

    def reading(rows):
        seconds = roofline_s(product(rows, 8192, 8192), round_gpu, find_format("w16a16"), stepped)
        return seconds[0] * 0.5e12 - 2 * rows * 2 * 8192

    assert [reading(rows) / weights for rows in (32, 33, 65, 129)] == pytest.approx(
        [1, 1.5, 2, 1.5]
    )


def test_activations_that_are_quantised_first_are_moved_once_more(round_gpu, round_coefficients):
    """4 times 16 bits of 100 x 8192 inputs at 1 TB/s: 6.5536 us."""
    moved = replace(round_coefficients, input_factor=4.0)
    form = find_format("fp8")
    both = [roofline_s(product(100, 8192, 8192), round_gpu, form, c)
            for c in (moved, round_coefficients)]  # fmt: skip
    assert both[0] - both[1] == pytest.approx(2 * 4 * 100 * 8192 / 1e12)


def test_int8_activations_use_the_int8_cores(round_gpu, round_coefficients):
    work = linear_work(SMALL, 1, np.array([4000.0]))
    full = roofline_s(work, round_gpu, find_format("w16a16"), round_coefficients)
    low = roofline_s(work, round_gpu, find_format("w8a8"), round_coefficients)
    assert full / low == pytest.approx(2)


def test_two_gpus_add_two_all_reduces_by_hand():
    """Halved layer plus 2 x (33.2 us + 2 x 1/2 x 8 x 8192 x 2 bytes / 4.77 GB/s) on an L4 pair."""
    gpu, link = find_gpu("L4"), default_link([find_gpu("L4")])
    work = decode_work(LLAMA_70B.kinds[0], 2, np.array([8]), 512, 16)
    form = find_format("w16a16")
    alone = roofline_s(work, gpu, form, coefficients_for("L4", "vllm", "cublas", "w16a16"))
    reduced = link.all_reduce_latency_s + 8 * 8192 * 2 / link.all_reduce_bytes_per_s
    assert seconds("decode", "L4", tp=2).seconds == pytest.approx(alone + 2 * reduced)


# Kinds of layer.


def test_decode_reads_the_experts_that_the_batch_is_expected_to_visit():
    """Mixtral visits 2 of 8: one token reads 2, four tokens 8 (1 - 0.75^4) = 5.46875."""
    kind = find_model("mixtral-8x7b").kinds[0]
    work = linear_work(kind, 1, np.array([1.0, 4.0, 1000.0]))
    read = (work.weights - kind.attention_weights) / kind.expert_weights
    assert read == pytest.approx([2, 5.46875, 8])
    assert work.multiply_adds == pytest.approx(np.array([1, 4, 1000]) * kind.active_weights)


def test_a_window_bounds_context_and_prefill_attention():
    """Beyond a window of 1000 decode costs no more; 3000 tokens see 1000 x (3000 - 500) pairs."""
    windowed = replace(SMALL, window=1000)
    near, far = (decode_work(windowed, 1, np.array([2]), t, 16) for t in (1000, 50_000))
    assert near.cache_bytes == far.cache_bytes
    work = prefill_work(windowed, 1, np.array([1]), 3000)
    assert work.attention_flops == pytest.approx(4 * 1000 * 2500 * 8 * 128)


def test_an_eight_bit_cache_is_half_the_traffic():
    full, half = (decode_work(SMALL, 1, np.array([2]), 100, bits) for bits in (16, 8))
    assert half.cache_bytes == full.cache_bytes / 2


def test_kv_heads_are_repeated_beyond_their_number():
    """Two KV heads over 4 GPUs: each holds one, and reads a half of the cache, not a quarter."""
    one, four = (decode_work(SMALL, tp, np.array([2]), 100, 16) for tp in (1, 4))
    assert four.cache_bytes == one.cache_bytes / 2


def test_tensor_parallelism_must_leave_whole_groups():
    """Qwen2.5-72B's FFN of 29568 is 231 groups of 128: odd, so 4-bit layers do not halve."""
    kind = find_model("qwen2.5-72b").kinds[0]
    assert tp_allowed(kind, find_format("w16a16"), 8)
    assert not tp_allowed(kind, find_format("w4a16"), 2)
    assert tp_allowed(kind, find_format("w4a16"), 1)


def test_tensor_parallelism_must_divide_heads():
    """OPT-30b has 56 heads: 8 GPUs have 7 each. LLaMA-like 52 heads do not go by 8."""
    assert tp_allowed(find_model("opt-30b").kinds[0], find_format("w16a16"), 8)
    assert not tp_allowed(replace(SMALL, heads=52, kv_heads=52), find_format("w16a16"), 8)


# Every shipped pair with a fitted model: kernels of engine torch are answered by tables alone.

PAIRS = [
    (gpu.name, kernel.engine, kernel.kernel, kernel.format)
    for gpu in load_gpus().values()
    for kernel in load_kernels()
    if kernel.runs_on(gpu) and kernel.engine != "torch"
]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_shipped_kernel_answers_and_never_beats_the_datasheet(pair):
    """Neither the peak FLOP/s nor the bandwidth of the datasheet is exceeded in any phase."""
    gpu_name, engine, kernel, form = pair
    gpu, format_ = find_gpu(gpu_name), find_format(form)
    batch, kind = np.array([1, 4, 32, 256]), LLAMA_70B.kinds[0]
    peak = gpu.int8_ops if format_.act_bits == 8 and gpu.int8_ops else gpu.fp16_flops
    for phase, work in (
        ("prefill", prefill_work(kind, 1, batch, 512)),
        ("decode", decode_work(kind, 1, batch, 512, 16)),
    ):
        found = seconds(phase, gpu_name, form, engine=engine, kernel=kernel, batch=batch).seconds
        flops = 2 * work.multiply_adds / peak
        moved = work.weights * format_.bits_per_weight / 8 + work.cache_bytes
        assert (found > flops).all()
        assert (found > moved / gpu.memory_bytes_per_s).all()


def test_all_coefficients_belong_to_a_shipped_pair():
    assert {(gpu, engine, kernel, form) for gpu, engine, kernel, form in PAIRS} == set(
        load_coefficients()
    )


@pytest.mark.parametrize("gpu", ["T4", "A10", "A100-40G-SXM", "L40S", "V100-32G"])
def test_weight_only_kernels_decode_faster_but_prefill_no_faster(gpu):
    for form in ("w8a16", "w4a16", "w3a16"):
        assert seconds("decode", gpu, form, batch=[1]).seconds < (
            seconds("decode", gpu, batch=[1]).seconds
        )
        batch = [1, 8, 64]
        low, full = seconds("prefill", gpu, form, batch=batch), seconds("prefill", gpu, batch=batch)
        assert (low.seconds >= full.seconds).all()


def test_int8_activations_speed_up_prefill():
    """1.5 to 2.1 times in published measurements of T4, A10 and A100."""
    for gpu in ("T4", "A10", "A100-80G-SXM"):
        gain = seconds("prefill", gpu).seconds / seconds("prefill", gpu, "w8a8").seconds
        assert 1.3 < gain[0] < 2.1


def test_the_kernel_of_2023_prefills_forty_times_slower():
    """LLM-PQ on a T4: 11 204 ms at 4 bits against 263 ms at 16 for 8 prompts of 512."""
    kind = find_model("opt-30b").kinds[0]
    full, low = (
        seconds("prefill", "T4", form, kind=kind, engine="llm-pq-2023").seconds
        for form in ("w16a16", "w4a16")
    )
    assert full == pytest.approx(0.263, rel=0.1)
    assert low == pytest.approx(11.204, rel=0.1)


# Directions.

GPU_NAMES = st.sampled_from(["T4", "A10", "A100-40G-SXM", "H100-SXM"])
FORMATS = st.sampled_from(["w16a16", "w8a8", "w8a16", "w4a16", "w3a16"])
PHASES = st.sampled_from(["prefill", "decode"])


@given(PHASES, GPU_NAMES, FORMATS, st.integers(1, 300), st.integers(1, 4000))
def test_more_requests_or_tokens_never_take_less_time(phase, gpu, form, batch, tokens):
    for name in ("llama-2-70b", "mixtral-8x7b"):
        kind = find_model(name).kinds[0]
        sizes = [batch, batch + 1, 2 * batch + 1]
        found = seconds(phase, gpu, form, kind=kind, batch=sizes, tokens=tokens).seconds
        longer = seconds(phase, gpu, form, kind=kind, batch=sizes, tokens=2 * tokens).seconds
        assert (np.diff(found) > 0).all()
        assert (longer >= found).all()


@given(PHASES, FORMATS, st.sampled_from([2, 4, 8]))
def test_tensor_parallelism_helps_over_nvlink(phase, form, tp):
    fewer = seconds(phase, "A100-80G-SXM", form, tp=tp // 2, batch=[16]).seconds
    assert seconds(phase, "A100-80G-SXM", form, tp=tp, batch=[16]).seconds < fewer


@given(PHASES, st.lists(st.integers(1, 500), min_size=1, max_size=9))
def test_sizes_are_answered_one_by_one(phase, batch):
    together = seconds(phase, "T4", batch=batch).seconds
    alone = [seconds(phase, "T4", batch=[size]).seconds[0] for size in batch]
    assert together == pytest.approx(alone)


# Tables.


def rows(phase, points, **more):
    """Rows about the 4-bit layer of Llama-2-70b on a T4; points map (batch, tokens) to us."""
    about = {
        "gpu": "T4",
        "engine": "vllm",
        "model": "llama-2-70b",
        "layer_kind": "decoder",
        "kernel": "gptq_gemm",
        "weight_bits": 4,
        "act_bits": 16,
        "kv_bits": 16,
        "group_size": 128,
        "tp": 1,
        "phase": phase,
        "source": "this test",
        "provenance": "measured",
    } | more
    return [
        about | {"batch": batch, "tokens": tokens, "latency_us": latency}
        for (batch, tokens), latency in points.items()
    ]


def tables_of(*all_rows):
    return CostTables.of("llama-2-70b", [cost_table_from_rows(list(all_rows), "test")])


GRID = {(1, 100): 1000.0, (4, 100): 2000.0, (1, 400): 4000.0, (4, 400): 8000.0}


def test_a_table_answers_at_its_points():
    tables = tables_of(*rows("decode", GRID))
    found = seconds("decode", "T4", "w4a16", batch=[1, 4], tokens=400, tables=tables)
    assert found.seconds == pytest.approx([4e-3, 8e-3])
    assert found.source is Source.MEASURED


def test_a_table_interpolates_log_log_between_its_points():
    """Batch 2 is half way from 1 to 4 in logarithms, 200 tokens half way from 100 to 400."""
    tables = tables_of(*rows("prefill", GRID))
    found = seconds("prefill", "T4", "w4a16", batch=[2], tokens=200, tables=tables)
    assert found.seconds == pytest.approx([1e-3 * 2**0.5 * 2])
    assert found.source is Source.INTERPOLATED


def test_the_model_answers_outside_a_table():
    tables = tables_of(*rows("decode", GRID))
    for batch, tokens in ((8, 200), (2, 401), (2, 99)):
        found = seconds("decode", "T4", "w4a16", batch=[batch], tokens=tokens, tables=tables)
        modelled = seconds("decode", "T4", "w4a16", batch=[batch], tokens=tokens)
        assert found.seconds == modelled.seconds
        assert found.source is Source.ANALYTIC


def test_the_weakest_source_of_a_call_is_reported():
    tables = tables_of(*rows("decode", GRID))
    found = seconds("decode", "T4", "w4a16", batch=[1, 2, 500], tokens=100, tables=tables)
    assert found.seconds[:2] == pytest.approx([1e-3, 1e-3 * 2**0.5])
    assert found.sources.tolist() == [Source.MEASURED, Source.INTERPOLATED, Source.ANALYTIC]
    assert found.source is Source.ANALYTIC
    assert found.num_own == 2


def test_a_row_that_is_no_measurement_says_so():
    tables = tables_of(*rows("decode", GRID, provenance="analytic"))
    found = seconds("decode", "T4", "w4a16", batch=[1], tokens=100, tables=tables)
    assert found.seconds == pytest.approx([1e-3])
    assert found.source is Source.ANALYTIC


def test_a_line_that_is_too_short_is_passed_over():
    """At 200 tokens only batches to 2 were measured, so batch 4 is read between 100 and 400."""
    tables = tables_of(*rows("decode", GRID | {(1, 200): 1.0, (2, 200): 1.0}))
    found = seconds("decode", "T4", "w4a16", batch=[1, 4], tokens=200, tables=tables)
    assert found.seconds == pytest.approx([1e-6, 4e-3])


def test_tables_keep_kernels_bits_and_models_apart():
    """None of these rows is about the question, so the model answers."""
    tables = CostTables.of(
        "llama-2-70b",
        [
            cost_table_from_rows(rows("decode", GRID, **other), "test")
            for other in (
                {"kernel": "marlin"},
                {"model": "opt-30b"},
                {"kv_bits": 8},
                {"group_size": 64},
                {"tp": 2},
                {"layer_kind": "other"},
            )
        ],
    )
    found = seconds("decode", "T4", "w4a16", batch=[1], tokens=100, tables=tables)
    assert found.source is Source.ANALYTIC


def test_the_first_table_with_a_key_answers_it():
    first, second = (
        cost_table_from_rows(rows("decode", {(1, 100): us}), "test") for us in (100.0, 200.0)
    )
    tables = CostTables.of("llama-2-70b", [first, second])
    found = seconds("decode", "T4", "w4a16", batch=[1], tokens=100, tables=tables)
    assert found.seconds == pytest.approx([1e-4])


def test_published_layers_ship_as_measurements():
    """LLM-PQ's 4-bit OPT-30b layer on a V100: 556, 1112 and 2238 ms for 2, 4 and 8 prompts."""
    tables = CostTables.of("opt-30b")
    found = seconds(
        "prefill",
        "V100-32G",
        "w4a16",
        kind=find_model("opt-30b").kinds[0],
        engine="llm-pq-2023",
        batch=[2, 4, 8],
        tables=tables,
    )
    assert found.seconds == pytest.approx([0.556, 1.112, 2.238])
    assert found.source is Source.MEASURED
    assert found.num_own == 0


# Embedding and head.


def ends(function, gpu_name, phase="decode", *, batch=(8,), tp=1, tables=NO_TABLES, tokens=512):
    gpu = find_gpu(gpu_name)
    link = default_link([gpu])
    return function(LLAMA_70B, gpu, "vllm", tp, link, phase, np.array(batch), tokens, tables)


def test_the_head_reads_its_matrix_at_least_once():
    """8192 x 32000 at 16 bits over 320 GB/s are 1.6 ms on a T4."""
    found = ends(head_s, "T4", batch=[1]).seconds
    assert 1.6e-3 < found[0] < 3.2e-3


def test_the_head_sees_one_row_per_request_in_either_phase():
    assert ends(head_s, "T4", "prefill").seconds == ends(head_s, "T4", "decode").seconds


def test_the_embedding_sees_every_prompt_token():
    decode, prefill = (ends(embedding_s, "T4", phase).seconds for phase in ("decode", "prefill"))
    assert decode < prefill < 0.01


def test_tables_answer_for_the_head():
    row = rows(
        "decode",
        {(8, 512): 1234.0},
        layer_kind="lm_head",
        kernel="cublas",
        weight_bits=16,
        group_size=None,
    )
    found = ends(head_s, "T4", tables=tables_of(*row))
    assert found.seconds == pytest.approx([1234e-6])
    assert found.source is Source.MEASURED


def test_what_no_kernel_runs_has_no_profile():
    old = replace(find_gpu("P100-12G"), name="K80", compute_capability=37)
    with pytest.raises(MissingProfileError, match=r"no 16-bit kernel on 'K80' \(sm37\)"):
        needed_full_kernel("vllm", old)


def test_what_was_never_calibrated_has_no_profile():
    gpu = replace(find_gpu("T4"), name="home-made")
    form = find_format("w4a16")
    kernel = default_kernel("vllm", form, gpu)
    with pytest.raises(MissingProfileError, match=r"'home-made'.*Add the rows"):
        decode_layer_s(
            SMALL,
            gpu,
            "vllm",
            kernel,
            form,
            1,
            default_link([gpu]),
            np.array([1]),
            9,
            16,
            NO_TABLES,
        )
