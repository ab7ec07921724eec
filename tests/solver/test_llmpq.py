"""LLM-PQ's own problem: as published and corrected, naive and fast, against brute force."""

from dataclasses import replace
from itertools import combinations_with_replacement, permutations, product
from math import ceil, inf

import numpy as np
import pytest

from profiles.errors import InputError
from solver import Goal, Limits, Objective, Status, StopRule, evaluate, score, solve, violations
from solver.llmpq import (
    LlmPqProblem,
    LlmPqRules,
    enumerate_cases,
    from_pipeline,
    llmpq_value,
    naive_model,
    prefill_sizes,
    solve_fast,
    solve_naive,
    to_plan,
)
from tests.solver.random_problems import random_problem

PUBLISHED, CORRECTED = LlmPqRules.as_published(), LlmPqRules.corrected()
BOTH = pytest.mark.parametrize("rules", [PUBLISHED, CORRECTED], ids=["published", "corrected"])


def random_llmpq(seed, *, num_layers=None, blocks=None, kind=None):
    """Equal, varied or stepwise quality loss; empty devices, forbidden formats, tight memory."""
    rng = np.random.default_rng(seed)
    blocks = blocks or [(0,), (0, 0), (0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 2)][seed % 6]
    num_layers = num_layers or int(rng.integers(2, 5))
    kind = kind or ("equal", "varied", "steps")[seed % 3]
    num_types, num_formats = max(blocks) + 1, 2 if len(blocks) > 2 else 3
    sizes = np.array([1, 2, 4])
    types = list(blocks)
    speed = rng.uniform(0.5, 3, num_types)
    by_format = (
        np.array([1.0, 0.7, 0.5])[:num_formats]
        * rng.uniform(0.7, 1.3, (num_types, 3))[:, :num_formats]
    )
    layer_s = (by_format / speed[:, None])[types] * np.ones((num_layers, 1, 1))
    if rng.random() < 0.3:
        layer_s = layer_s * rng.choice([1.0, 1.5], (num_layers, 1, 1))
    allowed = (rng.random((num_types, num_formats)) < 0.85)[types]
    allowed[:, -1] |= ~allowed.any(axis=1)
    weights = np.array([4.0, 2.0, 1.0])[:num_formats]
    most_s = [0.1, 1.0, 4.0][seed % 3]
    network = rng.uniform(0, most_s, (num_types, num_types))[np.ix_(types, types)]
    return LlmPqProblem(
        blocks=blocks,
        batch_size=4 * len(blocks),
        tokens=int(rng.choice([1, 2, 8])),
        theta_s_per_nat=float(rng.choice([0.0, 1.0, 20.0])),
        prefill_micro_batches=sizes,
        prefill_s=layer_s * sizes[:, None, None, None] * rng.uniform(0.8, 1.2, (3, 1, 1, 1)),
        decode_s=0.3 * layer_s[:, :, ::-1],
        ends_prefill_s=np.outer(sizes, rng.uniform(0, 0.4, num_types)[types]),
        ends_decode_s=rng.uniform(0, 0.2, num_types)[types],
        send_prefill_s=network * sizes[:, None, None],
        send_decode_s=0.2 * network,
        memory_bytes=np.broadcast_to(weights, layer_s.shape),
        capacity_bytes=np.ones((3, 1)) * rng.uniform(2, 6 if seed % 4 else 20, num_types)[types],
        ends_bytes=np.full((3, len(blocks)), rng.choice([0.0, 1.0])),
        loss_nats=loss_of(rng, kind, num_layers) * np.array([0.0, 0.02, 0.1])[:num_formats],
        allowed=np.broadcast_to(allowed, layer_s.shape),
    )


def loss_of(rng, kind, num_layers):
    if kind == "equal":
        return np.ones((num_layers, 1))
    if kind == "varied":
        return rng.uniform(0.2, 3, (num_layers, 1))
    return np.where(np.arange(num_layers) < num_layers // 2, 1.0, 2.5)[:, None]


# -- the objective and brute force, written anew --------------------------------------------------


def cost_of(problem, rules, order, size, devices, formats):
    """LLM-PQ's cost as its paper and code state it; devices and formats per layer."""
    p = list(problem.prefill_micro_batches).index(size)
    b_d = ceil(problem.batch_size / len(order))
    m_p, m_d = ceil(problem.batch_size / size), ceil(problem.batch_size / b_d)
    groups = problem.num_layers // rules.group_size
    prefill, decode = [], []
    for place, device in enumerate(order):
        mine = [i for i in range(problem.num_layers) if devices[i] == device]
        t_p = sum(problem.prefill_s[p, i, device, formats[i]] for i in mine)
        t_d = sum(problem.decode_s[i, device, formats[i]] for i in mine)
        if place == 0:
            ends_p, ends_d = problem.ends_prefill_s[p, device], problem.ends_decode_s[device]
            if rules.ends_once:
                t_p, t_d = t_p + ends_p, t_d + ends_d
            elif len(order) > 1:
                held = len(mine) / rules.group_size
                t_p, t_d = t_p + held * m_p * ends_p, t_d + held * ends_d
        following = order[(place + 1) % len(order)]
        prefill.append(max(t_p, problem.send_prefill_s[p, device, following]))
        decode.append(max(t_d, problem.send_decode_s[device, following]))
    loss = sum(problem.loss_nats[i, formats[i]] for i in range(problem.num_layers))
    loss = loss if rules.loss_summed else loss * groups / problem.num_layers
    times = (m_d if rules.full_decode else m_d - 1) * (problem.tokens - 1)
    paced = (m_p - 1) * max(prefill) + times * max(decode)
    return sum(prefill) + sum(decode) + paced + problem.theta_s_per_nat * loss


def holds(problem, rules, order, size, devices, formats):
    p = list(problem.prefill_micro_batches).index(size)
    unit = 2**20 if rules.whole_megabytes else None
    for device in order:
        mine = [i for i in range(problem.num_layers) if devices[i] == device]
        if not all(problem.allowed[i, device, formats[i]] for i in mine):
            return False
        each = [problem.memory_bytes[i, device, formats[i]] for i in mine]
        used = sum(
            ceil(sum(group) / unit) * unit if unit else sum(group)
            for group in np.array(each).reshape(-1, rules.group_size)
        )
        room = problem.capacity_bytes[p, device]
        room -= problem.ends_bytes[p, device] if device == order[0] else 0
        if mine and used > room + 1e-9:
            return False
    return True


def brute_force(problem, rules):
    """Least cost over all orders, sizes, splits and formats."""
    groups, best = problem.num_layers // rules.group_size, inf
    b_d = ceil(problem.batch_size / problem.num_devices)
    sizes = [b for b in problem.prefill_micro_batches if b_d % b == 0]
    sizes = [b for b in sizes if b > 1 or rules.single_requests]
    for types in permutations(sorted(set(problem.blocks))):
        order = [d for t in types for d in range(problem.num_devices) if problem.blocks[d] == t]
        splits = combinations_with_replacement(range(len(order)), groups)
        for split in splits:
            if split[0] != 0 or split[-1] != len(order) - 1:
                continue
            devices = [order[j] for j in np.repeat(split, rules.group_size)]
            for choice in product(range(problem.loss_nats.shape[1]), repeat=groups):
                formats = np.repeat(choice, rules.group_size)
                for size in sizes:
                    if holds(problem, rules, order, size, devices, formats):
                        cost = cost_of(problem, rules, order, size, devices, formats)
                        best = min(best, cost)
    return best


def check_report(problem, rules, report, best):
    """The report tells the best value, and its plan costs that by this file's own reckoning."""
    if best == inf:
        assert report.status is Status.INFEASIBLE
        assert report.plan is None
        return
    plan = report.plan
    assert report.objective == pytest.approx(best, rel=1e-6)
    assert report.bound == pytest.approx(best, rel=1e-6)
    assert report.bound <= report.objective
    assert holds(problem, rules, plan.order, plan.prefill_micro_batch, plan.devices, plan.formats)
    cost = cost_of(problem, rules, plan.order, plan.prefill_micro_batch, plan.devices, plan.formats)
    assert cost == pytest.approx(report.objective, rel=1e-9)
    assert llmpq_value(problem, rules, plan) == pytest.approx(cost, rel=1e-9)


@BOTH
@pytest.mark.parametrize("seed", range(24))
def test_naive_and_fast_equal_brute_force(seed, rules):
    problem = random_llmpq(seed)
    best = brute_force(problem, rules)
    check_report(problem, rules, solve_naive(problem, rules, gap=0), best)
    check_report(problem, rules, solve_fast(problem, rules, stop=StopRule(gap=0)), best)


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_devices_of_a_type_may_be_listed_apart(seed, rules):
    """As on two nodes of one GPU each of two types: orders still keep each type together."""
    problem = random_llmpq(seed, num_layers=3, blocks=(0, 1, 0))
    best = brute_force(problem, rules)
    check_report(problem, rules, solve_naive(problem, rules, gap=0), best)
    check_report(problem, rules, solve_fast(problem, rules, stop=StopRule(gap=0)), best)
    orders = {case.order for case in enumerate_cases(problem, rules)}
    assert orders == {(0, 2, 1), (1, 0, 2)}


def test_brute_force_meets_every_kind_of_instance():
    """Guards the tests above: some instances have no plan, some leave a device empty."""
    infeasible, empty = 0, 0
    for seed in range(24):
        report = solve_fast(random_llmpq(seed), CORRECTED)
        infeasible += report.status is Status.INFEASIBLE
        empty += report.plan is not None and len(set(report.plan.devices)) < len(report.plan.order)
    assert infeasible >= 3
    assert empty >= 1


@pytest.mark.parametrize("seed", range(8))
def test_layer_groups_equal_brute_force(seed):
    """Groups of two layers, published (mean loss, whole megabytes) and corrected (summed loss)."""
    problem = random_llmpq(seed, num_layers=6)
    megabytes = {name: getattr(problem, name) * 2.0**20 for name in ("memory_bytes", "ends_bytes")}
    problem = replace(problem, **megabytes, capacity_bytes=problem.capacity_bytes * 2.0**20)
    problem = replace(problem, memory_bytes=problem.memory_bytes * 0.9)
    for rules in (
        LlmPqRules.as_published(group_size=2, whole_megabytes=True),
        LlmPqRules.corrected(group_size=2),
    ):
        best = brute_force(problem, rules)
        check_report(problem, rules, solve_naive(problem, rules, gap=0), best)
        check_report(problem, rules, solve_fast(problem, rules, stop=StopRule(gap=0)), best)


def assert_fast_equals_naive(problem, rules):
    naive = solve_naive(problem, rules, gap=0)
    fast = solve_fast(problem, rules, stop=StopRule(gap=0))
    assert fast.status is naive.status
    if naive.objective is not None:
        assert fast.objective == pytest.approx(naive.objective, rel=1e-6)
        assert fast.bound == pytest.approx(naive.objective, rel=1e-6)


def medium_llmpq(seed):
    """5 to 12 layers on 1 to 5 devices of at most two types."""
    rng = np.random.default_rng(10_000 + seed)
    kinds = np.sort(rng.integers(0, 2, int(rng.integers(1, 6))))
    blocks = tuple(int(kind) for kind in kinds - kinds[0])
    return random_llmpq(seed, num_layers=int(rng.integers(5, 13)), blocks=blocks)


@BOTH
@pytest.mark.parametrize("seed", range(16))
def test_fast_equals_naive(seed, rules):
    assert_fast_equals_naive(medium_llmpq(seed), rules)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("seed", range(16, 180))
def test_fast_equals_naive_on_many(seed, rules):
    assert_fast_equals_naive(medium_llmpq(seed), rules)


# -- the published program ------------------------------------------------------------------------


def test_naive_program_has_the_published_size():
    """48 layers, 4 devices, 4 formats: 840 rows and 1162 columns, as the released log says."""
    rng = np.random.default_rng(0)
    problem = random_llmpq(2, num_layers=48, blocks=(0, 0, 0, 1))
    times = rng.uniform(1, 2, (48, 4, 4))
    problem = replace(
        problem,
        prefill_s=np.stack([times] * 3),
        decode_s=times,
        memory_bytes=times,
        loss_nats=np.ones((48, 4)),
        allowed=np.ones((48, 4, 4), dtype=bool),
    )
    model = naive_model(next(enumerate_cases(problem, PUBLISHED))).model
    assert (len(model.row_lower), len(model.cost)) == (840, 1162)


def test_search_space_is_the_published_one():
    """Batch 16 on 2 + 1 devices: decode 6 at a time, prefill 2, 3 or 6; the two block orders."""
    problem = replace(
        three_devices(),
        batch_size=16,
        prefill_micro_batches=np.array([1, 2, 3, 4, 6]),
        prefill_s=np.ones((5, 3, 3, 2)),
        ends_prefill_s=np.ones((5, 3)),
        send_prefill_s=np.ones((5, 3, 3)),
        capacity_bytes=np.full((5, 3), 9.0),
        ends_bytes=np.zeros((5, 3)),
    )
    cases = [(c.order, c.prefill_micro_batch) for c in enumerate_cases(problem, PUBLISHED)]
    orders = [(0, 1, 2), (2, 0, 1)]
    assert cases == [(order, size) for order in orders for size in (2, 3, 6)]
    assert prefill_sizes(problem, CORRECTED) == (1, 2, 3, 6)


def three_devices():
    """Three layers on two devices of one type and one of another, two formats, all costs 1."""
    return replace(
        random_llmpq(3, num_layers=3, blocks=(0, 0, 1), kind="equal"),
        batch_size=12,
        tokens=3,
        theta_s_per_nat=10.0,
        prefill_s=np.ones((3, 3, 3, 2)),
        decode_s=np.ones((3, 3, 2)),
        ends_prefill_s=np.full((3, 3), 0.5),
        ends_decode_s=np.full(3, 0.25),
        send_prefill_s=np.zeros((3, 3, 3)),
        send_decode_s=np.zeros((3, 3)),
        memory_bytes=np.ones((3, 3, 2)),
        capacity_bytes=np.full((3, 3), 9.0),
        ends_bytes=np.zeros((3, 3)),
        loss_nats=np.array([[0.0, 0.1]] * 3),
        allowed=np.ones((3, 3, 2), dtype=bool),
    )


def test_published_and_corrected_cost_by_hand():
    """
    One layer a device; batch 12, prefill 2 at a time (m_p = 6), decode 4 (m_d = 3), 3 tokens.

    Published: P = (1 + 6 0.5, 1, 1), sum 6, slowest 4; D = (1.25, 1, 1), sum 3.25, slowest 1.25
    charged (3 - 1)(3 - 1) times: 6 + 5 4 + 3.25 + 4 1.25 = 34.25.
    Corrected: P = (1.5, 1, 1), sum 3.5, slowest 1.5; D charged 3 (3 - 1) times:
    3.5 + 5 1.5 + 3.25 + 6 1.25 = 21.75. One layer at format 1 adds 10 0.1 = 1 to both.
    """
    problem = three_devices()
    plan = replace(
        solve_fast(problem, PUBLISHED).plan,
        order=(0, 1, 2),
        prefill_micro_batch=2,
        devices=(0, 1, 2),
        formats=(0, 0, 1),
    )
    assert llmpq_value(problem, PUBLISHED, plan) == pytest.approx(35.25)
    assert llmpq_value(problem, CORRECTED, plan) == pytest.approx(22.75)


def test_one_request_per_device_leaves_the_published_search_without_a_case():
    problem = replace(three_devices(), batch_size=3)
    assert solve_naive(problem, PUBLISHED).status is Status.INFEASIBLE
    assert solve_fast(problem, PUBLISHED).cases == ()
    assert solve_fast(problem, CORRECTED).objective is not None


# -- honest ends ----------------------------------------------------------------------------------


def long_llmpq():
    """48 layers that all differ in loss, on 2 + 2 devices, with little memory."""
    problem = random_llmpq(1, num_layers=48, blocks=(0, 0, 1, 1), kind="varied")
    weights = np.broadcast_to([4.0, 1.0], problem.memory_bytes.shape)
    return replace(
        problem,
        theta_s_per_nat=20.0,
        memory_bytes=weights,
        capacity_bytes=np.full((3, 4), 40.0),
        allowed=np.ones_like(problem.allowed),
        loss_nats=problem.loss_nats / problem.loss_nats.max(),
    )


def test_a_time_limit_leaves_an_honest_bound():
    problem = long_llmpq()
    proven = solve_fast(problem, PUBLISHED)
    assert proven.gap <= 1e-4
    for report in (
        solve_naive(problem, PUBLISHED, milp_time_s=0.05),
        solve_fast(problem, PUBLISHED, stop=StopRule(gap=1e-4, time_limit_s=0.05)),
    ):
        assert report.status in (Status.FEASIBLE, Status.UNKNOWN)
        assert report.bound is None or report.bound <= proven.objective * (1 + 1e-9)
        assert report.objective is None or report.objective >= proven.bound * (1 - 1e-9)


def test_cases_left_out_keep_their_bounds():
    """Every case's own optimum is at least the bound that the search reports for it."""
    problem = medium_llmpq(4)
    fast = solve_fast(problem, CORRECTED)
    naive = solve_naive(problem, CORRECTED, gap=0)
    assert len(fast.cases) == len(naive.cases) > 2
    assert sum(case.plan is None for case in fast.cases) > 0
    for left, proven in zip(fast.cases, naive.cases, strict=True):
        assert left.order == proven.order
        assert proven.objective is None or left.bound <= proven.objective * (1 + 1e-9)
    assert fast.bound <= min(c.objective for c in naive.cases if c.objective is not None)


# -- from and to our problem ----------------------------------------------------------------------


def one_pipeline(seed):
    """A random problem that LLM-PQ can state, with head and links for nothing; None if it can't."""
    problem = random_problem(seed)
    batch = problem.batches[0]
    one_wave = len(problem.batches) == 1 and problem.waves(batch.size) == 1
    if not one_wave or batch.size % problem.num_gpus or problem.output_tokens < 2:
        return None
    free = [name for name in problem.__slots__ if name.startswith("head_") or "link_s" in name]
    free += [name for name in problem.__slots__ if "occupancy" in name]
    zero = {name: np.zeros_like(getattr(problem, name)) for name in (*free, "shared_bytes")}
    devices = tuple(replace(device, min_used=0) for device in problem.devices)
    return replace(problem, devices=devices, **zero)


PIPELINES = [seed for seed in range(80) if one_pipeline(seed) is not None]


@pytest.mark.parametrize("seed", PIPELINES)
def test_corrected_cost_is_our_latency_and_one_more_decode_step(seed):
    """
    Without head and links the two differ by one charge of the slowest decode stage.

    LLM-PQ's corrected form charges it m_d (n - 1) times, ours m_d (n - 1) - 1 times.
    """
    problem, theta = one_pipeline(seed), 3.0
    own = from_pipeline(problem, theta_s_per_nat=theta)
    report = solve_fast(own, CORRECTED)
    if report.plan is None:
        return
    plan = to_plan(problem, report.plan)
    values = evaluate(problem, plan)
    slowest = max(stage.decode_s for stage in values.stages)
    expected = values.latency_s + slowest + theta * values.loss_nats
    assert report.objective == pytest.approx(expected, rel=1e-9)
    assert violations(problem, values, Limits()) == ()
    goal = Objective(goal=Goal.LATENCY_AND_QUALITY, theta_s_per_nat=theta)
    ours = solve(problem, objective=goal, stop=StopRule(gap=1e-6))
    assert ours.objective <= score(values, goal) * (1 + 1e-6)


def test_there_are_enough_pipelines_with_a_plan():
    """Guards the test above."""
    plans = [
        solve_fast(from_pipeline(one_pipeline(seed), theta_s_per_nat=3.0), CORRECTED).plan
        for seed in PIPELINES
    ]
    found = [plan for plan in plans if plan is not None]
    assert len(found) >= 8
    assert any(len(plan.order) > 1 for plan in found)


def test_head_and_logits_lie_on_the_first_device():
    """What our check charges to the last stage, LLM-PQ charges to the first."""
    seed = next(seed for seed in PIPELINES if one_pipeline(seed).num_gpus > 1)
    free = one_pipeline(seed)
    heavy = replace(free, head_bytes=np.full_like(free.head_bytes, 1.5))
    before = from_pipeline(free, theta_s_per_nat=0.0)
    after = from_pipeline(heavy, theta_s_per_nat=0.0)
    assert after.ends_bytes - before.ends_bytes == pytest.approx(1.5 - free.head_bytes.max())
    assert np.array_equal(after.capacity_bytes, before.capacity_bytes)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"theta_s_per_nat": -1.0}, "theta_s_per_nat is -1.0"),
        ({"decode_s": np.ones((3, 3, 1))}, "decode_s has shape"),
        ({"decode_s": np.full((3, 3, 2), np.nan)}, "decode_s has nan"),
        ({"prefill_micro_batches": np.array([4, 2, 1])}, "must be 1 or more and rise"),
    ],
)
def test_bad_coefficients_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        replace(three_devices(), **change)


def test_group_size_must_divide_the_layers():
    with pytest.raises(InputError, match="does not divide 3 layers"):
        solve_fast(three_devices(), LlmPqRules.corrected(group_size=2))
    with pytest.raises(InputError, match="group_size is 0"):
        LlmPqRules.corrected(group_size=0)


def test_a_problem_llmpq_cannot_state_is_refused():
    seed = next(
        seed for seed in range(80) if (p := random_problem(seed)).waves(p.batches[0].size) > 1
    )
    with pytest.raises(InputError, match="LLM-PQ plans one batch"):
        from_pipeline(random_problem(seed), theta_s_per_nat=1.0)


def test_gpus_that_may_not_stand_alone_are_refused():
    """Stages of two GPUs alone are left."""
    problem = next(
        p
        for p in (random_problem(seed, tensor_parallel=True) for seed in range(80))
        if len(p.batches) == 1 and p.num_requests is None and len(p.devices) == 1
    )
    pairs = [i for i, group in enumerate(problem.groups) if group.tensor_parallel == 2]
    by_group = {"group_formats", "prefill_s", "decode_s", "weight_bytes", "kv_bytes"}
    names = [
        name
        for name in problem.__slots__
        if name in by_group
        or name.startswith(("embedding_", "head_", "shared_"))
        or name.endswith("work_bytes")
    ]
    fewer = {name: getattr(problem, name)[pairs] for name in names}
    groups = tuple(problem.groups[i] for i in pairs)
    with pytest.raises(InputError, match="may not be a stage of one GPU"):
        from_pipeline(replace(problem, groups=groups, **fewer), theta_s_per_nat=1.0)


def test_a_decode_micro_batch_that_is_not_asked_for_is_refused():
    seed = next(seed for seed in PIPELINES if one_pipeline(seed).num_gpus > 1)
    problem = one_pipeline(seed)
    whole = replace(problem.batches[0], decode=problem.batches[0].decode[-1:])
    with pytest.raises(InputError, match="decodes in micro-batches of"):
        from_pipeline(replace(problem, batches=(whole,)), theta_s_per_nat=1.0)
