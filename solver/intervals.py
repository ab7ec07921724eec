"""
What the errors of single times make of a plan's values: 90 % intervals.

Each group of times that share an error is moved to either end of its interval while the others
stay, and the plan is judged anew. Groups err independently, so the deviations add up as the root
of their squares; within a group they are common, so they add up in full.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import hypot

import numpy as np

from cost_model.intervals import TimeGroup
from solver.check import evaluate
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan

__all__ = ["INTERVAL_VALUES", "plan_intervals", "scaled"]

INTERVAL_VALUES = ("ttft_s", "tpot_s", "batch_latency_s", "latency_s", "throughput_tokens_per_s")


def scaled(problem: PipelineProblem, group: TimeGroup, factor: float) -> PipelineProblem:
    """
    The problem with all times of a group multiplied by a factor.

    Parameters
    ----------
    problem
        What is planned.
    group
        Times that share an error; its shapes are those of the problem.
    factor
        Greater than 0.
    """
    layers = np.where(group.cells, factor, 1.0)[:, :, None, None]
    ends = np.where(group.ends, factor, 1.0)[:, None]
    names = (f"{group.phase}_s", f"embedding_{group.phase}_s", f"head_{group.phase}_s")
    arrays = {
        name: getattr(problem, name) * by
        for name, by in zip(names, (layers, ends, ends), strict=True)
    }
    return replace(problem, **arrays)


def plan_intervals(
    problem: PipelineProblem, plan: Plan, evaluation: Evaluation, groups: Iterable[TimeGroup]
) -> dict[str, tuple[float, float]]:
    """
    90 % intervals of the values in `INTERVAL_VALUES`, low and high.

    Parameters
    ----------
    problem, plan, evaluation
        What was planned, and its values.
    groups
        Times that share an error, of this problem.
    """
    used = [group for group in groups if _plays(plan, group)]
    ends = [
        (evaluate(scaled(problem, group, group.interval.low), plan),
         evaluate(scaled(problem, group, group.interval.high), plan))
        for group in used
    ]  # fmt: skip
    found = {}
    for name in INTERVAL_VALUES:
        value = getattr(evaluation, name)
        off = [sorted(getattr(end, name) - value for end in pair) for pair in ends]
        low = value - hypot(*(min(down, 0.0) for down, _ in off))
        found[name] = (low, value + hypot(*(max(up, 0.0) for _, up in off)))
    return found


def _plays(plan: Plan, group: TimeGroup) -> bool:
    """Whether some stage of the plan takes times of the group."""
    return any(
        group.ends[stage.group] or any(group.cells[stage.group, f] for f in stage.formats)
        for stage in plan.stages
    )
