"""
Estimates of what changes to a problem are worth: its relaxation before and after.

A dual of the relaxation says what a small step is worth. Steps here are large (a GPU, a format), so
that the relaxation is solved anew instead, near the micro-batch sizes of a plan alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, nan

from profiles.errors import BackendError
from solver.explore import MOST_RUNS_UNMERGED
from solver.formulation import formulate
from solver.instance import Instance, layer_runs
from solver.linear import Backend, BackendStop, Effort
from solver.objective import Limits
from solver.problem import BatchOption, PipelineProblem
from solver.result import Evaluation, Plan
from solver.target import Target

__all__ = ["Estimator", "Sizes"]

_GAP = 1e-6
# A step to other sizes must be better by this share.
_BETTER = 1e-6

Sizes = tuple[int, int]
"""Indices of the micro-batch sizes of prefill and decode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """
    Relaxations near the sizes of one plan.

    Parameters
    ----------
    target
        What is minimised.
    plan, evaluation
        The plan whose batch size is kept, and its values.
    backend, seed
        Who solves linear programs, and how.
    seconds_left, cancelled
        When to give up.
    """

    target: Target
    plan: Plan
    evaluation: Evaluation
    backend: Backend
    seed: int
    seconds_left: Callable[[], float]
    cancelled: Callable[[], bool] | None

    def sizes(self, problem: PipelineProblem) -> Sizes:
        """The plan's own."""
        sizes = [int(size) for size in problem.micro_batches]
        plan = self.plan
        return sizes.index(plan.prefill_micro_batch), sizes.index(plan.decode_micro_batch)

    def at(self, problem: PipelineProblem, limits: Limits, sizes: Sizes) -> float:
        """
        Least value on the relaxation of a problem.

        Parameters
        ----------
        problem, limits
            The problem, with the plan's batch size.
        sizes
            Where.

        Returns
        -------
        float
            inf where the relaxation has no plan; nan where the solver gave up.
        """
        prefill, decode = sizes
        instance = Instance(
            problem=problem,
            batch=self._batch(problem),
            prefill=prefill,
            decode=decode,
            price_low=0.0,
            price_high=inf,
        )
        merged = len(layer_runs(problem)) > MOST_RUNS_UNMERGED
        form = formulate(instance, limits, merged=merged, pooled=True)
        goal = self.target.near(form, self.evaluation)
        effort = Effort(gap=_GAP, time_s=self.seconds_left(), seed=self.seed)
        try:
            result = self.backend.relax(
                form.model(goal.expression), effort, cancelled=self.cancelled
            )
        except BackendError:
            return nan
        if result.stop is BackendStop.INFEASIBLE:
            return inf
        return goal.value(result.bound) if result.stop is BackendStop.PROVEN else nan

    def near(self, problem: PipelineProblem, limits: Limits, sizes: Sizes) -> tuple[float, Sizes]:
        """
        Least value by steps to the next larger or smaller size, and where.

        Parameters
        ----------
        problem, limits, sizes
            As for `at`; where to start.
        """
        known = {sizes: self.at(problem, limits, sizes)}
        best = sizes
        while True:
            for other in self._next_to(problem, best):
                if other not in known:
                    known[other] = self.at(problem, limits, other)
                if known[other] < known[best] - _BETTER * abs(known[best]):
                    best = other
                    break
            else:
                return known[best], best

    def _next_to(self, problem: PipelineProblem, sizes: Sizes) -> Iterator[Sizes]:
        batch = self._batch(problem)
        for prefill in _neighbours(batch.prefill, sizes[0]):
            yield prefill, sizes[1]
        for decode in _neighbours(batch.decode, sizes[1]):
            yield sizes[0], decode

    def _batch(self, problem: PipelineProblem) -> BatchOption:
        return next(each for each in problem.batches if each.size == self.plan.batch_size)


def _neighbours(allowed: tuple[int, ...], index: int) -> tuple[int, ...]:
    """Those before and after, of indices that need not be in order."""
    rising = sorted(allowed)
    place = rising.index(index)
    return tuple(rising[max(place - 1, 0) : place] + rising[place + 1 : place + 2])
