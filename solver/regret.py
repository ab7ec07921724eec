"""
Does a plan stay best when the tables are wrong? Its regret in tables drawn from their error.

In each sample all times are multiplied by random factors (`cost_model.uncertainty`), and the plan
is held against the best plan of the sample. That it is within the tolerance counts only where a
lower bound proves it, that it is not only where a better plan is known: first by the plans already
found and by relaxations, then by a search to a loose gap. What neither decides is counted as such.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, sqrt
from time import monotonic

import numpy as np

from cost_model.uncertainty import ErrorTerm
from solver.backends.registry import BackendName, backend_of
from solver.check import evaluate, violations
from solver.linear import Backend
from solver.objective import Limits, Objective, StopRule
from solver.problem import FloatArray, PipelineProblem
from solver.result import Plan, Progress
from solver.search import Search
from solver.target import Target

__all__ = ["Regret", "RegretRule", "Rival", "binomial_interval", "perturbed", "regret"]

# Gaps to which samples are searched that relaxations do not decide: at once, and where that does
# not decide either, at the end, in the time that is left.
_FIRST_GAP, _SECOND_GAP = 0.01, 0.001
_TIE = 1e-3  # plans this close to the best one known share its place
_QUANTILE_95 = 1.959964  # of the normal distribution, two-sided


@dataclass(frozen=True, slots=True, kw_only=True)
class RegretRule:
    """
    How much to draw.

    Parameters
    ----------
    samples, seed
        Tables to draw, and the seed of the draws.
    tolerance
        A plan within this share of a sample's optimum has stayed good.
    time_limit_s
        Seconds by the clock; samples that are left are not counted.
    """

    samples: int = 100
    seed: int = 0
    tolerance: float = 0.02
    time_limit_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A plan that is best more often; shares are of the samples, ``value`` its objective as is."""

    plan: Plan
    best_share: float
    within_share: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """
    What tables drawn from their error do to a plan.

    Parameters
    ----------
    samples
        Tables that were judged, of those asked for.
    within, beyond, broken, undecided
        Samples in which the plan was proven within the tolerance; proven beyond it, or
        there a limit was broken (``broken``, counted in ``beyond`` too); and neither.
    share_low, share_high
        95 % interval (Wilson) of the share within; undecided samples count against the first and
        for the second.
    median_low, median_high, p95_low, p95_high
        Regret, value / optimum - 1, over samples in which limits are kept: at least, by the best
        plans known, and at most, by the bounds.
    best_share
        Share of samples in which no plan known is better by more than a thousandth.
    rival
        The plan that is best most often, where it is another.
    num_assumed, num_terms
        Random factors whose size is assumed, of all.
    runtime_s
        Seconds by the clock.
    """

    samples: int
    asked: int
    tolerance: float
    within: int
    beyond: int
    broken: int
    undecided: int
    share_low: float
    share_high: float
    median_low: float
    median_high: float
    p95_low: float
    p95_high: float
    best_share: float
    rival: Rival | None
    num_assumed: int
    num_terms: int
    runtime_s: float


def perturbed(
    problem: PipelineProblem, terms: Sequence[ErrorTerm], draws: FloatArray
) -> PipelineProblem:
    """
    The problem with its times multiplied by random factors.

    Parameters
    ----------
    problem
        The problem.
    terms
        Factors; their shapes are the problem's.
    draws
        Standard normal numbers, shape (len(terms),).
    """
    shape = (len(problem.groups), len(problem.format_names))
    layers = {phase: np.zeros(shape) for phase in ("prefill", "decode")}
    ends = {phase: np.zeros(shape[0]) for phase in layers}
    for term, draw in zip(terms, draws, strict=True):
        layers[term.phase] += term.sigma * draw * term.cells
        ends[term.phase] += term.sigma * draw * term.ends
    changed = {}
    for phase, logs in layers.items():
        changed[f"{phase}_s"] = getattr(problem, f"{phase}_s") * np.exp(logs)[:, :, None, None]
        for end in ("embedding", "head"):
            name = f"{end}_{phase}_s"
            changed[name] = getattr(problem, name) * np.exp(ends[phase])[:, None]
    return replace(problem, **changed)


def binomial_interval(successes: int, samples: int) -> tuple[float, float]:
    """
    95 % interval of a share by Wilson's score.

    Wilson 1927, doi:10.1080/01621459.1927.10502953; (0, 1) without samples.
    """
    if samples == 0:
        return 0.0, 1.0
    share, z2 = successes / samples, _QUANTILE_95**2
    middle = share + z2 / (2 * samples)
    spread = _QUANTILE_95 * sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    scale = 1 + z2 / samples
    return max((middle - spread) / scale, 0.0), min((middle + spread) / scale, 1.0)


def regret(
    problem: PipelineProblem,
    plan: Plan,
    terms: Sequence[ErrorTerm],
    *,
    objective: Objective | None = None,
    limits: Limits | None = None,
    rule: RegretRule | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    backend: BackendName | Backend = BackendName.HIGHS,
) -> Regret:
    """
    Hold a plan against the best plans of tables drawn from their error.

    Parameters
    ----------
    problem, plan, objective, limits
        What was solved, and its plan.
    terms
        Random factors of the times.
    rule
        How many samples, and for how long.
    on_progress, cancelled, backend
        As for `solver.solve`.

    Returns
    -------
    Regret
        The same for the same arguments, unless the clock or the caller ended it.
    """
    rule, begun = rule or RegretRule(), monotonic()
    study = _Study(
        plan=plan,
        target=Target(objective=objective or Objective()),
        limits=limits or Limits(),
        rule=rule,
        deadline=begun + rule.time_limit_s,
        begun=begun,
        on_progress=on_progress,
        cancelled=cancelled,
        backend=backend_of(backend),
    )
    draws = np.random.default_rng(rule.seed).standard_normal((rule.samples, len(terms)))
    for draw in draws:
        if study.is_over():
            break
        study.judge(perturbed(problem, terms, draw))
    study.refine()
    assumed = sum(not term.is_known for term in terms)
    return study.report(problem, assumed, len(terms))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sample:
    """
    A drawn problem: the plan's value (inf where a limit breaks), the best known, and the bound.

    ``start`` is the best plan known.
    """

    problem: PipelineProblem
    own: float
    known: float
    bound: float
    start: Plan

    @property
    def regret_low(self) -> float:
        return max(self.own / self.known - 1, 0.0) if self.known > 0 else 0.0

    @property
    def regret_high(self) -> float:
        return max(self.own / self.bound - 1, 0.0) if self.bound > 0 else inf


@dataclass(slots=True, kw_only=True)
class _Study:
    """Judges one sample after the other; values and bounds are to be minimised."""

    plan: Plan
    target: Target
    limits: Limits
    rule: RegretRule
    deadline: float
    begun: float
    on_progress: Callable[[Progress], None] | None
    cancelled: Callable[[], bool] | None
    backend: Backend
    _others: list[Plan] = field(default_factory=list)
    _samples: list[_Sample] = field(default_factory=list)

    def is_over(self) -> bool:
        """Whether time is up, or the caller wants it to end."""
        late = monotonic() >= self.deadline
        return late or (self.cancelled is not None and self.cancelled())

    def value(self, problem: PipelineProblem, plan: Plan) -> float:
        """Value of a plan; inf where it breaks a limit."""
        values = evaluate(problem, plan)
        return inf if violations(problem, values, self.limits) else self.target.of(values)

    def judge(self, problem: PipelineProblem) -> None:
        """Bound a sample, and search it where that decides nothing."""
        own = self.value(problem, self.plan)
        values = [self.value(problem, plan) for plan in self._others]
        known = min([own, *values])
        start = self.plan if known == own else self._others[values.index(known)]
        sample = _Sample(problem=problem, own=own, known=known, bound=0.0, start=start)
        sample = self._looked_at(sample, _FIRST_GAP)
        if not self.is_over() or self._state(sample) is not None:
            self._samples.append(sample)
        self._tell(sample)

    def refine(self) -> None:
        """Search on where nothing is decided."""
        for index, sample in enumerate(self._samples):
            if self._state(sample) is None and not self.is_over():
                self._samples[index] = self._looked_at(sample, _SECOND_GAP)
                self._tell(sample)

    def _looked_at(self, sample: _Sample, gap: float) -> _Sample:
        """The sample with all that relaxations say of it, or a search where they are not enough."""
        search = self._search(sample, gap)
        sample = replace(sample, bound=max(sample.bound, search.bound() or 0.0))
        if self._state(sample) is not None:
            return sample
        result = search.run()
        sample = replace(sample, bound=max(sample.bound, result.bound))
        best = result.incumbent
        if best is None or best.value >= sample.known:
            return sample
        if best.plan != self.plan and best.plan not in self._others:
            self._others.append(best.plan)
        return replace(sample, known=best.value, start=best.plan)

    def _search(self, sample: _Sample, gap: float) -> Search:
        return Search(
            problem=sample.problem,
            objective=self.target.objective,
            limits=self.limits,
            stop=StopRule(gap=gap, time_limit_s=self.rule.time_limit_s),
            deadline=self.deadline,
            start=(sample.start,),
            cancelled=self.cancelled,
            phase="regret",
            backend=self.backend,
        )

    def _state(self, sample: _Sample) -> bool | None:
        """Whether the plan is within the tolerance; None where that is not proven."""
        if sample.own == inf:
            return None if sample.known == inf and sample.bound < inf else False
        if sample.regret_high <= self.rule.tolerance:
            return True
        return False if sample.regret_low > self.rule.tolerance else None

    def _tell(self, sample: _Sample) -> None:
        if self.on_progress is None:
            return
        is_kept = sample.own < inf
        self.on_progress(
            Progress(
                elapsed_s=monotonic() - self.begun,
                goal=self.target.objective.goal,
                incumbent=self.target.public(sample.own) if is_kept else None,
                bound=self.target.public(sample.bound) if sample.bound < inf else None,
                gap=sample.regret_high if is_kept else None,
                phase=f"regret, sample {len(self._samples)} of {self.rule.samples}",
            )
        )

    def report(self, problem: PipelineProblem, num_assumed: int, num_terms: int) -> Regret:
        """What all samples together say."""
        states = [self._state(sample) for sample in self._samples]
        within, undecided = states.count(True), states.count(None)
        kept = [sample for sample in self._samples if sample.own < inf]
        low = np.array([sample.regret_low for sample in kept] or [0.0])
        high = np.array([sample.regret_high for sample in kept] or [inf])
        count = len(states)
        own_best, rival = self._rival(problem)
        return Regret(
            samples=count,
            asked=self.rule.samples,
            tolerance=self.rule.tolerance,
            within=within,
            beyond=states.count(False),
            broken=count - len(kept),
            undecided=undecided,
            share_low=binomial_interval(within, count)[0],
            share_high=binomial_interval(within + undecided, count)[1],
            median_low=float(np.quantile(low, 0.5, method="higher")),
            median_high=float(np.quantile(high, 0.5, method="higher")),
            p95_low=float(np.quantile(low, 0.95, method="higher")),
            p95_high=float(np.quantile(high, 0.95, method="higher")),
            best_share=own_best,
            rival=rival,
            num_assumed=num_assumed,
            num_terms=num_terms,
            runtime_s=monotonic() - self.begun,
        )

    def _rival(self, problem: PipelineProblem) -> tuple[float, Rival | None]:
        """How often the plan is the best one known; and the plan that is so more often, if any."""
        if not self._samples:
            return 0.0, None
        plans = [self.plan, *self._others]
        values = np.array([[self.value(s.problem, p) for p in plans] for s in self._samples])
        known = np.array([sample.known for sample in self._samples])[:, None]
        best = (values <= np.minimum(known, values.min(axis=1)[:, None]) * (1 + _TIE)) & (
            values < inf
        )
        shares = best.mean(axis=0)
        first = int(shares.argmax())  # the plan itself where another is as often the best
        if first == 0 or shares[first] <= shares[0]:
            return float(shares[0]), None
        within = (values[:, first] <= known[:, 0] * (1 + self.rule.tolerance)).mean()
        rival = Rival(
            plan=plans[first],
            best_share=float(shares[first]),
            within_share=float(within),
            value=self.target.public(self.value(problem, plans[first])),
        )
        return float(shares[0]), rival
