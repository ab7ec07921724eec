"""Why a problem has no plan, and the least relaxation that would help."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from time import monotonic

from profiles.errors import BackendError
from profiles.units import GIB, MS
from solver.backends.highs import HighsBackend
from solver.check import evaluate
from solver.decode import read_plan
from solver.formulation import Formulation, formulate
from solver.instance import Instance
from solver.linear import Effort
from solver.objective import Goal, Limits, Objective, StopRule
from solver.problem import FloatArray, PipelineProblem
from solver.result import Remedy
from solver.search import Search

__all__ = ["find_remedies"]

# Seconds for the diagnosis: at least, and at most.
_LEAST_S, _MOST_S = 2.0, 10.0


@dataclass(frozen=True, slots=True)
class _Shown:
    """The goal that finds a limit's least value; how to show it: unit, decimals, words."""

    goal: Goal
    unit: float
    decimals: int
    words: str

    def asked(self, value: float) -> str:
        return self.words.format(f"{value / self.unit:.{self.decimals}f}")

    def needed(self, value: float) -> str:
        """Rounded up, so that a limit of this value can be kept."""
        scale = 10**self.decimals
        return self.words.format(f"{ceil(value / self.unit * scale) / scale:.{self.decimals}f}")


_LIMITS = {
    "ttft_s": _Shown(Goal.TTFT, MS, 1, "TTFT {} ms"),
    "tpot_s": _Shown(Goal.TPOT, MS, 2, "TPOT {} ms"),
    "latency_s": _Shown(Goal.LATENCY, 1.0, 3, "latency {} s"),
    "loss_nats": _Shown(Goal.QUALITY_LOSS, 1.0, 4, "quality loss {} nats"),
    "price_usd_per_hour": _Shown(Goal.PRICE, 1.0, 3, "{} USD per hour"),
    "gpus": _Shown(Goal.GPUS, 1.0, 0, "{} GPUs"),
    "stages": _Shown(Goal.STAGES, 1.0, 0, "{} stages"),
}


class _OutOfTimeError(Exception):
    """The diagnosis ended before a question was answered."""


def find_remedies(
    problem: PipelineProblem,
    limits: Limits,
    deadline: float,
    seed: int,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Remedy, ...]:
    """
    Explain an infeasible problem.

    Parameters
    ----------
    problem, limits
        The problem that has no plan.
    deadline
        Value of ``time.monotonic()`` at which the user's time is over; the diagnosis takes ten
        seconds at most, and two where less is left.
    seed
        Of the solver.
    cancelled
        Ends the diagnosis once it returns True.

    Returns
    -------
    tuple of Remedy
        Each alone makes a plan possible, the others kept. Where no single one does: the best that
        each limit could be if it stood alone. What was not answered in time is left out.
    """
    seconds = min(max(deadline - monotonic(), _LEAST_S), _MOST_S)
    diagnosis = _Diagnosis(problem, limits, monotonic() + seconds, seed, cancelled)
    found: list[Remedy] = []
    try:
        for remedy in diagnosis.remedies():
            found.append(remedy)  # noqa: PERF402 - what was found before time ran out is kept
    except (_OutOfTimeError, BackendError):
        pass
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    problem: PipelineProblem
    limits: Limits
    deadline: float
    seed: int
    cancelled: Callable[[], bool] | None

    def remedies(self) -> Iterator[Remedy]:
        if self.least(Limits(), Goal.STAGES) is None:
            yield from self.memory(Limits()) or [self.structure()]
            return
        single = 0
        for remedy in self.singles():
            single += 1
            yield remedy
        if not single:
            yield from self.alone()

    def singles(self) -> Iterator[Remedy]:
        """Each limit relaxed by itself; memory, which takes longest to tell, at the end."""
        for name in _LIMITS:
            yield from self.relaxed(name)
        yield from self.counts()
        yield from self.memory(self.limits)

    def least(
        self, limits: Limits, goal: Goal, problem: PipelineProblem | None = None
    ) -> float | None:
        """Least value of a goal, to a tenth of a percent; None where there is no plan."""
        search = Search(
            problem=problem or self.problem,
            objective=Objective(goal=goal),
            limits=limits,
            stop=StopRule(gap=1e-3, seed=self.seed),
            deadline=self.deadline,
            cancelled=self.cancelled,
        )
        result = search.run()
        if result.incumbent is not None:
            return result.incumbent.value
        if not result.is_infeasible:
            raise _OutOfTimeError
        return None

    def relaxed(self, name: str) -> Iterator[Remedy]:
        """What this limit would have to be, the others kept."""
        asked, shown = getattr(self.limits, name), _LIMITS[name]
        if asked is None:
            return
        free = self.limits.but(name, None)
        if name == "stages":
            free = free.but("min_stages", 1)
        needed = self.least(free, shown.goal)
        if needed is not None:
            text = (
                f"{shown.asked(asked)} is asked for; {shown.needed(needed)} is possible with the "
                "other limits kept."
            )
            yield Remedy(limit=name, asked=asked, needed=needed, text=_capital(text))

    def counts(self) -> Iterator[Remedy]:
        """Forced stages and GPUs, which have no goal of their own."""
        least = self.limits.min_stages
        for stages in range(least - 1, 0, -1):
            if self.least(self.limits.but("min_stages", stages), Goal.LATENCY) is not None:
                text = f"At least {least} stages are asked for; {stages} are possible."
                yield Remedy(limit="min_stages", asked=least, needed=stages, text=text)
                break
        forced = [d for d in self.problem.devices if d.min_used]
        if forced:
            free = tuple(replace(d, min_used=0) for d in self.problem.devices)
            unforced = replace(self.problem, devices=free)
            if self.least(self.limits, Goal.LATENCY, unforced) is not None:
                names = ", ".join(d.name for d in forced)
                text = f"Some GPUs must be used ({names}); a plan is possible without that."
                asked = sum(d.min_used for d in forced)
                yield Remedy(limit="min_used", asked=asked, needed=0, text=text)

    def alone(self) -> Iterator[Remedy]:
        """Limits that contradict each other: the best value of each without the rest."""
        for name, shown in _LIMITS.items():
            asked = getattr(self.limits, name)
            needed = None if asked is None else self.least(Limits(), shown.goal)
            if needed is not None:
                text = (
                    f"{shown.asked(asked)} is asked for; {shown.needed(needed)} is the best "
                    "without the other limits. No single limit can be relaxed alone."
                )
                yield Remedy(
                    limit=name,
                    asked=asked,
                    needed=needed,
                    text=_capital(text),
                    others_kept=False,
                )

    # -- memory and structure ---------------------------------------------------------------

    def memory(self, limits: Limits) -> list[Remedy]:
        """
        The memory that is missing at the least work space for which the other limits can be kept.

        Work space grows with the micro-batches, so pairs are tried from the smallest on.
        """
        for batch in sorted(self.problem.batches, key=lambda b: b.size):
            pairs = sorted(product(batch.prefill, batch.decode), key=sum)
            for prefill, decode in pairs:
                instance = Instance(
                    problem=self.problem, batch=batch, prefill=prefill, decode=decode
                )
                found = self._missing(instance, limits)
                if found is not None:
                    return [self._missing_remedy(*found)]
        return []

    def _missing(
        self, instance: Instance, limits: Limits
    ) -> tuple[float, Formulation, FloatArray] | None:
        left = self.deadline - monotonic()
        if left <= 0:
            raise _OutOfTimeError
        form = formulate(instance, limits, spare_memory=True)
        missing = form.quantities["missing_bytes"]
        model = form.model(missing.expression)
        effort = Effort(gap=1e-3, time_s=left, seed=self.seed)
        result = HighsBackend().solve(model, effort, cancelled=self.cancelled)
        if result.point is None:
            return None
        return float(model.cost @ result.point) * missing.unit, form, result.point

    def _missing_remedy(self, value: float, form: Formulation, point: FloatArray) -> Remedy:
        plan = read_plan(form, point)
        stages = evaluate(self.problem, plan).stages
        short: Counter[str] = Counter()
        for stage in stages:
            if stage.memory.free_bytes < 0:
                short[self.problem.devices[stage.device].name] += stage.tensor_parallel
        where = ", ".join(f"{count} of {name}" for name, count in sorted(short.items()))
        needed = sum(stage.memory.used_bytes * stage.tensor_parallel for stage in stages)
        kept = sum(stage.memory.kv_bytes * stage.tensor_parallel for stage in stages)
        text = (
            f"Memory is short by {ceil(value / GIB * 100) / 100:.2f} GiB in all, on {where} at "
            f"batch {plan.batch_size}, of which the KV cache takes {kept / GIB:.2f} GiB; more or "
            "larger GPUs would help."
        )
        return Remedy(limit="memory", asked=needed - value, needed=needed, text=text)

    def structure(self) -> Remedy:
        """What keeps any arrangement from existing, memory aside."""
        problem = self.problem
        homeless = [
            layer
            for layer in range(problem.num_layers)
            if not any(problem.allowed(g, layer).any() for g in range(len(problem.groups)))
        ]
        if homeless:
            text = f"Layer {homeless[0]} has no allowed format that any GPU has a kernel for."
            return Remedy(limit="formats", asked=0, needed=len(homeless), text=text)
        asked = sum(d.min_used for d in problem.devices)
        text = (
            f"{asked} GPUs must be used, which the {problem.num_layers} layers cannot be split "
            "over; force fewer GPUs."
        )
        return Remedy(limit="min_used", asked=asked, needed=0, text=text)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
