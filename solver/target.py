"""
Goals as something to minimise: on a plan that was checked, and on a formulation.

Throughput is minimised as seconds per token. Cost is latency times price, a product; over a price
interval [P0, P1] with latency at least T0 it is bounded from below by P0 T + T0 P - P0 T0
(McCormick 1976, doi:10.1007/BF01580665), which is exact where the interval is a single price.
"""

from dataclasses import dataclass
from math import ceil, inf

from profiles.units import HOUR, MILLION
from solver.check import score
from solver.formulation import Formulation, Quantity
from solver.instance import Instance
from solver.linear import Expression, combine
from solver.objective import Goal, Objective
from solver.quick import QuickBounds
from solver.result import Evaluation

__all__ = ["LinearGoal", "Target"]

_QUANTITIES = {
    Goal.LATENCY: "latency_s",
    Goal.TTFT: "ttft_s",
    Goal.TPOT: "tpot_s",
    Goal.QUALITY_LOSS: "loss_nats",
    Goal.PRICE: "price_usd_per_hour",
    Goal.GPUS: "gpus",
    Goal.STAGES: "stages",
}
_TIMED = (
    Goal.LATENCY,
    Goal.THROUGHPUT,
    Goal.TTFT,
    Goal.TPOT,
    Goal.COST,
    Goal.LATENCY_AND_QUALITY,
)
_QUALITY_TOLERANCE_NATS = 1e-6
_WHOLE = (Goal.GPUS, Goal.STAGES)
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearGoal:
    """``scale * expression + offset`` is at most the value to minimise."""

    expression: Expression
    scale: float
    offset: float = 0.0

    def value(self, objective: float) -> float:
        """From the objective of the linear model."""
        return self.scale * objective + self.offset

    def inverse(self, value: float) -> float:
        """To the objective of the linear model."""
        return (value - self.offset) / self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An objective turned into a value to minimise."""

    objective: Objective

    @property
    def is_product(self) -> bool:
        """Whether the value is a product that needs branching on price."""
        return self.objective.goal is Goal.COST

    @property
    def is_timed(self) -> bool:
        """Whether the value grows with the time that a plan takes."""
        return self.objective.goal in _TIMED

    def of(self, evaluation: Evaluation) -> float:
        """The value of a checked plan."""
        value = score(evaluation, self.objective)
        return 1 / value if self.objective.goal.maximise else value

    def public(self, value: float) -> float:
        """From the value to the objective that the user sees."""
        if not self.objective.goal.maximise:
            return value
        return 1 / value if value > 0 else inf

    def cutoff(self, incumbent: float, gap: float) -> float:
        """Plans from here on are not worth looking for."""
        if self.objective.goal.maximise:
            gap /= 1 + gap  # a share of the inverse
        slack = gap * abs(incumbent)
        if self.objective.goal is Goal.QUALITY_LOSS:
            slack = max(slack, _QUALITY_TOLERANCE_NATS)
        return incumbent - slack

    def sharpen(self, bound: float) -> float:
        """Round up a bound on a whole number."""
        whole = self.objective.goal in _WHOLE
        return float(ceil(bound - 1e-6)) if whole and abs(bound) < inf else bound

    def quick(self, instance: Instance, bounds: QuickBounds) -> float:
        """A lower bound in closed form; 0 for goals that have none, inf where there is no plan."""
        if bounds.latency_s == inf:
            return inf
        goal, latency = self.objective.goal, bounds.latency_s * (1 - _ROUNDING)
        if goal is Goal.THROUGHPUT:
            return latency / instance.output_tokens
        if goal is Goal.COST:
            return latency * instance.price_low * MILLION / HOUR / instance.output_tokens
        known = {
            Goal.LATENCY: latency,
            Goal.LATENCY_AND_QUALITY: latency,
            Goal.TTFT: bounds.ttft_s * (1 - _ROUNDING),
            Goal.TPOT: bounds.tpot_s * (1 - _ROUNDING),
        }
        return known.get(goal, 0.0)

    def linear(self, form: Formulation, latency_low_s: float) -> LinearGoal:
        """
        The goal on a formulation.

        Parameters
        ----------
        form
            The formulation; its instance gives the price interval.
        latency_low_s
            A lower bound on latency, used by the cost goal only.
        """
        goal, latency = self.objective.goal, form.quantities["latency_s"]
        if goal is Goal.COST:
            return _cost(form, latency_low_s, form.instance.price_low)
        if goal is Goal.THROUGHPUT:
            scale = latency.unit / form.instance.output_tokens
            return LinearGoal(expression=latency.expression, scale=scale)
        if goal is Goal.LATENCY_AND_QUALITY:
            loss = form.quantities["loss_nats"]
            weight = self.objective.theta_s_per_nat * loss.unit / latency.unit
            both = combine((1, latency.expression), (weight, loss.expression))
            return LinearGoal(expression=both, scale=latency.unit)
        quantity: Quantity = form.quantities[_QUANTITIES[goal]]
        return LinearGoal(expression=quantity.expression, scale=quantity.unit)

    def near(self, form: Formulation, evaluation: Evaluation) -> LinearGoal:
        """
        The goal on a formulation near a plan: a product by its tangent there, which is no bound.

        Parameters
        ----------
        form
            The formulation.
        evaluation
            Values of the plan.
        """
        if self.is_product:
            return _cost(form, evaluation.latency_s, evaluation.price_usd_per_hour)
        return self.linear(form, 0.0)


def _cost(form: Formulation, latency_s: float, usd_per_hour: float) -> LinearGoal:
    """Latency times price, linear around one of each."""
    latency, price = form.quantities["latency_s"], form.quantities["price_usd_per_hour"]
    per_token = MILLION / HOUR / form.instance.output_tokens
    scale = max(usd_per_hour * latency.unit, latency_s * price.unit) * per_token or 1.0
    expression = combine(
        (per_token * usd_per_hour * latency.unit / scale, latency.expression),
        (per_token * latency_s * price.unit / scale, price.expression),
    )
    return LinearGoal(
        expression=expression, scale=scale, offset=-per_token * usd_per_hour * latency_s
    )
