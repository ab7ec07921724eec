"""Plans of baselines under the judge that all plans have."""

from collections.abc import Iterable
from dataclasses import dataclass

from solver.check import Violation, evaluate, score, violations
from solver.objective import Limits, Objective
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan

__all__ = ["Judged", "Proposal", "best_of", "better", "judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """
    A plan with its values and what it breaks.

    ``plans`` has several entries where the batch is divided among pipelines that run side by side;
    ``parts`` has the values of each by itself, ``evaluation`` those of all together.
    """

    plans: tuple[Plan, ...]
    parts: tuple[Evaluation, ...]
    evaluation: Evaluation
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a baseline answers: its plan, feasible or not, or why its rule gives none."""

    judged: Judged | None = None
    reason: str = ""


def judged(problem: PipelineProblem, plan: Plan, limits: Limits) -> Judged:
    """A plan under the judge."""
    values = evaluate(problem, plan)
    return Judged(
        plans=(plan,),
        parts=(values,),
        evaluation=values,
        violations=violations(problem, values, limits),
    )


def best_of(
    problem: PipelineProblem, plans: Iterable[Plan], limits: Limits, objective: Objective
) -> Judged | None:
    """
    The best plan that keeps the limits or, where none does, the one that breaks them least.

    Of plans that are equal in the goal it is the one of least latency, as in the search.
    Plans that break limits are compared by the largest share by which one of them is exceeded, and
    where that is equal by the goal.
    None where there are no plans.
    """
    best: Judged | None = None
    for plan in plans:
        best = better(best, judged(problem, plan, limits), objective)
    return best


def better(first: Judged | None, second: Judged | None, objective: Objective) -> Judged | None:
    """The better of the two by the rule of `best_of`; the first where they are equal."""
    if first is None or second is None:
        return second if first is None else first
    return second if _rank(second, objective) < _rank(first, objective) else first


def _rank(found: Judged, objective: Objective) -> tuple[float, ...]:
    excess = max((violation.excess for violation in found.violations), default=0.0)
    sign = -1 if objective.goal.maximise else 1
    value = sign * score(found.evaluation, objective)
    return float(bool(found.violations)), excess, value, found.evaluation.latency_s
