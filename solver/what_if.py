"""
What a change to a solved problem would gain, and what giving GPUs back would lose.

First by linear programs: what the relaxation gains near the plan's own micro-batch sizes is an
estimate (`solver.estimate`). Changes are solved in its order, starting from the present plan. All
that are not solved are then bounded at once by the relaxations of the search
(`solver.search.Search.bound`): together they gain at least what each of them does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isclose, isfinite
from time import monotonic

from solver.backends.registry import BackendName, backend_of
from solver.changes import (
    Change,
    ChangeKind,
    Question,
    carry_over,
    possible_changes,
    possible_returns,
    possible_uses,
)
from solver.check import evaluate, score, violations
from solver.estimate import Estimator, Sizes
from solver.linear import Backend
from solver.objective import Goal, Limits, Objective, StopRule
from solver.prices import PriceLevels
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan, Progress, SolveReport, StopReason, relative_gap
from solver.search import Search
from solver.target import Target

__all__ = ["Effect", "what_if"]

# Changed problems are bounded to the gap asked for, or to this one if that is coarser, and solved
# to a share of what the effect is estimated at, within that gap and this many times as much.
_FINE_GAP, _COARSE = 1e-3, 10
_SHARE_OF_EFFECT = 0.15
# The present plan is close to the best one of a changed problem, but seldom as close as this.
_SCOUT_NEED = 0.02
# The values of these lie apart: a relaxation below the plan may rise at no loss.
_APART = (Goal.PRICE, Goal.GPUS, Goal.STAGES)
_ENDS_OF_PROOF = (StopReason.PROVEN, StopReason.GAP_REACHED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effect:
    """
    What a change does to the objective; gains are in its unit, losses are negative gains.

    Parameters
    ----------
    change
        The change.
    gain
        Proven: of the best plan known for the changed problem; None where none is known.
    most_gain
        Proven: no plan of the changed problem gains more; -inf where it has none, inf where nothing
        bounds it.
    estimate
        Not proven: what the relaxation gains near the plan's own micro-batch sizes, as predicted
        before anything was solved; 0 for a gain no larger than the gap between plan and relaxation,
        None where there is no plan near, or it was not worked out. Of what is not confirmed, it is
        kept within the two others. That a gain exists is told by ``gain`` alone.
    is_confirmed
        Whether the changed problem was solved to its gap. Else ``gain`` is that of the present plan
        under the change, or of a better one where time ran out, and ``most_gain`` a bound.
    is_joint
        Whether ``most_gain`` bounds several changes together, this one among them.
    objective, bound, gap
        Of the changed problem; None where not known.
    plan
        The best plan known for it.
    """

    change: Change
    gain: float | None
    most_gain: float
    estimate: float | None = None
    is_confirmed: bool = False
    is_joint: bool = False
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    plan: Plan | None = None


def what_if(
    problem: PipelineProblem,
    report: SolveReport,
    *,
    objective: Objective | None = None,
    limits: Limits | None = None,
    stop: StopRule | None = None,
    changes: Sequence[Change] | None = None,
    most_solved: int = 2,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    backend: BackendName | Backend = BackendName.HIGHS,
) -> tuple[Effect, ...]:
    """
    Say what changes would gain, and what giving GPUs back or forcing them in would lose.

    Parameters
    ----------
    problem, report, objective, limits
        What was solved, and the answer, with a plan.
    stop
        Gap asked for, of which changed problems are solved to a few times as much (a gap of 0 to a
        full proof); and seconds by the clock for everything.
    changes
        What to try beside returns and forced GPUs; default: `possible_changes`.
    most_solved
        How many gains, and how many GPUs given back, are confirmed by solving at most; GPUs forced
        in are estimated.
    on_progress
        Called as the search of a changed problem gets on, whose incumbent and bound it tells; the
        seconds count on from those of the report.
    cancelled, backend
        As for `solver.solve`.

    Returns
    -------
    tuple of Effect
        Gains first, largest first, then losses, smallest first; of each, what was solved before
        estimates. Empty without a plan.
    """
    if report.plan is None or report.evaluation is None:
        return ()
    objective, limits, stop = objective or Objective(), limits or Limits(), stop or StopRule()
    target = Target(objective=objective)
    study = _Study(
        question=Question(problem=problem, limits=limits),
        report=report,
        plan=report.plan,
        target=target,
        stop=stop,
        deadline=monotonic() + stop.time_limit_s,
        on_progress=on_progress,
        cancelled=cancelled,
        backend=backend_of(backend),
        value=target.of(report.evaluation),
        evaluation=report.evaluation,
    )
    given = possible_changes(problem, limits) if changes is None else tuple(changes)
    returns = possible_returns(problem, report.evaluation)
    forced = possible_uses(problem, report.evaluation)
    return (
        *study.gains(given, most_solved),
        *study.losses(returns, most_solved),
        *study.forced(forced),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Changes that were bounded together, the search that did, and the bound, if there is one."""

    bound: float | None
    changes: tuple[Change, ...]
    search: Search

    @property
    def final(self) -> float | None:
        """The bound, unless the search was cut: it may then still be far from any plan."""
        return None if self.search.is_cut else self.bound


@dataclass(slots=True, kw_only=True)
class _Study:
    """Estimates, bounds and solves changed problems; values and bounds are to be minimised."""

    question: Question
    report: SolveReport
    plan: Plan
    evaluation: Evaluation
    target: Target
    stop: StopRule
    deadline: float
    on_progress: Callable[[Progress], None] | None
    cancelled: Callable[[], bool] | None
    backend: Backend
    value: float
    _before: tuple[float, Sizes] | None = None
    _estimates: dict[Change, float | None] = field(default_factory=dict)
    _groups: dict[tuple[Change, ...], _Group] = field(default_factory=dict)

    # -- gains ------------------------------------------------------------------------------

    def gains(self, changes: Sequence[Change], most_solved: int) -> list[Effect]:
        """Changes that give: the most promising are solved, the others bounded."""
        ranked = self._ranked(changes)
        known = [
            self._effect(
                change, self._present(change), group.bound, is_joint=len(group.changes) > 1
            )
            for group in self._bounded(ranked[most_solved:])
            for change in group.changes
        ]
        solved = [self._solve(change) for change in ranked[:most_solved]]
        return sorted(solved, key=_by_gain) + sorted(known, key=_by_estimate)

    def _bounded(self, changes: Sequence[Change]) -> list[_Group]:
        """Bounds on changes, on all of them at once where that can be."""
        alone = [(change,) for change in changes if change.is_alone]
        together = tuple(change for change in changes if not change.is_alone)
        return [self._look_at(each) for each in (*alone, together) if each]

    def _gap(self, change: Change) -> float:
        """The gap to which a change is solved."""
        share = abs(self._estimate(change) or 0.0) / max(abs(self.target.public(self.value)), 1e-9)
        return min(max(_SHARE_OF_EFFECT * share, self._fine_gap), _COARSE * self._fine_gap)

    @property
    def _fine_gap(self) -> float:
        return min(self.stop.gap, _FINE_GAP)

    # -- losses -----------------------------------------------------------------------------

    def losses(self, changes: Sequence[Change], most_solved: int) -> list[Effect]:
        """GPUs given back: those that are not used, then the others, the least missed solved."""
        kept = [self._same(change) for change in changes if self._present(change) is not None]
        used = self._ranked([change for change in changes if self._present(change) is None])
        solved = [self._solve(change) for change in used[:most_solved]]
        known = [self._effect(change, None, self._proven) for change in used[most_solved:]]
        return kept + sorted(solved, key=_by_most_gain) + sorted(known, key=_by_estimate)

    def forced(self, changes: Sequence[Change]) -> list[Effect]:
        """GPUs forced in: estimates; that no plan with them is better is proven already."""
        effects = [self._effect(change, None, self._proven) for change in changes]
        return sorted(effects, key=_by_estimate)

    def _same(self, change: Change) -> Effect:
        """The plan remains, and so does its proof: what is taken was not used."""
        self._estimates[change] = 0.0
        effect = self._effect(change, self._present(change), self._proven)
        return replace(effect, is_confirmed=self.report.bound is not None)

    @property
    def _proven(self) -> float | None:
        """What no plan of the problem itself can beat; None where nothing is proven."""
        bound = self.report.bound
        return 1 / bound if bound is not None and self.target.objective.goal.maximise else bound

    # -- estimates --------------------------------------------------------------------------

    def _ranked(self, changes: Sequence[Change]) -> list[Change]:
        """By falling estimate, unknown ones last."""
        return sorted(changes, key=lambda change: _falling(self._estimate(change)))

    def _estimate(self, change: Change) -> float | None:
        """What a change gains by the relaxation; None where that says nothing."""
        if change not in self._estimates:
            self._estimates[change] = None if self._is_over() else self._relaxed_gain(change)
        return self._estimates[change]

    def _told(self, change: Change) -> float | None:
        """The estimate; 0 for gains within the gap between plan and relaxation, which are noise."""
        estimate = self._estimate(change)
        if estimate is None or self._before is None or change.kind.takes:
            return estimate
        return 0.0 if estimate <= self._gain(self.target.public(self._before[0])) else estimate

    def _relaxed_gain(self, change: Change) -> float | None:
        if self._before is None:
            own = self._estimator.sizes(self.question.problem)
            found, near = self._estimator.near(self.question.problem, self.question.limits, own)
            self._before = self._attainable(self.question.problem, found), near
        changed, (before, sizes) = self._changed([change]), self._before
        if change.count:
            after, _ = self._estimator.near(changed.problem, changed.limits, sizes)
        else:
            after = self._estimator.at(changed.problem, changed.limits, sizes)
        if change.kind is ChangeKind.MORE_GPUS and change.subject in self._slowest:
            at_all_sizes = self._look_at((change,)).final
            if at_all_sizes is None:
                return None
            after = min(after, at_all_sizes)
        after = self._attainable(changed.problem, after)
        if not isfinite(after - before):
            return None
        if change.kind.takes and self.target.objective.goal in _APART:
            before = max(before, self.value)
        expected = max(self.value + after - before, 0.0)
        if not isclose(expected, self._attainable(changed.problem, expected), abs_tol=1e-6):
            return None
        return self._gain(self.target.public(expected))

    def _attainable(self, problem: PipelineProblem, bound: float) -> float:
        """A bound raised to what the goal can take: whole numbers, prices of whole GPUs."""
        if self.target.objective.goal is Goal.PRICE:
            return PriceLevels.of(problem).at_least(bound)
        return self.target.sharpen(bound)

    @property
    def _slowest(self) -> set[str]:
        """Device classes of the slowest stage of each phase: more of them may change all sizes."""
        stages = self.evaluation.stages
        slowest = (max(stages, key=lambda s: s.prefill_s), max(stages, key=lambda s: s.decode_s))
        return {self.question.problem.devices[stage.device].name for stage in slowest}

    @property
    def _estimator(self) -> Estimator:
        return Estimator(
            target=self.target,
            plan=self.plan,
            evaluation=self.evaluation,
            backend=self.backend,
            seed=self.stop.seed,
            seconds_left=self._left,
            cancelled=self.cancelled,
        )

    def _left(self) -> float:
        return self.deadline - monotonic()

    # -- one changed problem ----------------------------------------------------------------

    def _changed(self, changes: Sequence[Change]) -> Question:
        question = self.question
        for change in changes:
            question = change.edit(question)
        return question

    def _present(self, change: Change) -> Plan | None:
        """The present plan under a change, where it is feasible."""
        changed = self._changed([change])
        plan = carry_over(self.plan, self.question.problem, changed.problem)
        if plan is None:
            return None
        values = evaluate(changed.problem, plan)
        return None if violations(changed.problem, values, changed.limits) else plan

    def _search(self, changes: Sequence[Change]) -> Search:
        """A search of the problem under changes that were made together."""
        changed = self._changed(changes)
        plan = carry_over(self.plan, self.question.problem, changed.problem)
        return Search(
            problem=changed.problem,
            objective=self.target.objective,
            limits=changed.limits,
            stop=replace(self.stop, gap=self._fine_gap),
            deadline=self.deadline,
            start=() if plan is None else (plan,),
            on_progress=self._tell,
            cancelled=self.cancelled,
            phase="what-if",
            scout_need=_SCOUT_NEED,
            backend=self.backend,
        )

    def _tell(self, progress: Progress) -> None:
        if self.on_progress is not None:
            since_s = monotonic() - self.deadline + self.stop.time_limit_s
            self.on_progress(replace(progress, elapsed_s=self.report.runtime_s + since_s))

    def _look_at(self, changes: tuple[Change, ...]) -> _Group:
        """Bound changes together, once."""
        if changes not in self._groups:
            search = self._search(changes)
            self._groups[changes] = _Group(search.bound(), changes, search)
        return self._groups[changes]

    def _solve(self, change: Change) -> Effect:
        """Solve a changed problem; where time runs out, what is known by then."""
        group = self._groups.get((change,))
        search = self._search([change]) if group is None else group.search
        result = search.run(self._gap(change))
        plan = None if result.incumbent is None else result.incumbent.plan
        bounds = (
            None if result.pair_bounds is None else result.bound,
            self._proven if change.kind.takes else None,
        )
        bound = max((each for each in bounds if each is not None), default=None)
        effect = self._effect(change, plan, bound)
        if result.is_infeasible or (plan is not None and result.stop in _ENDS_OF_PROOF):
            return replace(effect, is_confirmed=True, estimate=self._told(change))
        return effect

    def _is_over(self) -> bool:
        return self._left() <= 0 or (self.cancelled is not None and self.cancelled())

    # -- effects ----------------------------------------------------------------------------

    def _effect(
        self, change: Change, plan: Plan | None, bound: float | None, *, is_joint: bool = False
    ) -> Effect:
        """What is known of a change: a plan, and a bound on every plan, if there is one."""
        problem, objective = self._changed([change]).problem, None
        if bound is not None:
            bound = self._attainable(problem, bound)
        if plan is not None:
            values = evaluate(problem, plan)
            objective = score(values, self.target.objective)
            bound = None if bound is None else min(bound, self.target.of(values))
        shown = self._shown(bound)
        gain = None if objective is None else self._gain(objective)
        most_gain = -inf if bound == inf else inf if shown is None else self._gain(shown)
        return Effect(
            change=change,
            gain=gain,
            most_gain=most_gain,
            estimate=_between(self._told(change), gain, most_gain),
            is_joint=is_joint,
            objective=objective,
            bound=shown,
            gap=None if objective is None or shown is None else relative_gap(objective, shown),
            plan=plan,
        )

    def _shown(self, bound: float | None) -> float | None:
        """A bound as the user sees it; None where there is none, or no plan to bound."""
        if bound is None or bound == inf:
            return None
        shown = self.target.public(bound)
        return shown if isfinite(shown) else None

    def _gain(self, objective: float) -> float:
        """How much better than the present objective another one is."""
        present = self.target.public(self.value)
        return objective - present if self.target.objective.goal.maximise else present - objective


def _between(estimate: float | None, least: float | None, most: float) -> float | None:
    """An estimate within what is proven; None where nothing bounds it, or there is no plan."""
    if estimate is None or not isfinite(most):
        return None
    return min(max(estimate, -inf if least is None else least), most)


def _falling(estimate: float | None) -> float:
    return inf if estimate is None else -estimate


def _by_gain(effect: Effect) -> float:
    return -inf if effect.gain is None else -effect.gain


def _by_estimate(effect: Effect) -> float:
    return _falling(effect.estimate)


def _by_most_gain(effect: Effect) -> float:
    return -effect.most_gain
