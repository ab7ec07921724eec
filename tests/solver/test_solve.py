"""What a solve answers on problems that can be worked out by hand."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from solver import (
    Goal,
    Limits,
    Objective,
    Plan,
    Stage,
    Status,
    StopReason,
    StopRule,
    solve,
)
from solver.backends.highs import HighsBackend
from solver.linear import BackendResult, BackendStop
from solver.problem import AXES
from solver.search import Search
from solver.target import Target
from tests.solver.hand_made import layers_per_stage, only_w16, pipeline
from tests.solver.random_problems import random_problem

EXACT = StopRule(gap=0.0, time_limit_s=60)


def test_one_gpu_runs_everything():
    """4 layers of 1 s in w16, half of that in w8: 2 s."""
    report = solve(pipeline(speeds=(1.0,)), stop=EXACT)
    assert report.status is Status.OPTIMAL
    assert report.objective == pytest.approx(2.0)
    assert layers_per_stage(report) == (4,)


def test_a_single_request_runs_on_the_fastest_gpu_alone():
    """A pipeline does not help one micro-batch: all 4 layers at speed 2 take 2 s in w16."""
    report = solve(only_w16(pipeline(speeds=(1.0, 2.0))), stop=EXACT)
    assert report.objective == pytest.approx(2.0)
    assert report.plan.stages[0].group == 1


def test_faster_gpu_gets_more_layers():
    """8 micro-batches of one, 3 layers: 2 on the faster GPU and 1 on the other pace at 1 s."""
    problem = only_w16(pipeline(speeds=(1.0, 2.0), num_layers=3, batch=8))
    report = solve(problem, stop=EXACT)
    # sum of stages 1 + 1, then 7 more at the pace of 1
    assert report.objective == pytest.approx(9.0)
    assert sorted(layers_per_stage(report)) == [1, 2]


def test_a_slow_link_is_not_worth_crossing():
    """Two stages would pace at 2 s instead of 4 s, but the link takes 100 s."""
    problem = only_w16(pipeline(batch=8, link_s=100.0))
    report = solve(problem, stop=EXACT)
    assert layers_per_stage(report) == (4,)
    assert report.objective == pytest.approx(8 * 4.0)


def test_memory_forces_fewer_bits():
    """Four layers of 10 bytes do not fit 30, two in each format do: 2 x 1 s + 2 x 0.5 s."""
    problem = replace(pipeline(speeds=(1.0,), memory=30.0), prefill_s=np.ones((1, 2, 1, 1)))
    report = solve(problem, objective=Objective(goal=Goal.QUALITY_LOSS), stop=EXACT)
    assert report.plan.stages[0].formats.count(1) == 2
    assert report.evaluation.loss_nats == pytest.approx(0.02)


def test_quality_limit_is_kept():
    """At most two layers may lose 0.01 nats each: 2 x 0.5 s + 2 x 1 s."""
    report = solve(pipeline(speeds=(1.0,)), limits=Limits(loss_nats=0.02), stop=EXACT)
    assert report.objective == pytest.approx(3.0)
    assert report.evaluation.perplexity == pytest.approx(4.0 * np.exp(0.02))


def test_both_micro_batch_sizes_are_chosen_apart():
    """
    Prefill is paced by its slowest stage, so single requests are best; decode costs the same for
    any micro-batch, so one large one is best.
    """
    problem = only_w16(pipeline(batch=4, micro_batches=(1, 2, 4), output_tokens=10))
    flat = np.ones_like(problem.decode_s)
    report = solve(replace(problem, decode_s=flat), stop=EXACT)
    assert report.plan.prefill_micro_batch == 1
    assert report.plan.decode_micro_batch == 4


def test_cheapest_is_not_fastest():
    """Alone: 4 s at 1 USD/h, or 2 s at 3 USD/h. The cheap one costs 4, the fast one 6."""
    problem = only_w16(pipeline(speeds=(1.0, 2.0), prices=(1.0, 3.0)))
    cheap = solve(problem, objective=Objective(goal=Goal.COST), stop=EXACT)
    assert cheap.evaluation.price_usd_per_hour == pytest.approx(1.0)
    assert cheap.objective == pytest.approx(4.0 / 3600 * 1e6)
    assert solve(problem, stop=EXACT).evaluation.price_usd_per_hour == pytest.approx(3.0)


def test_gpus_that_cost_nothing_are_cheapest():
    """The slow GPU is owned, the fast one rented; among free plans the fastest is best."""
    problem = only_w16(pipeline(speeds=(1.0, 0.5, 2.0), prices=(0.0, 0.0, 3.0)))
    report = solve(problem, objective=Objective(goal=Goal.COST), stop=EXACT)
    assert report.objective == 0
    assert report.evaluation.latency_s == pytest.approx(4.0)


@pytest.mark.parametrize(
    "prices",
    [
        (1 / 3, 2 / 3, 1 / 7),
        (1e-4 / 3, 2e-4 / 3, 1e-4 / 7),
        (1e-10, 3e-10, 7e-11),
        (0.0, 1 / 3, 1e3),
    ],
)
def test_prices_of_odd_decimals_are_no_obstacle(prices):
    """One request runs on one GPU: the least price / speed wins."""
    problem = only_w16(pipeline(speeds=(1.0, 2.0, 1.5), prices=prices))
    report = solve(problem, objective=Objective(goal=Goal.COST), stop=EXACT)
    seconds = min(p * 4 / s for p, s in zip(prices, (1.0, 2.0, 1.5), strict=True))
    assert report.objective == pytest.approx(seconds / 3600 * 1e6, rel=1e-5)


def test_whole_nodes_and_free_gpus_mix():
    """Node 1 costs 1 USD/h however many of its GPUs run; the owned GPU is ten times slower."""
    problem = only_w16(pipeline(speeds=(0.1, 1.0), prices=(0.0, 0.0)))
    rented = replace(problem, node_price_usd_per_hour=np.array([0.0, 1.0]))
    limits = Limits(ttft_s=10.0)
    report = solve(rented, objective=Objective(goal=Goal.COST), limits=limits, stop=EXACT)
    assert report.objective == pytest.approx(4.0 / 3600 * 1e6)


def test_a_hopeless_format_does_not_hide_the_others():
    """500 nats a layer in one format, a limit of 3e-7 nats: only the other one is left."""
    problem = pipeline(speeds=(1.0,), losses=(1e-8, 500.0))
    report = solve(problem, limits=Limits(loss_nats=3e-7), stop=EXACT)
    assert report.objective == pytest.approx(4.0)
    assert report.status is Status.OPTIMAL


def test_losses_beyond_any_number_are_survived():
    report = solve(pipeline(losses=(0.0, 900.0)), stop=EXACT)
    assert report.evaluation.perplexity is None


def test_throughput_chooses_the_batch():
    """Twice the requests in less than twice the time."""
    one = only_w16(pipeline(speeds=(1.0, 1.0), batch=8))
    both = replace(one, batches=(replace(one.batches[0], size=4), one.batches[0]))
    report = solve(both, objective=Objective(goal=Goal.THROUGHPUT), stop=EXACT)
    assert report.plan.batch_size == 8
    # 2 stages of 2 s: 4 + 7 * 2 = 18 s for 8 tokens
    assert report.objective == pytest.approx(8 / 18)
    assert report.bound >= report.objective


def test_fewest_gpus_then_least_latency():
    report = solve(
        only_w16(pipeline(speeds=(1.0, 2.0), batch=8)),
        objective=Objective(goal=Goal.GPUS),
        stop=EXACT,
    )
    assert report.objective == 1
    assert report.evaluation.latency_s == pytest.approx(8 * 2.0)


def test_waves_serve_all_requests():
    """10 requests in batches of 4 take 3 waves."""
    problem = only_w16(pipeline(speeds=(1.0,), batch=4))
    once = solve(problem, stop=EXACT).evaluation
    every = solve(replace(problem, num_requests=10), stop=EXACT).evaluation
    assert every.latency_s == pytest.approx(3 * once.latency_s)
    assert every.batch_latency_s == pytest.approx(once.latency_s)
    assert every.throughput_tokens_per_s == pytest.approx(10 / every.latency_s)


def test_gap_met_is_feasible_not_optimal():
    """A loose gap may stop early; only 1e-6 is called optimal."""
    reports = [solve(random_problem(seed), stop=StopRule(gap=0.5)) for seed in range(30)]
    early = [r for r in reports if r.plan is not None and r.gap > 1e-6]
    assert len(early) > 5
    for report in early:
        assert report.gap <= 0.5
        assert report.status is Status.FEASIBLE
        assert report.stop_reason is StopReason.GAP_REACHED


def big_problem():
    """Ten GPUs and 60 layers that all differ: more than a moment's work."""
    rng = np.random.default_rng(0)
    base = pipeline(
        speeds=tuple(rng.uniform(1, 4, 10)),
        num_layers=60,
        batch=32,
        micro_batches=(1, 2, 4, 8, 16, 32),
        output_tokens=50,
        memory=70.0,
        link_s=0.05,
    )
    return replace(base, loss_nats=np.outer(rng.uniform(0.5, 2, 60), [0.0, 0.01]))


def test_time_limit_keeps_the_plan_and_an_honest_gap():
    report = solve(
        big_problem(), limits=Limits(loss_nats=0.3), stop=StopRule(gap=0.0, time_limit_s=2)
    )
    assert report.stop_reason is StopReason.TIME_LIMIT
    assert report.status is Status.FEASIBLE
    assert report.bound < report.objective
    assert report.gap == pytest.approx((report.objective - report.bound) / report.objective)


def test_no_time_at_all_is_unknown_or_feasible_never_infeasible():
    tight = Limits(ttft_s=1e-9)
    report = solve(big_problem(), limits=tight, stop=StopRule(time_limit_s=1e-6))
    assert report.status is Status.UNKNOWN
    assert report.plan is None
    assert report.stop_reason is StopReason.TIME_LIMIT


def test_a_tie_break_that_is_cut_short_is_told():
    """The fewest GPUs are proven at once, the fastest plan on them is not."""
    proven, asked, told = [], [], []

    def see(progress):
        told.append(progress)
        if progress.gap == 0:
            proven.append(progress)

    def cancelled():
        asked.extend(proven)
        return len(asked) > 100

    report = solve(
        big_problem(),
        objective=Objective(goal=Goal.GPUS),
        stop=StopRule(gap=0.0),
        on_progress=see,
        cancelled=cancelled,
    )
    assert report.status is Status.OPTIMAL
    assert report.secondary_gap > 0
    assert report.stop_reason is StopReason.CANCELLED
    last = told[-1]
    assert (last.phase, last.goal) == ("tie-break", Goal.LATENCY)
    assert last.gap == pytest.approx(report.secondary_gap)
    assert [each.elapsed_s for each in told] == sorted(each.elapsed_s for each in told)


@pytest.mark.parametrize("goal", list(Goal))
def test_a_clock_that_ends_the_search_at_once_leaves_finite_numbers(goal):
    theta = 5.0 if goal is Goal.LATENCY_AND_QUALITY else 0.0
    report = solve(
        big_problem(),
        objective=Objective(goal=goal, theta_s_per_nat=theta),
        stop=StopRule(gap=0.0, time_limit_s=1e-6),
    )
    assert report.plan is not None
    assert report.bound is None or np.isfinite(report.bound)
    assert report.gap is None or np.isfinite(report.gap)


def test_cancel_keeps_the_plan():
    calls = iter([False] * 20)
    report = solve(big_problem(), stop=StopRule(gap=0.0), cancelled=lambda: next(calls, True))
    assert report.stop_reason is StopReason.CANCELLED
    assert report.plan is not None


def test_progress_bounds_rise_and_incumbents_fall():
    seen = []
    solve(random_problem(3, tensor_parallel=True), stop=EXACT, on_progress=seen.append)
    incumbents = [p.incumbent for p in seen if p.incumbent is not None]
    bounds = [p.bound for p in seen if p.bound is not None]
    assert incumbents == sorted(incumbents, reverse=True)
    assert all(b >= a * (1 - 1e-6) for a, b in pairwise(bounds))
    assert all(p.gap >= 0 for p in seen if p.gap is not None)


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_same_request_same_plan(seed):
    problem = random_problem(seed)
    first, second = (solve(problem, stop=EXACT) for _ in range(2))
    assert first.plan == second.plan
    assert (first.objective, first.bound) == (second.objective, second.bound)


@pytest.mark.parametrize("seed", range(1, 60, 3))
def test_bound_is_never_better_than_the_objective_nor_worse_than_the_gap_asked(seed):
    for goal in (Goal.LATENCY, Goal.THROUGHPUT, Goal.COST):
        report = solve(
            random_problem(seed), objective=Objective(goal=goal), stop=StopRule(gap=0.03)
        )
        if report.plan is None:
            continue
        worse = report.bound - report.objective
        assert (worse >= 0) if goal.maximise else (worse <= 0)
        assert report.gap <= 0.03 + 1e-12


@pytest.mark.parametrize("seed", range(2, 50, 4))
def test_more_memory_never_hurts(seed):
    problem = random_problem(seed)
    roomy = replace(
        problem,
        devices=tuple(replace(d, memory_bytes=2 * d.memory_bytes) for d in problem.devices),
    )
    before, after = solve(problem, stop=EXACT), solve(roomy, stop=EXACT)
    if before.plan is not None:
        assert after.objective <= before.objective * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(3, 50, 5))
def test_order_of_the_devices_does_not_matter(seed):
    problem = random_problem(seed)
    last = len(problem.devices) - 1
    order = [g for _, g in sorted((-group.device, i) for i, group in enumerate(problem.groups))]
    turned = replace(
        problem,
        devices=problem.devices[::-1],
        groups=tuple(
            replace(problem.groups[g], device=last - problem.groups[g].device) for g in order
        ),
        **{
            name: getattr(problem, name)[order]
            for name, axes in AXES.items()
            if axes.startswith("G")
        },
    )
    here, there = solve(problem, stop=EXACT), solve(turned, stop=EXACT)
    assert (here.plan is None) == (there.plan is None)
    if here.plan is not None:
        assert here.objective == pytest.approx(there.objective, rel=1e-6)


@pytest.mark.parametrize("seed", range(200, 240))
def test_the_merged_form_bounds_and_places_as_well(seed):
    """The path for models whose layers all differ, forced on tiny ones."""
    problem = random_problem(seed, tensor_parallel=seed % 2 == 0)
    goals = (Goal.LATENCY, Goal.COST, Goal.THROUGHPUT, Goal.TTFT)
    objective = Objective(goal=goals[seed % 4])
    reference = solve(problem, objective=objective, stop=EXACT)
    found = Search(
        problem=problem,
        objective=objective,
        limits=Limits(),
        stop=EXACT,
        deadline=float("inf"),
        most_runs=0,
    ).run()
    if reference.plan is None:
        assert found.incumbent is None
        return
    value = Target(objective=objective).of(reference.evaluation)
    assert found.incumbent.value == pytest.approx(value, rel=1e-6)
    assert found.bound == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_batches_of_one_size_keep_their_own_candidates(seed):
    """The other phase's work space decides whether a size fits, so bounds are not shared."""
    problem = random_problem(seed, ragged=True)
    work = {name: getattr(problem, name) * 20 for name in ("decode_work_bytes",)}
    one, *_, other = (replace(problem.batches[0], decode=(d,)) for d in (0, 1, 2))
    reports = [
        solve(replace(problem, batches=batches, **work), stop=EXACT)
        for batches in ((one, other), (other, one))
    ]
    assert reports[0].status is reports[1].status
    if reports[0].plan is not None:
        assert reports[0].objective == pytest.approx(reports[1].objective, rel=1e-6)


def test_windows_end_where_there_is_no_plan():
    """Three layers on two GPUs at 0.15 s each: halves of a layer could, whole layers cannot."""
    problem = only_w16(pipeline(num_layers=3, batch=2, output_tokens=3))
    report = solve(problem, limits=Limits(tpot_s=0.35), stop=EXACT)
    assert report.status is Status.INFEASIBLE
    assert report.num_milps < 20


@pytest.mark.parametrize(
    ("stop", "reason"),
    [(BackendStop.MEMORY, StopReason.MEMORY), (BackendStop.CANCELLED, StopReason.CANCELLED)],
)
def test_relaxations_that_are_cut_short_end_the_search(stop, reason):
    class CutShort(HighsBackend):
        def relax(self, *_models, **_options):
            return BackendResult(stop=stop, point=None, bound=-np.inf)

    report = solve(big_problem(), stop=EXACT, backend=CutShort())
    assert report.stop_reason is reason
    assert report.status is not Status.OPTIMAL


def test_a_cancel_is_seen_before_all_pairs_are_open():
    report = solve(big_problem(), stop=EXACT, cancelled=lambda: True)
    assert report.stop_reason is StopReason.CANCELLED
    assert report.num_bounds == 0


def test_a_given_plan_is_a_start():
    problem = only_w16(pipeline(batch=8))
    stages = (
        Stage(group=0, first_layer=0, formats=(0, 0)),
        Stage(group=1, first_layer=2, formats=(0, 0)),
    )
    plan = Plan(batch_size=8, prefill_micro_batch=1, decode_micro_batch=1, stages=stages)
    report = solve(problem, start=plan, stop=EXACT)
    assert report.objective == pytest.approx(4 + 7 * 2)
