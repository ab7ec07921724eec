"""GPUs, or CPUs, of the user's own: their times come from the user's table."""

import pytest

from api.problems import InvalidRequestError
from api.service import plan_request

OWN = {"name": "CPU", "memory_gib": 20, "memory_gb_per_s": 10, "fp16_tflops": 0.1}
CPU_KEY = {"gpu": "CPU", "engine": "torch", "model": "opt-1.3b", "tp": 1, "provenance": "measured"}


def rows(*, layer_us=1000.0, ends_us=10.0):
    """A layer of 1 ms whatever the batch, embedding and head of 10 us."""
    return [
        CPU_KEY
        | {"layer_kind": kind, "kernel": "bf16", "weight_bits": 16, "act_bits": 16, "kv_bits": 16}
        | {"phase": phase, "batch": batch, "tokens": tokens, "source": "by hand"}
        | {"latency_us": layer_us if kind == "decoder" else ends_us, "group_size": None}
        for kind in ("decoder", "embedding", "lm_head")
        for phase in ("prefill", "decode")
        for batch in (1, 4)
        for tokens in (16, 64)
    ]


def request(**changes):
    return {
        "model": "opt-1.3b",
        "engine": "torch",
        "cluster": {
            "own_gpus": [OWN],
            "nodes": [{"name": "box", "gpus": [{"type": "CPU"}]}],
        },
        "workload": {"batch_size": 4, "prompt_tokens": 32, "output_tokens": 8},
        "formats": ["w16a16"],
        "cost_table": rows(),
    } | changes


def test_a_cpu_of_ones_own_is_planned_from_its_table():
    """24 layers of 1 ms and two ends of 10 us in one micro-batch: 24.02 ms to the first token."""
    answer = plan_request(request())
    assert answer.status in ("optimal", "feasible")
    assert answer.metrics.ttft_ms == pytest.approx(24.02)
    assert answer.sources.times_by_source["analytic"] == 0
    assert answer.stages[0].gpu == "CPU"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ([OWN, OWN], "'CPU' is in own_gpus already"),
        ([OWN | {"name": "a100"}], r"'a100' is in the catalogue \(A100-40G-SXM\) already"),
    ],
)
def test_a_name_that_is_taken_is_refused(own, words):
    cluster = request()["cluster"] | {"own_gpus": own}
    with pytest.raises(InvalidRequestError, match=words):
        plan_request(request(cluster=cluster))


def test_a_table_may_only_name_gpus_that_are_known():
    unknown = [row | {"gpu": "CPU2"} for row in rows()]
    with pytest.raises(InvalidRequestError, match=r"cluster\.own_gpus"):
        plan_request(request(cost_table=unknown))


def test_without_a_table_the_missing_row_is_named():
    with pytest.raises(InvalidRequestError, match="no row of a cost table answers"):
        plan_request(request(cost_table=[]))
