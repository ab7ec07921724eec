"""Each baseline follows its rule, and all stand under the judge that hetplan's plans have."""

from dataclasses import replace
from itertools import combinations_with_replacement, pairwise, product
from time import monotonic

import numpy as np
import pytest

from profiles.errors import InputError
from solver import (
    BASELINES,
    Goal,
    Limits,
    Objective,
    Plan,
    Stage,
    StopRule,
    compare,
    evaluate,
    even_split,
    score,
    violations,
)
from solver.baselines import Budget, Judged, gpu_types, judging, llmpq_view
from solver.baselines.layouts import largest_remainders, widths
from solver.baselines.transfer import RULES, transferred
from solver.llmpq import LlmPqRules, enumerate_cases, from_pipeline, solve_fast, to_plan
from solver.losing import why_it_loses
from tests.solver.hand_made import only_w16, pipeline, with_tensor_parallel
from tests.solver.random_problems import random_problem

NAMED = {baseline.name: baseline for baseline in BASELINES}


def proposed(name, problem, limits=None, objective=None, seconds=60.0):
    budget = Budget(deadline=monotonic() + seconds)
    return NAMED[name].propose(problem, limits or Limits(), objective or Objective(), budget)


def counts(proposal):
    (plan,) = proposal.judged.plans
    return [len(stage.formats) for stage in plan.stages]


def formats(proposal):
    return {f for plan in proposal.judged.plans for s in plan.stages for f in s.formats}


def with_memory(problem, *memory):
    devices = [
        replace(d, memory_bytes=float(m)) for d, m in zip(problem.devices, memory, strict=True)
    ]
    return replace(problem, devices=tuple(devices))


# -- even split ---------------------------------------------------------------------------------


def test_extra_layers_go_before_the_last_stage():
    """Seven layers on three GPUs: 2, 3, 2, as vLLM splits them."""
    plan, _ = even_split(pipeline(speeds=(1, 1, 1), num_layers=7), Limits(), Objective())
    assert [len(stage.formats) for stage in plan.stages] == [2, 3, 2]


def test_no_more_stages_than_layers():
    plan, _ = even_split(pipeline(speeds=(1, 1, 1), num_layers=2), Limits(), Objective())
    assert [len(stage.formats) for stage in plan.stages] == [1, 1]


def test_there_may_be_none():
    assert even_split(pipeline(memory=1.0), Limits(), Objective()) is None


def test_nearest_plan_tells_what_it_breaks():
    """Two layers of 5 bytes on a GPU of 8: 2 bytes too much, in the format of fewest bytes."""
    answer = proposed("even-split", pipeline(memory=8.0))
    (first, *_) = answer.judged.violations
    assert (first.limit, first.value, first.allowed) == ("memory", 10.0, 8.0)


@pytest.mark.parametrize("seed", range(40))
def test_no_pair_of_micro_batches_is_better(seed):
    problem = random_problem(seed)
    found = even_split(problem, Limits(), Objective())
    single = [g for g, group in enumerate(problem.groups) if group.tensor_parallel == 1]
    order = [g for g in single for _ in range(problem.devices[problem.groups[g].device].count)]
    if len(order) < problem.num_layers:
        return
    latencies = []
    for batch, fmt in product(problem.batches, range(3)):
        stages = tuple(
            Stage(group=g, first_layer=i, formats=(fmt,))
            for i, g in enumerate(order[: problem.num_layers])
        )
        if not all(problem.allowed(s.group, s.first_layer)[fmt] for s in stages):
            continue
        for prefill, decode in product(batch.prefill, batch.decode):
            plan = Plan(
                batch_size=batch.size,
                prefill_micro_batch=int(problem.micro_batches[prefill]),
                decode_micro_batch=int(problem.micro_batches[decode]),
                stages=stages,
            )
            values = evaluate(problem, plan)
            if not violations(problem, values, Limits()):
                latencies.append(values.latency_s)
    assert (found is None) == (not latencies)
    if found is not None:
        assert found[1].latency_s == pytest.approx(min(latencies))


# -- even split with tensor parallelism ---------------------------------------------------------


def joined(problem, answer):
    """GPUs and layers of every stage."""
    (plan,) = answer.judged.plans
    sizes = [problem.groups[stage.group].tensor_parallel for stage in plan.stages]
    return list(zip(sizes, counts(answer), strict=True))


def test_nodes_are_stages_and_their_gpus_share_each_layer():
    """Two nodes of four: seven layers of 1 / 4 / 2 s in w8, one more on the first: 0.875 s."""
    problem = with_tensor_parallel(pipeline(num_layers=7), (4, 4), (1, 2, 4))
    answer = proposed("even-split-tp", problem)
    assert joined(problem, answer) == [(4, 4), (4, 3)]
    assert answer.judged.evaluation.latency_s == pytest.approx(0.875)
    assert answer.judged.evaluation.gpus == 8


@pytest.mark.parametrize(
    ("nodes", "stages"),
    [
        ((4,), [(4, 6)]),
        ((6,), [(2, 2), (2, 2), (2, 2)]),
        ((4, 2), [(2, 2), (2, 2), (2, 2)]),
        ((3, 1), [(1, 1), (1, 2), (1, 2), (1, 1)]),
    ],
)
def test_largest_size_that_divides_every_node_is_taken(nodes, stages):
    """Six layers; a node may have several stages, and 3 and 1 GPUs share no size but 1."""
    problem = pipeline(speeds=(1,) * len(nodes), num_layers=6)
    problem = with_tensor_parallel(problem, nodes, (1, 2, 4))
    assert joined(problem, proposed("even-split-tp", problem)) == stages


def test_size_that_some_kernels_lack_is_left():
    """No layer can be split in four on the second node, as where heads do not divide."""
    problem = with_tensor_parallel(pipeline(), (4, 4), (1, 2, 4))
    runs = [g.device == 0 or g.tensor_parallel < 4 for g in problem.groups]
    problem = replace(problem, group_formats=np.array([[run] * 2 for run in runs]))
    assert joined(problem, proposed("even-split-tp", problem)) == [(2, 1)] * 4


def test_smaller_size_is_taken_where_the_largest_breaks_limits():
    """
    Two GPUs of 15 bytes and four layers. Split in two only w16 runs, 20 bytes each; by single GPUs
    w8 does, 10 bytes each. Where w16 alone is allowed, there is 5 bytes too much either way.
    """
    problem = with_tensor_parallel(pipeline(speeds=(1,), memory=15.0), (2,), (1, 2))
    problem = replace(problem, group_formats=np.array([[True, True], [True, False]]))
    answer = proposed("even-split-tp", problem)
    assert joined(problem, answer) == [(1, 2), (1, 2)]
    assert not answer.judged.violations
    nearest = proposed("even-split-tp", only_w16(problem))
    assert joined(problem, nearest) == [(2, 4)]
    assert nearest.judged.violations[0].value == 20


def test_without_a_shared_size_there_is_no_plan():
    """Three GPUs, and stages of two alone."""
    answer = proposed("even-split-tp", with_tensor_parallel(pipeline(speeds=(1,)), (3,), (2,)))
    assert answer.judged is None
    assert "no tensor-parallel size" in answer.reason


# -- proportional -------------------------------------------------------------------------------


def test_layers_follow_memory():
    """30 and 10 bytes: three of four layers on the first, though the second is faster."""
    problem = with_memory(pipeline(speeds=(1, 4)), 30, 10)
    assert counts(proposed("memory-proportional", problem)) == [3, 1]


def test_layers_follow_speed():
    """Three times as fast: three of four layers."""
    assert counts(proposed("speed-proportional", pipeline(speeds=(3, 1)))) == [3, 1]


def test_gpu_without_layers_is_left_out():
    """1 : 99 of two layers is 0 : 2."""
    problem = with_memory(pipeline(num_layers=2), 1, 99)
    answer = proposed("memory-proportional", problem)
    assert counts(answer) == [2]
    assert answer.judged.plans[0].stages[0].group == 1


def test_largest_remainders_add_up():
    """1 : 1 : 1 of 4: the first of equal remainders; 3.6, 0.4 of 4."""
    assert largest_remainders(np.ones(3), 4) == [2, 1, 1]
    assert largest_remainders(np.array([9.0, 1.0]), 4) == [4, 0]


# -- a pipeline per type ------------------------------------------------------------------------


def test_batch_is_divided_so_that_pipelines_end_together():
    """
    A request takes 4 layers x 1/4 s on the fast GPU and twice that on the slow one, in w8: of
    three requests two go to the fast one, and both are done after 2 s.
    """
    problem = pipeline(speeds=(2, 1), batch=3, micro_batches=(1, 2, 3))
    judged = proposed("pipeline-per-type", problem).judged
    assert sorted(plan.batch_size for plan in judged.plans) == [1, 2]
    assert judged.evaluation.latency_s == pytest.approx(2.0)
    assert judged.evaluation.gpus == 2


@pytest.mark.parametrize("fast", [1.1, 1.7, 2.6, 5.0, 20.0])
def test_no_other_division_is_faster(fast):
    """Six requests at 2 s / speed each."""
    problem = pipeline(speeds=(fast, 1), batch=6, micro_batches=(1, 2, 3, 6))
    judged = proposed("pipeline-per-type", problem).judged
    best = min(max(2 * b / fast, 2 * (6 - b)) for b in range(7))
    assert judged.evaluation.latency_s == pytest.approx(best)


def test_prices_of_pipelines_add_up_and_the_worst_quality_counts():
    """The second GPU holds only w8, the first has room for w16, which is faster here."""
    prices, in_w16 = (1.0, 2.0), (2.0, 1.0)
    problem = pipeline(
        speeds=(1, 2), batch=2, micro_batches=(1, 2), prices=prices, format_speed=in_w16
    )
    problem = with_memory(problem, 40, 20)
    values = proposed("pipeline-per-type", problem).judged.evaluation
    assert values.price_usd_per_hour == pytest.approx(3.0)
    assert values.loss_nats == pytest.approx(0.04)


def test_equal_gpus_of_two_nodes_are_one_type():
    assert [len(groups) for groups in gpu_types(pipeline(speeds=(1, 2, 1)))] == [2, 1]


def test_pipelines_that_cannot_hold_the_model_are_no_plan():
    """20 bytes are the least for the model; each GPU has 15."""
    answer = proposed("pipeline-per-type", pipeline(speeds=(1, 2), memory=15.0))
    assert answer.judged is None
    assert "20" not in answer.reason
    assert "no GPU type can serve even one request" in answer.reason


def test_share_below_the_smallest_size_is_one_micro_batch():
    """
    Each GPU has 10 bytes beside the model in w8, and a request takes 4: two requests each. Of three
    the slow GPU serves one, in 2 s as two of them would take: no other time is known.
    """
    problem = pipeline(speeds=(2, 1), batch=3, micro_batches=(2, 3), memory=30.0)
    problem = replace(problem, kv_bytes=np.ones((2, 1)))
    judged = proposed("pipeline-per-type", problem).judged
    assert sorted(plan.batch_size for plan in judged.plans) == [1, 2]
    assert [plan.prefill_micro_batch for plan in judged.plans if plan.batch_size == 1] == [1]
    assert judged.evaluation.latency_s == pytest.approx(4 * 2 / 2)


def test_one_type_serves_the_batch_in_one_micro_batch():
    """Eight at a time is all that is asked for, and the slow GPU is too small for the model."""
    problem = with_memory(pipeline(batch=8, micro_batches=(8,)), 100, 15)
    judged = proposed("pipeline-per-type", problem).judged
    assert [plan.batch_size for plan in judged.plans] == [8]
    assert judged.evaluation.latency_s == pytest.approx(4 * 8 / 2)


def test_layers_without_a_common_format_are_told():
    """The first layer may be w16 alone, the others w8 alone."""
    problem = pipeline(num_layers=2)
    problem = replace(problem, layer_formats=np.array([[True, False], [False, True]]))
    answer = proposed("pipeline-per-type", problem)
    assert answer.judged is None
    assert answer.reason == "no format is run by all GPUs of a type"


def test_divisions_that_are_not_found_are_told():
    """
    The first GPU has room for four requests and the second for two, but it takes 90 s a layer for
    one alone. Of five the second is given one, and with one less the first is given too many.
    """
    problem = pipeline(speeds=(2, 1), batch=5, micro_batches=(1, 2, 4))
    problem = replace(with_memory(problem, 36, 28), kv_bytes=np.ones((2, 1)))
    prefill_s = problem.prefill_s.copy()
    prefill_s[1, ..., 0] = 90.0
    problem = replace(problem, prefill_s=prefill_s)
    answer = proposed("pipeline-per-type", problem, Limits(ttft_s=10.0))
    assert answer.judged is None
    assert "no division that was tried of the batch of 5" in answer.reason


@pytest.fixture
def two_types():
    """A slow GPU at $1 and one three times as fast at $4; both hold four layers in w16 or w8."""
    return pipeline(speeds=(1, 3), batch=4, micro_batches=(1, 2, 4), prices=(1.0, 4.0))


@pytest.mark.parametrize(
    ("goal", "value"),
    [
        (Goal.PRICE, 1.0),
        (Goal.GPUS, 1),
        (Goal.STAGES, 1),
        (Goal.QUALITY_LOSS, 0.0),
        # Alone the slow one takes 8 s at $1, the fast one 2.67 s at $4, both 6 s at $5.
        (Goal.COST, 8 / 3600 / 4 * 1e6),
        (Goal.LATENCY, 2.0),
    ],
)
def test_types_and_formats_follow_the_goal(two_types, goal, value):
    objective = Objective(goal=goal)
    judged = proposed("pipeline-per-type", two_types, objective=objective).judged
    assert score(judged.evaluation, objective) == pytest.approx(value)
    assert not judged.violations


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        (Limits(gpus=1), {"gpu1"}),
        (Limits(price_usd_per_hour=1.5), {"gpu0"}),
        (Limits(min_stages=2), {"gpu0", "gpu1"}),
    ],
)
def test_types_are_left_out_to_keep_limits(two_types, limits, names):
    """Within a limit on price the fast GPU is too dear."""
    judged = proposed("pipeline-per-type", two_types, limits).judged
    assert not judged.violations
    assert {two_types.devices[s.device].name for s in judged.evaluation.stages} == names


@pytest.mark.parametrize("limits", [Limits(latency_s=5.0), Limits(s_per_token=1.25)])
def test_quality_is_what_time_allows(two_types, limits):
    """Four requests in w16 take 5.3 s on the fast GPU, and with the slow one 4 s."""
    objective = Objective(goal=Goal.QUALITY_LOSS)
    judged = proposed("pipeline-per-type", two_types, limits, objective).judged
    assert not judged.violations
    assert judged.evaluation.loss_nats == 0
    hasty = Limits(latency_s=3.0)
    judged = proposed("pipeline-per-type", two_types, hasty, objective).judged
    assert not judged.violations
    assert judged.evaluation.loss_nats == pytest.approx(0.04)


def test_waves_of_pipelines_follow_one_another(two_types):
    """Ten requests by four are three waves of 2 s."""
    judged = proposed("pipeline-per-type", replace(two_types, num_requests=10)).judged
    assert judged.evaluation.batch_latency_s == pytest.approx(2.0)
    assert judged.evaluation.latency_s == pytest.approx(6.0)


@pytest.mark.parametrize("calls", [0, 1, 60, 180, 300])
def test_pipelines_end_when_cancelled_and_serve_all_or_none(calls, monkeypatch):
    """No plan is judged after the call that cancels."""
    asked = 0

    def watched(problem, plan):
        assert asked <= calls
        return evaluate(problem, plan)

    monkeypatch.setattr(judging, "evaluate", watched)

    def cancelled():
        nonlocal asked
        asked += 1
        return asked > calls

    problem = pipeline(speeds=(3, 2, 1), batch=24, micro_batches=(1, 2, 3, 4, 6, 8, 12, 24))
    budget = Budget(deadline=monotonic() + 60, cancelled=cancelled)
    answer = NAMED["pipeline-per-type"].propose(problem, Limits(), Objective(), budget)
    assert budget.was_cut
    if answer.judged is None:
        assert "cut short" in answer.reason
    else:
        assert sum(plan.batch_size for plan in answer.judged.plans) == 24


# -- LLM-PQ's baselines -------------------------------------------------------------------------


def test_formats_have_bits_by_their_bytes():
    assert widths(pipeline()) == [16, 8]


@pytest.mark.parametrize("name", ["uniform", "pipeedge"])
@pytest.mark.parametrize(("memory", "fmt"), [(20.0, 0), (15.0, 1)])
def test_most_bits_that_fit_are_taken(name, memory, fmt):
    """Two layers of 10 bytes fit 20, of 5 bytes 15, though 8 bits are faster in both cases."""
    answer = proposed(name, pipeline(memory=memory))
    assert formats(answer) == {fmt}
    assert not answer.judged.violations


def test_pipeedge_evens_out_decode():
    """Three times as fast: three of four layers; where memory holds only two: two."""
    assert counts(proposed("pipeedge", pipeline(speeds=(3, 1)))) == [3, 1]
    small = with_memory(only_w16(pipeline(speeds=(3, 1))), 20, 40)
    assert counts(proposed("pipeedge", small)) == [2, 2]


def test_pipeedge_leaves_a_slow_gpu_without_layers():
    """One layer on the slow GPU takes longer than all four on the fast one."""
    assert counts(proposed("pipeedge", pipeline(speeds=(9, 1)))) == [4]


@pytest.mark.parametrize("seed", range(40))
def test_no_cut_has_a_faster_slowest_stage_than_pipeedge(seed):
    """All cuts of the layers over all GPUs in the order given, in the format that it chose."""
    problem = random_problem(seed)
    problem = replace(
        problem,
        group_formats=np.ones_like(problem.group_formats),
        layer_formats=np.ones_like(problem.layer_formats),
        decode_link_s=0 * problem.decode_link_s,
        decode_occupancy_s=0 * problem.decode_occupancy_s,
        return_occupancy_s=0 * problem.return_occupancy_s,
        batches=problem.batches[:1],
    )
    order = [g for g, group in enumerate(problem.groups) for _ in range(_count(problem, group))]
    order = order[: problem.num_layers]
    answer = proposed("pipeedge", problem)
    if answer.judged is None or any(v.limit == "memory" for v in answer.judged.violations):
        return
    plan, (fmt,) = answer.judged.plans[0], formats(answer)
    best = min(
        (
            max(stage.decode_s for stage in values.stages)
            for values in _cuts(problem, order, fmt, plan)
            if all(stage.memory.free_bytes >= 0 for stage in values.stages)
        ),
    )
    assert max(s.decode_s for s in answer.judged.evaluation.stages) == pytest.approx(best)


def _count(problem, group):
    return problem.devices[group.device].count


def _cuts(problem, order, fmt, plan):
    for inner in combinations_with_replacement(range(problem.num_layers + 1), len(order) - 1):
        borders = (0, *inner, problem.num_layers)
        stages = tuple(
            Stage(group=g, first_layer=first, formats=(fmt,) * (last - first))
            for g, (first, last) in zip(order, pairwise(borders), strict=True)
            if last > first
        )
        yield evaluate(problem, replace(plan, stages=stages))


def test_adabits_loses_as_little_as_memory_allows():
    """15 bytes hold one layer of 10 and one of 5 on either GPU: two layers lose 0.01 each."""
    answer = proposed("adabits", pipeline(memory=15.0))
    assert answer.judged.evaluation.loss_nats == pytest.approx(0.02)
    assert not answer.judged.violations


def test_transfer_moves_layers_to_the_faster_gpu():
    """Six layers of 8 bits, three on each; one is twice as fast: two and four."""
    problem = pipeline(speeds=(1, 2), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    own = from_pipeline(problem, theta_s_per_nat=0.0)
    case = next(case for case in enumerate_cases(own, RULES) if case.order == (0, 1))
    homes, chosen = transferred(case, np.repeat([0, 1], 3), np.ones(6, dtype=int), [16, 8])
    assert homes.tolist() == [0] * 2 + [1] * 4
    assert chosen.tolist() == [1] * 6


def test_transfer_swaps_one_wide_layer_for_two_narrow_ones():
    """The fast GPU gives its 16-bit layer for two 8-bit ones, as theta weighs nothing."""
    problem = pipeline(speeds=(1, 9), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    own = from_pipeline(problem, theta_s_per_nat=0.0)
    case = next(case for case in enumerate_cases(own, RULES) if case.order == (0, 1))
    homes, chosen = transferred(
        case, np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 1, 0, 0, 0]), [16, 8]
    )
    assert (homes == 1).sum() == 5
    assert sorted(chosen.tolist()) == [0, 0, 0, 1, 1, 1]


def test_search_of_llmpq_is_the_best_of_its_plans():
    """Without a limit on quality theta is 0: the fastest of its plans over all cases."""
    problem = pipeline(speeds=(1, 3), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    report = solve_fast(from_pipeline(problem, theta_s_per_nat=0.0), LlmPqRules.as_published())
    found = [evaluate(problem, to_plan(problem, case.plan)) for case in report.cases if case.plan]
    answer = proposed("llm-pq", problem)
    assert answer.judged.evaluation.latency_s <= min(v.latency_s for v in found) * (1 + 1e-3)


@pytest.mark.parametrize("name", ["adabits", "bit-width-transfer", "llm-pq"])
def test_searches_that_are_not_cut_do_not_depend_on_the_clock(name):
    """Ten times the time, the same plan, though many are within the gap of these searches."""
    problem = pipeline(speeds=(1, 3), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    answers = []
    for seconds in (60, 600):
        budget = Budget(deadline=monotonic() + seconds)
        limits = Limits(loss_nats=0.03)
        answers.append(NAMED[name].propose(problem, limits, Objective(), budget))
        assert not budget.was_cut
    assert answers[0] == answers[1]


@pytest.fixture
def mixed_nodes():
    """Two equal nodes, each with a slow GPU and one three times as fast, in this order."""
    problem = pipeline(
        speeds=(1, 3, 1, 3), num_layers=8, batch=8, micro_batches=(1, 2, 4, 8), output_tokens=9
    )
    devices = tuple(replace(d, node=i // 2) for i, d in enumerate(problem.devices))
    return replace(problem, devices=devices)


@pytest.mark.parametrize("name", ["bit-width-transfer", "llm-pq"])
def test_orders_of_types_need_no_types_side_by_side(mixed_nodes, name):
    """GPUs 0 and 2 are one type, 1 and 3 the other: either type comes first, then all of it."""
    (plan,) = proposed(name, mixed_nodes).judged.plans
    types = [stage.group % 2 for stage in plan.stages]
    assert set(types) == {0, 1}
    assert types in (sorted(types), sorted(types, reverse=True))


def test_adabits_keeps_to_the_order_given(mixed_nodes):
    """Each GPU holds two of eight layers in w16."""
    (plan,) = proposed("adabits", with_memory(mixed_nodes, 20, 20, 20, 20)).judged.plans
    assert [stage.group for stage in plan.stages] == [0, 1, 2, 3]


def test_theta_rises_until_quality_is_kept():
    """8 bits are faster and lose 0.06 in all; only 0.03 are allowed."""
    problem = pipeline(speeds=(1, 3), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    for name in ("llm-pq", "bit-width-transfer"):
        answer = proposed(name, problem, Limits(loss_nats=0.03))
        assert not answer.judged.violations


def test_too_many_orders_leave_the_one_given():
    """Nine GPU types have 362,880 orders: their search is cut short, and still has a plan."""
    speeds = tuple(range(1, 10))
    problem = pipeline(speeds=speeds, num_layers=9, batch=18, micro_batches=(2,), output_tokens=9)
    budget = Budget(deadline=monotonic() + 60)
    answer = NAMED["llm-pq"].propose(problem, Limits(), Objective(), budget)
    groups = [stage.group for stage in answer.judged.plans[0].stages]
    assert budget.was_cut
    assert (groups[0], groups[-1]) == (0, 8)
    assert groups == sorted(groups)


LLMPQ_SIZES = ("uniform", "pipeedge", "adabits", "bit-width-transfer", "llm-pq")


@pytest.mark.parametrize("name", LLMPQ_SIZES)
def test_where_nothing_is_decoded_its_only_size_will_do(name):
    """Batch 6 on two GPUs: micro-batches of 3 by the rule; decode has a size in name alone."""
    problem = pipeline(batch=6, micro_batches=(1, 2, 3, 6))
    problem = replace(problem, batches=(replace(problem.batches[0], decode=(1,)),))
    (plan,) = proposed(name, problem).judged.plans
    assert plan.prefill_micro_batch in (1, 3)
    assert plan.decode_micro_batch == 2


@pytest.mark.parametrize("name", ["adabits", "bit-width-transfer", "llm-pq"])
def test_stages_of_several_gpus_alone_are_a_reason(name):
    answer = proposed(name, with_tensor_parallel(pipeline(), (2, 2), (2,)))
    assert answer.judged is None
    assert "its stages are single GPUs" in answer.reason


@pytest.mark.parametrize("name", ["adabits", "llm-pq"])
def test_faults_of_the_view_are_no_reasons(name, monkeypatch):
    """What the view refuses is a fault of this program, not of the request."""

    def broken(*_args, **_settings):
        raise InputError("blocks is what nobody asked for.")

    monkeypatch.setattr(llmpq_view, "from_pipeline", broken)
    with pytest.raises(InputError, match="nobody asked for"):
        proposed(name, pipeline())


def test_uniform_without_a_divisor_says_so():
    """Decode by 3, prefill by 2 alone."""
    problem = pipeline(batch=6, micro_batches=(2, 3), output_tokens=9)
    problem = replace(problem, batches=(replace(problem.batches[0], prefill=(0,)),))
    assert "divides its decode micro-batch of 3" in proposed("uniform", problem).reason


def test_sizes_that_a_rule_needs_are_named():
    """Two GPUs and a batch of 4: the decode micro-batch is 2, which the request does not offer."""
    problem = pipeline(batch=4, micro_batches=(1, 4), output_tokens=9)
    for name in LLMPQ_SIZES:
        answer = proposed(name, problem)
        assert answer.judged is None
        assert " 2 " in answer.reason


# -- under one judge ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_no_baseline_beats_the_bound(seed):
    """Every row carries the judge's values, and no feasible pipeline is better than the bound."""
    problem = random_problem(seed, tensor_parallel=seed % 3 == 0)
    goal = (Goal.LATENCY, Goal.THROUGHPUT, Goal.COST, Goal.TPOT)[seed % 4]
    objective, limits = Objective(goal=goal), Limits(loss_nats=0.02 if seed % 2 else None)
    found = compare(problem, objective=objective, limits=limits, stop=StopRule(gap=0.0))
    assert [row.baseline.name for row in found.rows] == list(NAMED)
    for row in found.rows:
        assert row.why.endswith(".")
        if row.evaluation is None:
            assert (row.objective, row.ratio, row.gap) == (None, None, None)
            continue
        assert row.objective == score(row.evaluation, objective)
        if row.baseline.in_space:
            assert evaluate(problem, row.plans[0]) == row.evaluation
        assert violations(problem, row.evaluation, limits) == row.violations
        if row.feasible and row.baseline.in_space:
            sign = -1 if goal.maximise else 1
            slack = 1e-6 * abs(found.best.bound)
            assert sign * row.objective >= sign * found.best.bound - slack
            assert row.ratio is None or row.ratio >= 1 - 1e-6


def test_a_report_in_hand_saves_the_search():
    problem = pipeline(speeds=(1, 2))
    first = compare(problem, baselines=())
    again = compare(problem, best=first.best, baselines=[NAMED["even-split"]])
    assert again.best is first.best
    assert again.rows[0].ratio > 1


def test_reasons_name_stage_and_phase():
    """Two layers of 1 / 2 s in w8 on the slow GPU, in the only phase there is."""
    row = compare(pipeline(speeds=(1, 4)), baselines=[NAMED["even-split"]]).rows[0]
    assert "prefill" in row.why
    assert "on stage 1 (gpu0, 2 layers in w8)" in row.why
    short = compare(pipeline(memory=8.0), baselines=[NAMED["even-split"]]).rows[0]
    assert "too much" in short.why
    assert short.ratio is None


@pytest.mark.parametrize(
    ("goal", "batch", "words", "stage"),
    [
        # Three requests on the first take 12 s of prefill and 10.8 s of decode, five on the second
        # 20 s and 1.8 s: the first ends last.
        (Goal.LATENCY, 8, "prefill of pipeline 1 (3 requests) takes 12 s", "stage 1 (gpu0"),
        # Four requests take 16 s of prefill on either; the second is through with them sooner.
        (Goal.TTFT, 7, "prefill of pipeline 2 (4 requests) takes 16 s", "stage 1 (gpu1"),
    ],
)
def test_reasons_are_of_the_pipeline_that_sets_the_goal(goal, batch, words, stage):
    """
    Both GPUs take 4 s of prefill for a request, and 0.4 s or 0.04 s for each of nine tokens more;
    TTFT and latency of all together are not of the same pipeline.
    """
    problem = only_w16(pipeline(batch=batch, micro_batches=(1, 2, 3, 4, 5), output_tokens=10))
    decode_s = problem.decode_s.copy()
    decode_s[1] /= 10
    problem = replace(problem, decode_s=decode_s)
    objective = Objective(goal=goal)
    best = compare(pipeline(speeds=(99, 99), batch=batch), baselines=()).best
    judged = proposed("pipeline-per-type", problem, objective=objective).judged
    why = why_it_loses(problem, judged, best, objective)
    assert why.startswith(f"{words}, in the best plan")
    assert f"on {stage}, 4 layers" in why
    assert judged.evaluation.bottleneck_prefill == "stage 2"
    assert judged.evaluation.bottleneck_decode == "stage 1"


def test_plans_equal_in_the_goal_are_told_apart_by_latency():
    """Any decode size has the same TTFT; by fours each of nine rounds takes as long as one."""
    problem = pipeline(speeds=(1,), batch=4, micro_batches=(1, 4), output_tokens=10)
    problem = replace(problem, decode_s=problem.decode_s[..., :1] * np.ones(2))
    judged = proposed("even-split", problem, objective=Objective(goal=Goal.TTFT)).judged
    assert judged.plans[0].decode_micro_batch == 4


def test_a_faster_plan_may_lose_by_quality():
    """Four layers of 1 s, or 1/2 s and 0.01 nats worse at 100 seconds a nat: 4 or 6 s."""
    objective = Objective(goal=Goal.LATENCY_AND_QUALITY, theta_s_per_nat=100.0)
    problem = pipeline(speeds=(1,), memory=100.0)
    w16, w8 = ((Stage(group=0, first_layer=0, formats=(f,) * 4),) for f in (0, 1))
    best = compare(problem, objective=objective, baselines=()).best
    assert best.plan.stages == w16
    plan = replace(best.plan, stages=w8)
    values = evaluate(problem, plan)
    found = Judged(plans=(plan,), parts=(values,), evaluation=values, violations=())
    assert why_it_loses(problem, found, best, objective) == (
        "It loses 0.0400 nats, the best plan 0.0000."
    )


def test_cancelled_comparison_says_so():
    found = compare(pipeline(), cancelled=lambda: True)
    assert all("cancelled" in row.why and row.was_cut for row in found.rows)


def test_searches_cut_short_say_so():
    """With no time at all they have no plan, or only what they began with."""
    problem = pipeline(speeds=(1, 3), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    for each in BASELINES:
        budget = Budget(deadline=monotonic())
        answer = each.propose(problem, Limits(), Objective(), budget)
        assert budget.was_cut
        assert answer.judged is not None or "cut short" in answer.reason


def test_search_of_llmpq_ends_when_cancelled():
    """Cancelled at the third question, within its first search: no plan, and said so."""
    questions = iter([False, False])
    budget = Budget(deadline=monotonic() + 60, cancelled=lambda: next(questions, True))
    problem = pipeline(speeds=(1, 3), num_layers=6, batch=4, micro_batches=(2, 4), output_tokens=9)
    answer = NAMED["llm-pq"].propose(problem, Limits(), Objective(), budget)
    assert budget.was_cut
    assert answer.judged is None
    assert "cut short" in answer.reason


def test_of_plans_that_break_a_limit_equally_the_best_is_shown():
    """Every even split uses two GPUs where one is allowed; the fastest stands for the rule."""
    problem = pipeline(speeds=(1, 1), num_layers=4, batch=4, micro_batches=(1, 2, 4))
    limited = NAMED["even-split"].propose(
        problem, Limits(gpus=1), Objective(), Budget(deadline=monotonic() + 60)
    )
    free = NAMED["even-split"].propose(
        problem, Limits(), Objective(), Budget(deadline=monotonic() + 60)
    )
    assert limited.judged.violations
    assert limited.judged.evaluation.latency_s == free.judged.evaluation.latency_s


def test_a_comparison_tells_which_baseline_is_planned():
    """With the best plan's values, in seconds that go on from the search."""
    told = []
    compare(pipeline(), on_progress=told.append)
    phases = [each.phase for each in told if each.phase != "search"]
    assert phases == [f"baseline {each.title}" for each in BASELINES]
    assert [each.elapsed_s for each in told] == sorted(each.elapsed_s for each in told)
