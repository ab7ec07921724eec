"""The best plan of a search."""

from dataclasses import dataclass

from solver.result import Evaluation, Plan

__all__ = ["Incumbent"]

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
