"""Answers as text: complete, within the width, in any encoding."""

import io
from dataclasses import replace
from math import log1p

import pytest
from rich.console import Console

from api.answer import plan_answer
from api.console import make_console
from api.limit_words import remedy_report
from api.pipeline_art import FormatLabels
from api.render import show
from api.request import parse_request, prepare
from api.schemas.plan import GivenPlan, PlanSpec
from api.service import judge
from solver import (
    Evaluation,
    Goal,
    Memory,
    Objective,
    Plan,
    Remedy,
    SolveReport,
    Stage,
    StageReport,
    Status,
    StopReason,
)

GIB = 1024**3
NUM_STAGES = 10


@pytest.fixture
def prepared(two_layers):
    """Ten one-GPU stages of three nodes for 20 layers: never solved, only shown."""
    two_layers |= {
        "nodes": [{"name": "t4-node"}, {"name": "a10-node"}, {"name": "a100-node"}],
        "devices": [
            {"name": "T4", "node": "t4-node", "count": 4, "memory_gib": 14},
            {"name": "A10", "node": "a10-node", "count": 5, "memory_gib": 22},
            {"name": "A100-80G-PCIe", "node": "a100-node", "count": 2, "memory_gib": 79},
        ],
        "groups": [{"device": name} for name in ("T4", "A10", "A100-80G-PCIe")],
        "formats": [{"name": "w8a16", "bits": 8}, {"name": "w4a16", "bits": 4}],
        "layer_kinds": [0] * 20,
        "loss_nats": [[0.0, 0.001]] * 20,
        "prefill_ms": [[[[3.0]]] * 2] * 3,
        "decode_ms": [[[[2.0]]] * 2] * 3,
        "weight_mib": [[[100.0]] * 2] * 3,
        "kv_mib": [[1.0]] * 3,
        "limits": {"ttft_ms": 9000, "quality_loss_nats": 0.05, "min_stages": 2},
        "perplexity_16": 3.32,
    }
    return prepare(parse_request(two_layers))


def stage_report(number: int) -> StageReport:
    """Stage of two layers on the number's GPU; the last ones run over in memory."""
    device = 0 if number < 4 else 1 if number < 8 else 2
    return StageReport(
        device=device,
        node=device,
        tensor_parallel=1,
        gpus=(number % 4,),
        first_layer=2 * number,
        num_layers=2,
        prefill_s=0.1,
        decode_s=0.01,
        prefill_link_s=0.001,
        decode_link_s=0.001,
        prefill_busy=0.5 + number / 20,
        decode_busy=0.9,
        memory=Memory(
            weights_bytes=9 * GIB,
            kv_bytes=2 * GIB,
            embedding_and_head_bytes=0.5 * GIB,
            work_bytes=GIB,
            available_bytes=14 * GIB if number < 9 else 10 * GIB,
        ),
    )


@pytest.fixture
def report():
    """A feasible plan with a gap of 1 %."""
    stages = tuple(
        Stage(group=0 if n < 4 else 1 if n < 8 else 2, first_layer=2 * n, formats=(0, 1))
        for n in range(NUM_STAGES)
    )
    evaluation = Evaluation(
        ttft_s=2.5,
        tpot_s=0.04,
        batch_latency_s=6.0,
        latency_s=6.0,
        throughput_tokens_per_s=500.0,
        price_usd_per_hour=12.0,
        cost_usd_per_million_tokens=6.7,
        loss_nats=0.01,
        perplexity=3.35,
        gpus=10,
        bottleneck_prefill="stage 10",
        bottleneck_decode="network out",
        stages=tuple(stage_report(number) for number in range(NUM_STAGES)),
    )
    return SolveReport(
        status=Status.FEASIBLE,
        stop_reason=StopReason.GAP_REACHED,
        objective=6.0,
        bound=5.94,
        gap=0.01,
        plan=Plan(batch_size=1, prefill_micro_batch=1, decode_micro_batch=1, stages=stages),
        evaluation=evaluation,
        runtime_s=3.2,
        num_bounds=11,
        num_milps=2,
    )


def text_of(answer, width=100, encoding="utf-8"):
    """The text of an answer on a console that is no terminal."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    console = make_console(file)
    console.width = width
    show(answer, console)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_text_keeps_to_the_width_and_to_48_lines(width, prepared, report):
    """Ten stages fit on a screen, without trailing blanks."""
    lines = text_of(plan_answer(prepared, report), width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(f"{50 + 5 * number}%" in "".join(lines) for number in range(10))
    assert len(lines) <= (48 if width >= 100 else 53)
    assert all(line == line.rstrip() for line in lines)


def test_text_tells_what_matters(prepared, report):
    """Status, objective, bound, gap; every stage; metrics; limits with slack; sources."""
    text = text_of(plan_answer(prepared, report))
    for words in (
        "Feasible plan, proven within 1.00 % of the best possible",
        "latency 6.000 s",
        "no plan is below 5.940 s",
        "gap reached after 3.2 s",
        "10 A100-80G-PCIe",
        "layers 18–19",
        "1×8 + 1×4 bit",
        "12.5/14.0 GiB",
        "95%",
        "TTFT",
        "2500.0 ms",
        "500.0 tokens/s",
        "3.350 (+1.01 %)",
        "ttft_ms ≤ 9000 ms: 2500, 6500 left",
        "min_stages ≥ 2 stages: 10, 8 left",
        "1× A10",
        "network out",
        "as given",
    ):
        assert words in text, words


def test_text_is_plain_ascii_where_it_must_be(prepared, report):
    """An old terminal gets no question marks and no failure."""
    text = text_of(plan_answer(prepared, report), encoding="ascii")
    assert "layers 18-19" in text
    assert "\x1b" not in text


def test_terminal_gets_colour(prepared, report):
    """Colour comes and goes with the terminal."""
    file = io.StringIO()
    show(
        plan_answer(prepared, report),
        Console(file=file, force_terminal=True, width=100, color_system="standard"),
    )
    assert "\x1b[" in file.getvalue()


@pytest.mark.parametrize(
    ("status", "words"),
    [(Status.INFEASIBLE, "No plan exists"), (Status.UNKNOWN, "No plan found, and no proof")],
)
def test_text_without_a_plan(status, words, prepared, report):
    """Why there is none, and what would help."""
    remedy = Remedy(limit="memory", asked=1.0, needed=2.0, text="Memory is short by 1 GiB.")
    empty = replace(
        report,
        status=status,
        stop_reason=StopReason.PROVEN,
        objective=None,
        bound=None,
        gap=None,
        plan=None,
        evaluation=None,
        remedies=(remedy,),
    )
    text = text_of(plan_answer(prepared, empty))
    assert words in text
    assert ("Memory is short by 1 GiB." in text) is (status is Status.INFEASIBLE)


def test_text_of_an_evaluation_names_what_is_broken(two_layers):
    """A plan that breaks a limit: which one, by how much."""
    two_layers["limits"] = {"ttft_ms": 5}
    judged = prepare(parse_request(two_layers))
    spec = {
        "batch_size": 1,
        "prefill_micro_batch": 1,
        "decode_micro_batch": 1,
        "stages": [
            {
                "node": "n",
                "gpu": "d",
                "first_layer": 0,
                "last_layer": 1,
                "formats": [{"first_layer": 0, "last_layer": 1, "format": "w16a16"}],
            }
        ],
    }
    text = text_of(judge(judged, PlanSpec.model_validate(spec), with_solve=False))
    assert "The plan is not feasible" in text
    assert "TTFT is 6 ms; limits.ttft_ms allows 5 ms." in text
    assert "broken by 1" in text


@pytest.mark.parametrize(
    ("change", "words", "unsaid"),
    [
        ({"bound": None, "gap": None}, ["how far", "no bound yet"], "proven within"),
        ({"bound": 0.0, "gap": 1.0}, ["how far", "no bound yet"], "0.000 s"),
        (
            {"bound": 1.0, "gap": 0.833},
            ["how far", "stopped early: no plan better than 1.000 s exists"],
            "proven within",
        ),
        ({}, ["Feasible plan, within 1.00 % of the best possible"], "proven"),
        ({"stop_reason": StopReason.NUMERICS}, ["could be trusted"], "proven within"),
    ],
)
def test_what_is_not_proven_is_not_claimed(change, words, unsaid, prepared, report):
    """Stopped early: how little is known, in plain words."""
    early = replace(report, **{"stop_reason": StopReason.TIME_LIMIT, **change})
    text = text_of(plan_answer(prepared, early))
    assert all(word in text for word in words), text
    assert unsaid not in text


@pytest.mark.parametrize(
    ("goal", "value", "words"),
    [
        ("tpot", 0.04, "tpot 40 ms"),
        ("gpus", 1.0, "\n  1 GPU ·"),
        ("stages", 3.0, "\n  3 stages ·"),
    ],
)
def test_objective_is_told_in_the_unit_of_its_metric(goal, value, words, prepared, report):
    """Milliseconds for TTFT and TPOT; counts by themselves."""
    asked = replace(prepared, objective=Objective(goal=Goal(goal)))
    found = replace(report, objective=value, bound=value, gap=0.0, status=Status.OPTIMAL)
    assert words in text_of(plan_answer(asked, found))


def test_even_split_is_no_yardstick_for_counts(prepared, report):
    """Fewer GPUs than all of them is no feat."""
    asked = replace(prepared, objective=Objective(goal=Goal.GPUS))
    found = replace(report, even_split=(report.plan, report.evaluation))
    assert "even split" not in text_of(plan_answer(asked, found))
    assert "even split" in text_of(plan_answer(prepared, found))


def remedy(prepared, limit, asked, needed, text="...", *, others_kept=True):
    """The sentence on a remedy."""
    found = Remedy(limit=limit, asked=asked, needed=needed, text=text, others_kept=others_kept)
    return remedy_report(prepared, found)


def test_remedies_name_the_field_and_round_outward(prepared):
    """50.41008 ms are asked for as 50.42, which can be kept."""
    told = remedy(prepared, "tpot_s", 0.04, 0.05041008)
    assert told.text == "limits.tpot_ms is 40; 50.42 is possible with the other limits kept."
    assert (told.needed, told.unit) == (50.42, "ms")
    alone = remedy(prepared, "gpus", 1, 3, others_kept=False)
    assert alone.text.endswith(
        "3 is the best without the other limits. No single limit can be relaxed alone."
    )
    assert remedy(prepared, "memory", 1.0, 2.0, "Short.").text == "Short."


def test_quality_is_told_in_the_users_unit(prepared):
    """Percent where percent was asked for; the default is not said to be asked for."""
    percent = replace(prepared.background, quality_in_percent=True)
    told = remedy(replace(prepared, background=percent), "loss_nats", log1p(0.05), log1p(0.061234))
    assert told.text.startswith("limits.perplexity_increase_percent is 5; 6.124 is possible")
    default = replace(percent, quality_limit="uniform 4 bits")
    told = remedy(replace(prepared, background=default), "loss_nats", log1p(0.05), log1p(0.06))
    assert told.text.startswith("The default quality limit is 5 %; perplexity_increase_percent 6 ")
    assert remedy(prepared, "loss_nats", 0.05, 0.06).limit == "quality_loss_nats"


def test_numbers_beyond_any_number_are_null(prepared, report):
    """A loss of thousands of nats, and no time at all."""
    extreme = replace(
        report.evaluation, loss_nats=9e3, perplexity=None, throughput_tokens_per_s=float("inf")
    )
    answer = plan_answer(prepared, replace(report, evaluation=extreme, objective=float("inf")))
    assert answer.metrics.perplexity_increase_percent is None
    assert answer.metrics.throughput_tokens_per_s is None
    assert answer.objective is None
    assert "beyond any number" in text_of(answer)


def test_formats_with_narrow_activations_are_named():
    """w8a8 is not w8a16."""
    run = {"first_layer": 0, "last_layer": 1, "bits": 8.0}
    stage = {"node": "n", "gpu": "d", "first_layer": 0, "last_layer": 1}
    labels = {}
    for name in ("w8a8", "w8a16"):
        spec = {**stage, "formats": [{**run, "format": name}]}
        sizes = dict.fromkeys(("batch_size", "prefill_micro_batch", "decode_micro_batch"), 1)
        labels[name] = FormatLabels(PlanSpec.model_validate({**sizes, "stages": [spec]})).label(
            name
        )
    assert labels == {"w8a8": "8-bit (w8a8)", "w8a16": "8-bit"}


def test_times_show_their_shares_where_there_are_several(prepared, report):
    """3 of 100 measured, 97 analytic."""
    background = replace(
        prepared.background, times_by_source={"measured": 3, "interpolated": 0, "analytic": 97}
    )
    text = text_of(plan_answer(replace(prepared, background=background), report))
    assert "3 % measured, 97 % analytic" in text


def test_evaluation_tells_ratio_and_gap_once(two_layers):
    """Two thirds of the layers' time wasted on a slower GPU: 2.00 times the best."""
    two_layers["nodes"].append({"name": "m"})
    two_layers["devices"].append({"name": "slow", "node": "m", "memory_gib": 1})
    two_layers["groups"].append({"device": "slow"})
    for name, factor in (("prefill_ms", 2.0), ("decode_ms", 2.0), ("weight_mib", 1.0)):
        first = two_layers[name][0]
        two_layers[name].append(scaled(first, factor))
    two_layers["kv_mib"].append([1.0])
    judged = prepare(parse_request(two_layers))
    stage = {"node": "m", "gpu": "SLOW", "first_layer": 0, "last_layer": 1, "formats": "W16A16"}
    text = text_of(judge(judged, GivenPlan.model_validate({"stages": [stage]})))
    assert "The plan is feasible: 2.00× the best plan's latency" in text
    assert text.count("50.00 %") == 1


def scaled(value, factor):
    """Nested lists times a factor."""
    return [scaled(v, factor) for v in value] if isinstance(value, list) else value * factor
