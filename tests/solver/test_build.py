"""From a request's nouns to a problem: where its times and losses come from, and warnings."""

from dataclasses import replace

import numpy as np
import pytest

from cost_model.source import Source
from profiles.cluster import Cluster, EngineSettings, GpuGroup, Node, Workload
from profiles.errors import InputError
from profiles.gpus import find_gpu
from profiles.links import default_link, find_link
from profiles.models import find_model
from profiles.tables import cost_table_from_rows
from solver import FormatChoice, Plan, QualityChoice, Stage, build_problem, evaluate

T4 = find_gpu("T4")
ONE_T4 = Cluster(
    nodes=(
        Node(
            name="a",
            groups=(GpuGroup(gpu=T4, count=1),),
            link=default_link([T4]),
            nic=find_link("ethernet-10g"),
        ),
    )
)
SERVED = Workload(
    batch_sizes=(4,),
    prompt_tokens=512,
    output_tokens=101,
    prefill_micro_batches=(2, 4),
    decode_micro_batches=(2, 4),
)


def build(model="llama-2-7b", *, workload=SERVED, formats=("w4a16",), tables=(), **more):
    """What is built of a model on one T4 in vLLM."""
    return build_problem(
        model=find_model(model) if isinstance(model, str) else model,
        cluster=ONE_T4,
        workload=workload,
        engine=EngineSettings(name="vllm"),
        formats=FormatChoice(default=formats),
        tables=tables,
        **more,
    )


def table(points, *, model="llama-2-7b", phase="prefill"):
    """Rows about the 4-bit layer on a T4; points are pairs of batch and tokens, all of 1 ms."""
    about = {
        "gpu": "T4",
        "engine": "vllm",
        "model": model,
        "layer_kind": "decoder",
        "kernel": "gptq_gemm",
        "weight_bits": 4,
        "act_bits": 16,
        "kv_bits": 16,
        "group_size": 128,
        "tp": 1,
        "phase": phase,
        "latency_us": 1000.0,
        "source": "this test",
        "provenance": "measured",
    }
    rows = [about | {"batch": batch, "tokens": tokens} for batch, tokens in points]
    return cost_table_from_rows(rows, "own.csv")


# Sizes.


def test_the_sizes_that_batches_leave_over_are_priced():
    """10 = 4 + 4 + 2 and 7 + 3; of 17 requests the last batch of 7 leaves 3 = 7 - 4 over."""
    sizes = {"prefill_micro_batches": (4, 10), "decode_micro_batches": (7,)}
    workload = replace(SERVED, batch_sizes=(10,), num_requests=17, **sizes)
    problem = build(workload=workload).problem
    assert problem.micro_batches.tolist() == [2, 3, 4, 7, 10]
    (batch,) = problem.batches
    assert [problem.micro_batches[i] for i in batch.prefill + batch.decode] == [4, 10, 7]


def test_a_plan_takes_as_long_whatever_else_may_be_chosen():
    """32 requests by 24, in a request with that size alone and in one with many."""
    few = replace(
        SERVED, batch_sizes=(32,), prefill_micro_batches=(24,), decode_micro_batches=(24,)
    )
    sizes = {"prefill_micro_batches": (*range(1, 29),), "decode_micro_batches": (8, 24)}
    many = replace(few, batch_sizes=(28, 32), **sizes)
    stage = Stage(group=0, first_layer=0, formats=(0,) * 32)
    plan = Plan(stages=(stage,), batch_size=32, prefill_micro_batch=24, decode_micro_batch=24)
    values = [evaluate(build(workload=workload).problem, plan) for workload in (few, many)]
    assert values[0].latency_s == values[1].latency_s


# Sources of times.


def test_every_time_of_a_problem_is_counted():
    """One stage type: (1 format x 1 kind + embedding + head) x 2 sizes x 2 phases."""
    built = build()
    assert built.times_by_source == {"measured": 0, "interpolated": 0, "analytic": 12}
    assert built.source is Source.ANALYTIC


def test_own_measurements_are_counted_apart():
    """Batch 4 was measured and batch 2 lies between 1 and 4; embedding and head are modelled."""
    built = build(tables=(table([(1, 512), (4, 512)]),))
    assert built.times_by_source == {"measured": 1, "interpolated": 1, "analytic": 10}
    np.testing.assert_allclose(built.problem.prefill_s[0, 0, 0], 1e-3)
    assert built.warnings == ()


def test_times_of_decode_do_not_count_where_nothing_is_decoded():
    built = build(workload=replace(SERVED, output_tokens=1))
    assert sum(built.times_by_source.values()) == 6


def test_a_table_that_answers_nothing_is_told_and_what_was_asked():
    """512 prompt tokens lie outside a table of 128 to 256."""
    (warning,) = build(tables=(table([(1, 128), (4, 256)]),)).warnings
    assert warning == (
        "The cost tables of the request answer nothing (2 rows). Asked: model llama-2-7b, engine "
        "vllm, layer kinds decoder, embedding, lm_head, 512 prompt tokens in prefill, 562 context "
        "tokens in decode, batch sizes 2, 4. A table answers at its points and between them, "
        "never outside."
    )


def test_rows_about_other_models_are_told():
    tables = (table([(1, 512), (4, 512)]), table([(1, 512)], model="llama-2-13b"))
    assert build(tables=tables).warnings == (
        "1 row is about other models (llama-2-13b), not llama-2-7b, and not used.",
    )


def test_tables_about_other_models_alone_answer_nothing():
    others, nothing = build(tables=(table([(1, 512), (4, 512)], model="mine"),)).warnings
    assert others == "2 rows are about other models (mine), not llama-2-7b, and not used."
    assert "answer nothing (2 rows)" in nothing


def test_many_sizes_are_not_all_listed():
    workload = Workload(batch_sizes=(64,), prompt_tokens=512, output_tokens=101)
    (warning,) = build(workload=workload, tables=(table([(1, 9)]),)).warnings
    assert "batch sizes 1, 2, 3, 4, 5, 6, 7 ... 64." in warning


# Models.


def test_notes_of_a_model_become_warnings():
    model = replace(find_model("llama-2-7b"), notes=("Mind the gap.",))
    assert build(model).warnings == ("Mind the gap.",)


def test_requests_longer_than_the_model_are_warned_of():
    """3996 + 101 tokens are one more than Llama-2's 4096."""
    assert build(workload=replace(SERVED, prompt_tokens=3995)).warnings == ()
    (warning,) = build(workload=replace(SERVED, prompt_tokens=3996)).warnings
    assert "4097 tokens together, but llama-2-7b has 4096 positions" in warning


def test_requests_longer_than_learned_positions_are_refused():
    with pytest.raises(InputError, match="has 2048 positions, which are learned") as caught:
        build("opt-1.3b", workload=replace(SERVED, prompt_tokens=2000))
    assert caught.value.pointer == "/workload/prompt_tokens"


def test_a_model_that_does_not_tell_its_positions_takes_any_request():
    model = replace(find_model("llama-2-7b"), max_positions=None)
    assert build(model, workload=replace(SERVED, prompt_tokens=100_000)).warnings == ()


# Quality.


def test_the_text_on_quality_begins_with_its_provenance():
    assert build().quality_source.startswith("measured: 0.02527 nats at uniform 4 bits for")
    assert build("opt-1.3b").quality_source.startswith("analytic: 0.0286 nats")


def test_a_given_loss_is_not_called_measured():
    built = build(quality=QualityChoice(nats_at_4_bits=0.1))
    assert built.quality_source == (
        "given: 0.1 nats at uniform 4 bits, given in the request; "
        "W8A8: 0.0075 nats as published for llama-2-7b"
    )
    assert built.default_loss_limit_nats == pytest.approx(0.1)


def test_given_losses_of_layers_say_so():
    losses = tuple((0.01,) for _ in range(32))
    built = build(quality=QualityChoice(loss_nats=losses))
    assert built.quality_source == "given: losses of every layer in the request"
    assert built.default_loss_limit_nats == pytest.approx(0.32)


def test_eight_bits_do_not_exceed_the_default_limit_of_four():
    """OPT-1.3b has no published W8A8 loss; a plan in W8A8 alone keeps the default limit."""
    built = build("opt-1.3b", formats=("w8a8",))
    assert built.problem.loss_nats.sum() <= built.default_loss_limit_nats
