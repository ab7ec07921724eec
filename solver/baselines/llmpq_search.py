"""
adabits and LLM-PQ's own search, under our judge.

References
----------
LLM-PQ: arXiv 2403.01136, DOI 10.1145/3627535.3638480, and the code released with it.
"""

from dataclasses import replace

from solver.baselines.budget import Budget
from solver.baselines.judging import Proposal, judged
from solver.baselines.layouts import lacking_prefill
from solver.baselines.llmpq_view import (
    few_orders,
    for_each_batch,
    most_quality,
    no_size,
    our_plan,
    over_thetas,
)
from solver.llmpq import LlmPqPlan, LlmPqProblem, LlmPqRules, prefill_sizes
from solver.objective import Limits, Objective
from solver.problem import PipelineProblem

__all__ = ["adabits", "llmpq_search"]

NO_MEMORY = "in its own account of memory, with embedding and head on the first GPU, no plan fits"


def adabits(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """The least quality loss that memory allows in the order given, sizes by batch / GPUs."""

    def propose(alone: PipelineProblem, own: LlmPqProblem) -> Proposal:
        (batch,) = alone.batches
        lacks = lacking_prefill(alone, batch, own.num_devices)
        if lacks:
            return Proposal(reason=lacks)
        plan = most_quality(own, own.decode_micro_batch, budget)
        if plan is None:
            return Proposal(reason=budget.no_plan(NO_MEMORY))
        return Proposal(judged=judged(alone, our_plan(alone, plan), limits))

    return for_each_batch(problem, objective, propose, budget)


def llmpq_search(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """LLM-PQ's objective as published, over all its orders and prefill sizes; see `over_thetas`."""
    rules = LlmPqRules.as_published()

    def propose(alone: PipelineProblem, own: LlmPqProblem) -> Proposal:
        if not prefill_sizes(own, rules):
            return Proposal(reason=no_size(own))
        tried = few_orders(own, budget)

        def plans(theta: float) -> list[LlmPqPlan]:
            report = budget.searched(replace(tried, theta_s_per_nat=theta), rules)
            return [case.plan for case in report.cases if case.plan is not None]

        found = over_thetas(alone, limits, objective, plans, budget)
        return Proposal(judged=found, reason="" if found else budget.no_plan(NO_MEMORY))

    return for_each_batch(problem, objective, propose, budget)
