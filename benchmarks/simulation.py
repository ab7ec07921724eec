"""
Replay plans and print how far the formulas are off: ``python -m benchmarks.simulation [NAME ...]``.

1. Random pipelines, each departure from the formulas' assumptions by itself and all together.
2. The plans found for the examples, as they are; where requests have several lengths, at their mean
   and by themselves.
3. Choices: the plan that the formulas call best against the one that is best when replayed, among
   micro-batch sizes for the stages found for an example, and among orders of random stages whose
   borders share network cards.

Differences are (simulated - formula) / formula. No times are measured, so any machine will do.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from api.example_files import example_names, example_path
from api.prepared import Prepared
from api.reading import read_text
from api.request import parse_request, prepare
from api.request_serving import workload_of
from api.schemas.request import PlanRequest
from benchmarks.random_plans import random_plan
from cost_model.simulated_pipeline import Order, Start
from profiles.lengths import LengthBucket
from solver import (
    PipelineProblem,
    Plan,
    Stage,
    StopRule,
    batch_lengths,
    evaluate,
    simulate_plan,
    solve,
    violations,
)

STOP = StopRule(gap=1e-3, time_limit_s=60.0)
NUM_PLANS, NUM_CHOICES = 200, 100
CLOSE = 1.1
"""Candidates of a choice: plans within a tenth of the best, by formula."""
STAGES_IN_ORDER, MOST_TOKENS = 4, 40
VALUES = ("latency", "TTFT", "TPOT")
HEADER = (
    "| {} | value | plans | min | median | mean | p90 | max |\n|---|---|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How to replay a plan."""

    name: str
    start: Start = Start.BARRIER
    order: Order = Order.FIRST_COME
    is_even: bool = True
    shares_cards: bool = False


FAMILIES = (
    Replay(name="none: as the formulas assume"),
    Replay(name="(a) ragged micro-batches", is_even=False),
    Replay(name="(b) overlapped start", start=Start.OVERLAPPED),
    Replay(name="(b') overlapped, decode first", start=Start.OVERLAPPED, order=Order.DECODE_FIRST),
    Replay(name="(c) shared cards", shares_cards=True),
    Replay(name="all of (a), (b), (c)", start=Start.OVERLAPPED, is_even=False, shares_cards=True),
)


def differences(
    problem: PipelineProblem, plan: Plan, how: Replay, lengths: Sequence[tuple[int, int]] = ()
) -> list[float]:
    """Of `VALUES`, as shares; NaN where there is no such value. All requests alike by default."""
    formula = evaluate(problem, plan)
    batch = simulate_plan(
        problem,
        plan,
        start=how.start,
        order=how.order,
        prompt_tokens=[prompt for prompt, _ in lengths] or None,
        output_tokens=[output for _, output in lengths] or None,
    ).batch
    steady = float("nan") if batch.steady_tpot_s is None else batch.steady_tpot_s
    found = (batch.latency_s, batch.prefill_end_s, steady)
    wanted = (formula.batch_latency_s, formula.ttft_s, formula.tpot_s)
    pairs = zip(found, wanted, strict=True)
    return [a / b - 1 if b > 0 else float("nan") for a, b in pairs]


def rows(name: str, found: Sequence[Sequence[float]]) -> Iterator[str]:
    """A line of the table for every value."""
    for value, column in zip(VALUES, np.array(found).T, strict=True):
        known = column[~np.isnan(column)]
        levels = [known.min(), np.median(known), known.mean(), np.quantile(known, 0.9), known.max()]
        cells = " | ".join(percent(level) for level in levels)
        yield f"| {name} | {value} | {len(known)} | {cells} |"


def percent(share: float) -> str:
    """Signed, in hundredths of a percent; what rounding makes of nothing is nothing."""
    return f"{share + 0.0:+.2%}" if abs(share) >= 5e-5 else "0"


def random_lines() -> Iterator[str]:
    """The table of random pipelines."""
    yield HEADER.format("departure")
    for how in FAMILIES:
        plans = [
            random_plan(seed, is_even=how.is_even, shares_cards=how.shares_cards)
            for seed in range(NUM_PLANS)
        ]
        yield from rows(how.name, [differences(*pair, how) for pair in plans])


# -- examples -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """An example with times at every micro-batch size, and the plan found for it."""

    name: str
    prepared: Prepared
    plan: Plan
    lengths: tuple[LengthBucket, ...]

    @property
    def problem(self) -> PipelineProblem:
        """With all sizes."""
        return self.prepared.problem

    def fits(self, plan: Plan) -> bool:
        """Whether a plan keeps memory and limits."""
        values = evaluate(self.problem, plan)
        return not violations(self.problem, values, self.prepared.limits)


def solved(name: str) -> Solved | None:
    """An example, solved; None where it has no plan or no catalogue to price other sizes."""
    path = example_path(name)
    body, _ = read_text(path.read_text(encoding="utf-8"))
    request = parse_request(body)
    if not isinstance(request, PlanRequest):
        return None
    prepared = prepare(request, folder=path.parent)
    report = solve(
        prepared.problem, objective=prepared.objective, limits=prepared.limits, stop=STOP
    )
    if report.plan is None:
        return None
    every = list(range(1, report.plan.batch_size + 1))
    update = {"prefill_micro_batches": every, "decode_micro_batches": every}
    workload = request.workload.model_copy(update=update)
    priced = prepare(request.model_copy(update={"workload": workload}), folder=path.parent)
    lengths = workload_of(request.workload, path.parent).lengths
    return Solved(name=name, prepared=priced, plan=report.plan, lengths=lengths)


def is_ragged(plan: Plan) -> bool:
    """Whether a last micro-batch is smaller."""
    sizes = (plan.prefill_micro_batch, plan.decode_micro_batch)
    return any(plan.batch_size % size for size in sizes)


def example_lines(examples: Sequence[Solved]) -> Iterator[str]:
    """The table of the plans found for the examples."""
    barrier, overlapped, decode_first = FAMILIES[0], FAMILIES[2], FAMILIES[3]
    yield HEADER.format("replay")
    for name, how in (
        ("barrier", barrier),
        ("overlapped", overlapped),
        ("overlapped, decode first", decode_first),
    ):
        yield from rows(name, [differences(each.problem, each.plan, how) for each in examples])
    yield ""
    yield "| example | ragged | barrier: latency | TTFT | TPOT | overlapped: latency |"
    yield "|---|---|--:|--:|--:|--:|"
    for each in examples:
        at = differences(each.problem, each.plan, barrier)
        over = differences(each.problem, each.plan, overlapped)[0]
        ragged = "yes" if is_ragged(each.plan) else "no"
        cells = " | ".join("" if np.isnan(share) else percent(share) for share in (*at, over))
        yield f"| {each.name} | {ragged} | {cells} |"
        if each.lengths:
            yield by_themselves(each)


def by_themselves(each: Solved) -> str:
    """The line of an example whose requests have several lengths, each replayed at its own."""
    lengths = batch_lengths(each.lengths, each.plan.batch_size)
    at = differences(each.problem, each.plan, FAMILIES[0], lengths)
    over = differences(each.problem, each.plan, FAMILIES[2], lengths)[0]
    cells = " | ".join(percent(share) for share in (*at, over))
    return f"| {each.name}, each length by itself | | {cells} |"


# -- choices ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    The best plan by formula and the best when replayed.

    ``lost`` is how much longer the former takes when replayed, as a share; ``texts`` say which
    they are.
    """

    name: str
    candidates: int
    lost: float
    texts: tuple[str, str]


def choose(name: str, problem: PipelineProblem, plans: Sequence[Plan], start: Start) -> Choice:
    """Compare the candidates by formula and by replay."""
    by_formula = [evaluate(problem, plan).batch_latency_s for plan in plans]
    near = [plan for plan, s in zip(plans, by_formula, strict=True) if s <= CLOSE * min(by_formula)]
    chosen = plans[int(np.argmin(by_formula))]
    replayed = {plan: simulate_plan(problem, plan, start=start).batch.latency_s for plan in near}
    best = min(near, key=replayed.__getitem__)
    return Choice(
        name=name,
        candidates=len(near),
        lost=replayed[chosen] / replayed[best] - 1,
        texts=(text_of(chosen), text_of(best)),
    )


def text_of(plan: Plan) -> str:
    """Sizes of micro-batches, and the groups in order."""
    groups = "-".join(str(stage.group) for stage in plan.stages)
    return f"{plan.prefill_micro_batch}/{plan.decode_micro_batch} on {groups}"


def size_choice(example: Solved, start: Start) -> Choice:
    """Among all pairs of the default micro-batch sizes, for the stages found."""
    batch = example.plan.batch_size
    sizes = sorted({-(-batch // count) for count in range(1, batch + 1)})
    plans = [
        replace(example.plan, prefill_micro_batch=prefill, decode_micro_batch=decode)
        for prefill in sizes
        for decode in sizes
    ]
    return choose(example.name, example.problem, [p for p in plans if example.fits(p)], start)


def order_choice(seed: int, start: Start) -> Choice | None:
    """Among all orders of random stages whose borders may share cards."""
    problem, plan = random_plan(seed, shares_cards=True)
    if len(plan.stages) != STAGES_IN_ORDER:
        return None
    problem = replace(problem, output_tokens=min(problem.output_tokens, MOST_TOKENS))
    plans = [
        replace(plan, stages=tuple(reordered(plan.stages, order)))
        for order in permutations(range(STAGES_IN_ORDER))
    ]
    return choose(f"random {seed}", problem, plans, start)


def reordered(stages: Sequence[Stage], order: Sequence[int]) -> Iterator[Stage]:
    """The stages' groups and formats in another order."""
    first = 0
    for at in order:
        yield replace(stages[at], first_layer=first)
        first += len(stages[at].formats)


def choice_lines(family: str, choices: Sequence[Choice]) -> Iterator[str]:
    """What following the formula loses: a line, and the worst case in words."""
    lost = np.array([choice.lost for choice in choices])
    worst = choices[int(lost.argmax())]
    cells = " | ".join(percent(x) for x in (np.median(lost), lost.mean(), lost.max()))
    other = f"{(lost > 1e-6).sum()} of {len(lost)}"
    yield f"| {family} | {other} | {cells} | {worst.name}: {worst.texts[0]}; {worst.texts[1]} |"


def all_choice_lines(examples: Sequence[Solved]) -> Iterator[str]:
    """The table of choices."""
    yield "| choice | chosen otherwise | median lost | mean | max | worst: formula; replay |"
    yield "|---|--:|--:|--:|--:|---|"
    for start in Start:
        sizes = [size_choice(example, start) for example in examples]
        yield from choice_lines(f"micro-batch sizes, {start}", sizes)
    for start in Start:
        orders = [order_choice(seed, start) for seed in range(NUM_CHOICES * 8)]
        known = [choice for choice in orders if choice is not None][:NUM_CHOICES]
        yield from choice_lines(f"orders, shared cards, {start}", known)


def main() -> None:
    """Print all tables, for the examples named or for all."""
    print("## Random pipelines\n")
    for line in random_lines():
        print(line, flush=True)
    found = [solved(name) for name in sys.argv[1:] or example_names()]
    examples = [each for each in found if each is not None]
    print("\n## Plans of the examples\n")
    for line in example_lines(examples):
        print(line, flush=True)
    print("\n## Choices\n")
    for line in all_choice_lines(examples):
        print(line, flush=True)


if __name__ == "__main__":
    main()
