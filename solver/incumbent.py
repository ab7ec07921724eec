"""The best plan of a search."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from solver.check import evaluate, violations
from solver.objective import Limits
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan
from solver.target import Target

__all__ = ["Best", "Incumbent"]

_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The best plan so far; ``value`` is to be minimised."""

    value: float
    plan: Plan
    evaluation: Evaluation

    def is_better_than(self, other: "Incumbent | None") -> bool:
        """Less value; within 1e-9, fewer GPUs, then fewer stages, then the lesser plan."""
        if other is None:
            return True
        if abs(self.value - other.value) > _SAME * max(abs(other.value), _SAME):
            return self.value < other.value
        return self.rank < other.rank

    @property
    def rank(self) -> tuple[object, ...]:
        """What decides among plans of equal value."""
        plan = self.plan
        stages = tuple((s.group, s.first_layer, s.formats) for s in plan.stages)
        sizes = (plan.batch_size, plan.prefill_micro_batch, plan.decode_micro_batch)
        return (self.evaluation.gpus, len(plan.stages), stages, sizes)


@dataclass(slots=True, kw_only=True)
class Best:
    """
    Judges plans and keeps the best.

    Parameters
    ----------
    problem, limits, target
        What is asked.
    gap
        Plans better than the incumbent by less than this share are not worth looking for.
    on_better
        Called when a plan takes the place of the incumbent.
    """

    problem: PipelineProblem
    limits: Limits
    target: Target
    gap: float
    on_better: Callable[[], None]
    incumbent: Incumbent | None = None

    @property
    def value(self) -> float:
        """Value of the incumbent; inf without one."""
        return inf if self.incumbent is None else self.incumbent.value

    @property
    def cutoff(self) -> float:
        """Plans from this value on are not worth looking for."""
        return self.cutoff_at(self.gap)

    def cutoff_at(self, gap: float) -> float:
        """The cutoff that another gap would give."""
        return inf if self.incumbent is None else self.target.cutoff(self.value, gap)

    def offer(self, plan: Plan) -> None:
        """Judge a plan; keep it if it is feasible and better."""
        values = evaluate(self.problem, plan)
        if violations(self.problem, values, self.limits):
            return
        found = Incumbent(value=self.target.of(values), plan=plan, evaluation=values)
        if found.is_better_than(self.incumbent):
            self.incumbent = found
            self.on_better()
