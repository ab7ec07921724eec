"""Stage times and bytes of requests of several lengths: means over their buckets."""

import numpy as np
import pytest

from cost_model.lookup import CostTables
from cost_model.source import Source
from cost_model.stages import (
    StageType,
    decode_contexts,
    prompt_lengths,
    stage_bytes,
    stage_times,
)
from profiles.cluster import EngineSettings, Workload
from profiles.formats import find_format
from profiles.gpus import find_gpu
from profiles.kernels import default_kernel
from profiles.lengths import LengthBucket, group_lengths
from profiles.links import find_link
from profiles.models import find_model

FORMATS = (find_format("w16a16"), find_format("w4a16"))
SIZES = np.array([1, 4])
SHORT, LONG = (64, 11), (640, 201)


def served(*lengths):
    """Requests of these (prompt, output, weight)."""
    buckets = [
        LengthBucket(prompt_tokens=prompt, output_tokens=output, weight=weight)
        for prompt, output, weight in lengths
    ]
    return Workload.mixed(buckets, batch_sizes=(4,))


def stage():
    gpu = find_gpu("A10")
    kernels = {each.name: default_kernel("vllm", each, gpu) for each in FORMATS}
    link = find_link("pcie4-x16")
    return StageType(gpu=gpu, tp=1, link=link, kernels=kernels, formats=np.array([True, True]))


def priced(workload, model="llama-2-7b", tables=None):
    return stage_times(
        find_model(model),
        [stage()],
        FORMATS,
        EngineSettings(),
        workload,
        SIZES,
        tables or CostTables(),
    )


def held(workload, model="llama-2-7b"):
    return stage_bytes(find_model(model), [1], FORMATS, EngineSettings(), workload, SIZES)


def test_prompts_count_by_requests_and_contexts_by_decode_steps():
    """3/4 decode 10 steps at 69 tokens, 1/4 200 steps at 740: 7.5 and 50 of 57.5 steps."""
    workload = served((*SHORT, 3), (*LONG, 1))
    assert prompt_lengths(workload) == {64: 0.75, 640: 0.25}
    assert decode_contexts(workload) == pytest.approx({69.0: 7.5 / 57.5, 740.0: 50 / 57.5})


def test_stage_times_are_means_over_the_lengths():
    mixed, _ = priced(served((*SHORT, 3), (*LONG, 1)))
    (short, _), (long, _) = priced(served((*SHORT, 1))), priced(served((*LONG, 1)))
    for name, share in (("prefill", 0.25), ("decode", 50 / 57.5)):
        for part in ("", "embedding_", "head_"):
            at = f"{part}{name}_s"
            assert mixed[at] == pytest.approx((1 - share) * short[at] + share * long[at])


def test_all_decode_steps_of_a_mean_request_take_what_the_requests_take():
    """(mean n - 1) decode steps at the mean step are the mean of each request's own steps."""
    mixed, _ = priced(served((*SHORT, 3), (*LONG, 1)))
    (short, _), (long, _) = priced(served((*SHORT, 1))), priced(served((*LONG, 1)))
    together = 0.75 * 10 * short["decode_s"] + 0.25 * 200 * long["decode_s"]
    assert 57.5 * mixed["decode_s"] == pytest.approx(together)


def test_a_request_of_one_token_decodes_nothing():
    """Its context, however long, is not in the decode step; alone it leaves decode uncounted."""
    with_it, _ = priced(served((*SHORT, 1), (4000, 1, 1)))
    without, _ = priced(served((*SHORT, 1)))
    assert with_it["decode_s"] == pytest.approx(without["decode_s"])
    assert with_it["prefill_s"][0, 0, 0, 0] > without["prefill_s"][0, 0, 0, 0]
    _, sources = priced(served((64, 1, 1), (4000, 1, 1)))
    # Prefill alone: two lengths x two sizes of two formats, embedding and head.
    assert sources.counts == {Source.ANALYTIC: 2 * 2 * 4}


def test_the_cache_is_the_mean_at_full_length_and_work_space_the_longest():
    """3/4 x 75 + 1/4 x 841 tokens of 16 384 bytes; activations of 640 tokens a prompt."""
    mixed = held(served((*SHORT, 3), (*LONG, 1)))
    assert mixed["kv_bytes"][0, 0] == pytest.approx((0.75 * 75 + 0.25 * 841) * 16_384)
    longest = held(served((*LONG, 1)))
    assert mixed["prefill_work_bytes"].tolist() == longest["prefill_work_bytes"].tolist()


def test_a_window_cuts_the_cache_of_each_length_by_itself():
    """Gemma-3-27B: of 75 and 4200 tokens the window keeps 75 and 1024, full attention all."""
    bytes_per_token = 2 * 16 * 128 * 2  # keys and values of 16 heads of 128 numbers, 2 bytes each
    kv = held(served((*SHORT, 1), (4000, 200, 1)), "gemma-3-27b")["kv_bytes"][0]
    assert kv.tolist() == pytest.approx(
        [(75 + 1024) / 2 * bytes_per_token, (75 + 4200) / 2 * bytes_per_token]
    )


def test_a_grouped_trace_is_priced_like_its_rows():
    """400 prompts and answers, log-normal: every time within 1 %, the cache within 0.1 %."""
    rng = np.random.default_rng(7)
    tokens = np.exp(rng.normal([6.0, 5.0], [1.0, 0.8], size=(400, 2))).astype(int) + 1
    rows = [LengthBucket(prompt_tokens=int(s), output_tokens=int(n)) for s, n in tokens]
    whole, grouped = (
        Workload.mixed(each, batch_sizes=(4,)) for each in (rows, group_lengths(rows))
    )
    exact, _ = priced(whole)
    near, _ = priced(grouped)
    for name in exact:
        assert near[name] == pytest.approx(exact[name], rel=1e-2), name
    assert held(grouped)["kv_bytes"] == pytest.approx(held(whole)["kv_bytes"], rel=1e-3)
