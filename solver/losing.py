"""One sentence on why a plan is worse than the best: what it breaks, or where its time goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from profiles.units import GIB, MS
from solver.baselines import Judged
from solver.check import score
from solver.objective import Goal, Objective
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan, SolveReport

__all__ = ["why_it_loses"]

EQUAL = 1e-3
"""Plans within this share of each other are told apart no further."""
WAITING = 0.3
"""A pipeline whose GPUs wait for the slowest stage for this share of the time is out of balance."""
_SECONDS = {Goal.TTFT: "ttft_s", Goal.TPOT: "tpot_s"}
"""The times that goals are about; it is latency for the others."""
_OTHER_GOALS = {
    Goal.PRICE: "It rents for ${0:.2f} an hour, the best plan for ${1:.2f}.",
    Goal.QUALITY_LOSS: "It loses {0:.4f} nats, the best plan {1:.4f}.",
    Goal.GPUS: "It uses {0:.0f} GPUs, the best plan {1:.0f}.",
    Goal.STAGES: "It has {0:.0f} stages, the best plan {1:.0f}.",
}


def why_it_loses(
    problem: PipelineProblem, found: Judged, best: SolveReport, objective: Objective
) -> str:
    """
    What keeps a baseline's plan from being as good as the best.

    Parameters
    ----------
    problem
        The problem of both.
    found
        The baseline's plan.
    best
        The report of the search.
    objective
        What counts.

    Returns
    -------
    str
        One sentence with a point at its end.
    """
    if found.violations:
        return _broken(found)
    if best.evaluation is None:
        return "It is feasible, and the search has no plan to compare it with."
    theirs, ours = found.evaluation, best.evaluation
    lost = _share_lost(theirs, ours, objective)
    if lost <= EQUAL:
        return _better(found) if lost < -EQUAL else "It is as good as the best plan found."
    if objective.goal in _OTHER_GOALS:
        return _other(objective.goal, theirs, ours)
    if _seconds(theirs, objective) <= _seconds(ours, objective) * (1 + EQUAL):
        other = Goal.PRICE if objective.goal is Goal.COST else Goal.QUALITY_LOSS
        return _other(other, theirs, ours)
    return "; ".join(_slow(problem, found, best, objective)) + "."


def _share_lost(theirs: Evaluation, ours: Evaluation, objective: Objective) -> float:
    """How much worse their value of the goal is, as a share of ours."""
    sign = -1 if objective.goal.maximise else 1
    value, best = score(theirs, objective), score(ours, objective)
    return sign * (value - best) / max(abs(best), 1e-9)


def _better(found: Judged) -> str:
    if len(found.plans) > 1:
        return "It does not lose: pipelines side by side are better here than any single one found."
    return "It does not lose: the search ended before it had a plan as good."


def _broken(found: Judged) -> str:
    worst = max(found.violations, key=lambda violation: violation.excess)
    if worst.limit == "memory":
        return f"{worst.text[:-1]}: {(worst.value - worst.allowed) / GIB:.2f} GiB too much."
    return worst.text


def _other(goal: Goal, theirs: Evaluation, ours: Evaluation) -> str:
    def value(values: Evaluation) -> float:
        if goal is Goal.PRICE:
            return values.price_usd_per_hour
        if goal is Goal.QUALITY_LOSS:
            return values.loss_nats
        return float(values.gpus if goal is Goal.GPUS else len(values.stages))

    return _OTHER_GOALS[goal].format(value(theirs), value(ours))


def _seconds(values: Evaluation, objective: Objective) -> float:
    """What tells two plans apart in time: seconds, or seconds a token where batches may differ."""
    if objective.goal in (Goal.COST, Goal.THROUGHPUT):
        return 1 / values.throughput_tokens_per_s
    return float(getattr(values, _SECONDS.get(objective.goal, "latency_s")))


@dataclass(frozen=True, slots=True)
class _Phase:
    """One phase of a pipeline: its seconds a batch, and what sets its pace."""

    name: str
    plan: Plan
    values: Evaluation

    @property
    def seconds(self) -> float:
        """Seconds of a batch."""
        ttft_s = self.values.ttft_s
        return ttft_s if self.name == "prefill" else self.values.batch_latency_s - ttft_s

    @property
    def bottleneck(self) -> str:
        """What sets the pace."""
        of_prefill = self.name == "prefill"
        return self.values.bottleneck_prefill if of_prefill else self.values.bottleneck_decode

    @property
    def slowest(self) -> int | None:
        """Index of the stage that sets the pace; None where a link does."""
        name = self.bottleneck
        return int(name.removeprefix("stage ")) - 1 if name.startswith("stage ") else None

    @property
    def stage_s(self) -> list[float]:
        """Seconds of a micro-batch on every stage."""
        return [s.prefill_s if self.name == "prefill" else s.decode_s for s in self.values.stages]

    def rounds(self) -> str:
        """How many micro-batches there are, and what each of them takes on the slowest stage."""
        plan, is_prefill = self.plan, self.name == "prefill"
        size = plan.prefill_micro_batch if is_prefill else plan.decode_micro_batch
        count = ceil(plan.batch_size / size)
        pace = max(self.stage_s) if self.slowest is None else self.stage_s[self.slowest]
        return f"{count} micro-batch{'es' if count > 1 else ''} of {_time(pace)}"

    def waiting(self) -> float:
        """Share of a micro-batch's time that GPUs wait for the slowest stage."""
        gpus = [stage.tensor_parallel for stage in self.values.stages]
        most = max(self.stage_s) * sum(gpus)
        used = sum(s * n for s, n in zip(self.stage_s, gpus, strict=True))
        return 1 - used / most if most > 0 else 0.0


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds / MS:.3g} ms"


def _slow(
    problem: PipelineProblem, found: Judged, best: SolveReport, objective: Objective
) -> Iterator[str]:
    """The phase that costs most, its slowest stage, and what is behind it."""
    if best.evaluation is None or best.plan is None:
        return
    slowest = _slowest_pipeline(found, objective)
    values = found.parts[slowest]
    name = _phase(values, best.evaluation, objective)
    theirs = _Phase(name, found.plans[slowest], values)
    ours = _Phase(name, best.plan, best.evaluation)
    yield (
        f"{name}{_which(found, slowest)} takes {_time(theirs.seconds)}, in the best plan "
        f"{_time(ours.seconds)}{_other_batch(found, best.plan)}"
    )
    number = theirs.slowest
    if number is None:
        yield f"{theirs.bottleneck} is the bottleneck"
        return
    stage = theirs.values.stages[number]
    formats = theirs.plan.stages[number].formats
    names = " and ".join(dict.fromkeys(problem.format_names[f] for f in formats))
    layers = f"{stage.num_layers} layer{'s' if stage.num_layers > 1 else ''}"
    yield (
        f"{theirs.rounds()} on stage {number + 1} ({problem.devices[stage.device].name}, {layers} "
        f"in {names}), in the best plan {ours.rounds()}"
    )
    if theirs.waiting() > WAITING:
        yield f"its GPUs wait {theirs.waiting():.0%} of the time for that stage"
    yield from _unused(problem, found.evaluation, best.evaluation)


def _slowest_pipeline(found: Judged, objective: Objective) -> int:
    """Which pipeline sets the goal."""
    name = _SECONDS.get(objective.goal, "latency_s")
    return max(range(len(found.parts)), key=lambda number: getattr(found.parts[number], name))


def _which(found: Judged, number: int) -> str:
    """Which of several pipelines is meant, and what it serves."""
    size = found.plans[number].batch_size
    served = f"{size} request{'s' if size > 1 else ''}"
    return f" of pipeline {number + 1} ({served})" if len(found.plans) > 1 else ""


def _other_batch(found: Judged, best: Plan) -> str:
    """How many requests the best plan serves, if not as many."""
    batch = sum(plan.batch_size for plan in found.plans)
    return "" if batch == best.batch_size else f" for {best.batch_size} requests, not {batch}"


def _phase(theirs: Evaluation, ours: Evaluation, objective: Objective) -> str:
    """The phase in which more is lost."""
    if objective.goal in (Goal.TTFT, Goal.TPOT):
        return "prefill" if objective.goal is Goal.TTFT else "decode"
    prefill = theirs.ttft_s - ours.ttft_s
    return (
        "prefill" if prefill > theirs.batch_latency_s - ours.batch_latency_s - prefill else "decode"
    )


def _unused(problem: PipelineProblem, theirs: Evaluation, ours: Evaluation) -> Iterator[str]:
    """GPU classes that only one of the two uses."""
    used = [{stage.device for stage in values.stages} for values in (theirs, ours)]
    left, spared = sorted(used[1] - used[0]), sorted(used[0] - used[1])
    if left:
        yield f"it leaves {_names(problem, left)} unused"
    elif spared:
        yield f"the best plan does without {_names(problem, spared)}"


def _names(problem: PipelineProblem, devices: list[int]) -> str:
    return " and ".join(problem.devices[device].name for device in devices)
