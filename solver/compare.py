"""What optimal planning buys: baselines beside the best plan, under one judge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

from solver.backends.registry import BackendName
from solver.baselines import BASELINES, Baseline, Budget
from solver.check import Violation, score
from solver.linear import Backend
from solver.losing import why_it_loses
from solver.objective import Limits, Objective, StopRule
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan, Progress, SolveReport, relative_gap
from solver.solve import solve

__all__ = ["Comparison", "ComparisonRow", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """
    A baseline's plan beside the best.

    Parameters
    ----------
    baseline
        Name, rule, source, and what was chosen in its favour.
    plans
        Its plan; several where pipelines run side by side; none where its rule gives none.
    evaluation, violations
        Its values by the judge, and every limit that it breaks.
    objective
        Value of the goal; None without a plan.
    ratio
        How many times worse than the best plan found: its value over the best one's (throughput
        the other way); None where either is infeasible or the best is 0.
    gap
        Relative gap between its value and the bound; None where it is infeasible, nothing is
        proven, or the bound does not cover it (see `Baseline.in_space`).
    why
        One sentence: why it is infeasible, or what makes it lose.
    was_cut
        Whether the time limit ended its own search; with more time its plan may be another.
    """

    baseline: Baseline
    plans: tuple[Plan, ...]
    evaluation: Evaluation | None
    violations: tuple[Violation, ...]
    objective: float | None
    ratio: float | None
    gap: float | None
    why: str
    was_cut: bool

    @property
    def feasible(self) -> bool:
        """Whether there is a plan and it keeps every limit."""
        return self.evaluation is not None and not self.violations


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The report of the search, and a row per baseline."""

    best: SolveReport
    rows: tuple[ComparisonRow, ...]


def compare(
    problem: PipelineProblem,
    *,
    objective: Objective | None = None,
    limits: Limits | None = None,
    stop: StopRule | None = None,
    baselines: Sequence[Baseline] = BASELINES,
    best: SolveReport | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    backend: BackendName | Backend = BackendName.HIGHS,
) -> Comparison:
    """
    Set baselines beside the best plan.

    Parameters
    ----------
    problem, objective, limits, stop, on_progress, cancelled, backend
        As of `solver.solve`. Each baseline has the time limit for itself; once cancelled, those
        left give no plan.
    baselines
        Which ones, in this order.
    best
        The report of a search of the same problem, to save another one.

    Returns
    -------
    Comparison
        One row per baseline.
    """
    objective, limits, stop = objective or Objective(), limits or Limits(), stop or StopRule()
    if best is None:
        best = solve(
            problem,
            objective=objective,
            limits=limits,
            stop=stop,
            on_progress=on_progress,
            cancelled=cancelled,
            backend=backend,
        )
    rows = []
    begun = monotonic() - best.runtime_s
    for baseline in baselines:
        if on_progress is not None:
            on_progress(
                Progress(
                    elapsed_s=monotonic() - begun,
                    goal=objective.goal,
                    incumbent=best.objective,
                    bound=best.bound,
                    gap=best.gap,
                    phase=f"baseline {baseline.title}",
                )
            )
        budget = Budget(deadline=monotonic() + stop.time_limit_s, cancelled=cancelled)
        if budget.is_spent():
            rows.append(_without_plan(baseline, "the comparison was cancelled", was_cut=True))
        else:
            rows.append(_row(problem, baseline, limits, objective, best, budget))
    return Comparison(best=best, rows=tuple(rows))


def _without_plan(baseline: Baseline, reason: str, *, was_cut: bool) -> ComparisonRow:
    return ComparisonRow(
        baseline=baseline,
        plans=(),
        evaluation=None,
        violations=(),
        objective=None,
        ratio=None,
        gap=None,
        why=f"It has no plan: {reason}.",
        was_cut=was_cut,
    )


def _row(
    problem: PipelineProblem,
    baseline: Baseline,
    limits: Limits,
    objective: Objective,
    best: SolveReport,
    budget: Budget,
) -> ComparisonRow:
    answer = baseline.propose(problem, limits, objective, budget)
    found = answer.judged
    if found is None:
        return _without_plan(baseline, answer.reason, was_cut=budget.was_cut)
    value = score(found.evaluation, objective)
    broken = found.violations
    known = baseline.in_space and not broken and best.bound is not None
    ratio = None if broken else _ratio(value, best.objective, objective)
    return ComparisonRow(
        baseline=baseline,
        plans=found.plans,
        evaluation=found.evaluation,
        violations=broken,
        objective=value,
        ratio=ratio,
        gap=relative_gap(value, best.bound) if known and best.bound is not None else None,
        why=why_it_loses(problem, found, best, objective),
        was_cut=budget.was_cut,
    )


def _ratio(value: float, best: float | None, objective: Objective) -> float | None:
    if best is None:
        return None
    top, bottom = (best, value) if objective.goal.maximise else (value, best)
    return top / bottom if 0 < bottom < inf else None
