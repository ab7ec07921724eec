"""Why a problem has no plan, and the least relaxation that would help."""

from collections import Counter
from dataclasses import replace
from time import monotonic

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

_DIAGNOSIS_S = 10.0
# Limit, the goal that finds its least value, factor to the unit shown, and how to show it.
_LIMITS: tuple[tuple[str, Goal, float, str], ...] = (
    ("ttft_s", Goal.TTFT, MS, "TTFT {0:.1f} ms"),
    ("tpot_s", Goal.TPOT, MS, "TPOT {0:.2f} ms"),
    ("latency_s", Goal.LATENCY, 1.0, "latency {0:.3f} s"),
    ("loss_nats", Goal.QUALITY_LOSS, 1.0, "quality loss {0:.4f} nats"),
    ("price_usd_per_hour", Goal.PRICE, 1.0, "{0:.3f} USD per hour"),
    ("gpus", Goal.GPUS, 1.0, "{0:.0f} GPUs"),
    ("stages", Goal.STAGES, 1.0, "{0:.0f} stages"),
)


def find_remedies(problem: PipelineProblem, limits: Limits, stop: StopRule) -> tuple[Remedy, ...]:
    """
    Explain an infeasible problem.

    Parameters
    ----------
    problem, limits
        The problem that has no plan.
    stop
        Its seed is used; the diagnosis takes about ten seconds at most.

    Returns
    -------
    tuple of Remedy
        Each alone makes a plan possible, the others kept. Where no single one does: the best that
        each limit could be if it stood alone.
    """
    deadline = monotonic() + _DIAGNOSIS_S
    if _least(problem, Limits(), Goal.STAGES, deadline, stop.seed) is None:
        return _memory_remedy(problem, Limits(), stop) or (_structure_remedy(problem),)
    single = [
        remedy
        for name, goal, unit, text in _LIMITS
        if (remedy := _relaxed(problem, limits, name, goal, unit, text, deadline, stop.seed))
    ]
    single += _counts(problem, limits, deadline, stop.seed)
    memory = _memory_remedy(problem, limits, stop)
    if single or memory:
        return (*single, *memory)
    return tuple(_alone(problem, limits, deadline, stop.seed))


def _least(
    problem: PipelineProblem, limits: Limits, goal: Goal, deadline: float, seed: int
) -> float | None:
    """Least value of a goal, to a tenth of a percent; None where there is no plan."""
    search = Search(
        problem=problem,
        objective=Objective(goal=goal),
        limits=limits,
        stop=StopRule(gap=1e-3, seed=seed),
        deadline=deadline,
    )
    found = search.run().incumbent
    return None if found is None else found.value


def _relaxed(
    problem: PipelineProblem,
    limits: Limits,
    name: str,
    goal: Goal,
    unit: float,
    text: str,
    deadline: float,
    seed: int,
) -> Remedy | None:
    """What this limit would have to be, the others kept."""
    asked = getattr(limits, name)
    if asked is None:
        return None
    needed = _least(
        problem,
        _without(limits, name),
        goal,
        deadline,
        seed,
    )
    if needed is None:
        return None
    shown, wanted = text.format(needed / unit), text.format(asked / unit)
    sentence = f"{wanted} is asked for; {shown} is possible with the other limits kept."
    return Remedy(limit=name, asked=asked, needed=needed, text=_capital(sentence))


def _without(limits: Limits, name: str) -> Limits:
    """The other limits; a least number of stages goes with the limit on stages."""
    free = limits.but(name, None)
    return free.but("min_stages", 1) if name == "stages" else free


def _counts(problem: PipelineProblem, limits: Limits, deadline: float, seed: int) -> list[Remedy]:
    """Forced stages and GPUs, which have no goal of their own."""
    found = []
    if limits.min_stages > 1 and _least(
        problem, replace(limits, min_stages=1), Goal.LATENCY, deadline, seed
    ):
        text = f"At least {limits.min_stages} stages are asked for; fewer make a plan possible."
        found.append(Remedy(limit="min_stages", asked=limits.min_stages, needed=1, text=text))
    if any(d.min_used for d in problem.devices):
        free = replace(problem, devices=tuple(replace(d, min_used=0) for d in problem.devices))
        if _least(free, limits, Goal.LATENCY, deadline, seed):
            names = ", ".join(d.name for d in problem.devices if d.min_used)
            text = f"Some GPUs must be used ({names}); a plan is possible without that."
            asked = sum(d.min_used for d in problem.devices)
            found.append(Remedy(limit="min_used", asked=asked, needed=0, text=text))
    return found


def _memory_remedy(problem: PipelineProblem, limits: Limits, stop: StopRule) -> tuple[Remedy, ...]:
    """Least memory that is missing, over the pairs with the least work space."""
    best: tuple[float, Formulation, FloatArray] | None = None
    for batch in problem.batches:
        sizes = problem.micro_batches
        instance = Instance(
            problem=problem,
            batch=batch,
            prefill=min(batch.prefill, key=lambda i: int(sizes[i])),
            decode=min(batch.decode, key=lambda i: int(sizes[i])),
        )
        form = formulate(instance, limits, spare_memory=True)
        missing = form.quantities["missing_bytes"]
        model = form.model(missing.expression)
        result = HighsBackend().solve(model, Effort(gap=1e-3, time_s=_DIAGNOSIS_S, seed=stop.seed))
        if result.point is None:
            continue
        value = float(model.cost @ result.point) * missing.unit
        if best is None or value < best[0]:
            best = value, form, result.point
    return () if best is None else (_missing(problem, *best),)


def _missing(
    problem: PipelineProblem, value: float, form: Formulation, point: FloatArray
) -> Remedy:
    short: Counter[str] = Counter()
    plan = read_plan(form, point)
    values = evaluate(problem, plan)
    for stage in values.stages:
        lack = -stage.memory.free_bytes
        if lack > 0:
            short[problem.devices[stage.device].name] += stage.tensor_parallel
    where = ", ".join(f"{count} of {name}" for name, count in sorted(short.items()))
    needed = sum(stage.memory.used_bytes * stage.tensor_parallel for stage in values.stages)
    text = (
        f"Memory is short by {value / GIB:.2f} GiB in all, on {where} at batch {plan.batch_size}: "
        "add GPUs or memory, allow fewer bits, or serve fewer requests together."
    )
    return Remedy(limit="memory", asked=needed - value, needed=needed, text=text)


def _structure_remedy(problem: PipelineProblem) -> Remedy:
    homeless = [
        layer
        for layer in range(problem.num_layers)
        if not any(problem.allowed(g, layer).any() for g in range(len(problem.groups)))
    ]
    if homeless:
        text = (
            f"Layer {homeless[0]} has no allowed format that any GPU has a kernel for; allow more "
            "formats."
        )
        return Remedy(limit="formats", asked=0, needed=len(homeless), text=text)
    text = (
        "The GPUs that must be used, the formats and the layers leave no arrangement; force fewer "
        "GPUs."
    )
    return Remedy(
        limit="min_used", asked=sum(d.min_used for d in problem.devices), needed=0, text=text
    )


def _alone(problem: PipelineProblem, limits: Limits, deadline: float, seed: int) -> list[Remedy]:
    """Limits that contradict each other: the best value of each without the rest."""
    found = []
    for name, goal, unit, text in _LIMITS:
        asked = getattr(limits, name)
        needed = None if asked is None else _least(problem, Limits(), goal, deadline, seed)
        if needed is not None:
            sentence = (
                f"{text.format(asked / unit)} is asked for; {text.format(needed / unit)} is the "
                "best without the other limits. No single limit can be relaxed alone."
            )
            found.append(Remedy(limit=name, asked=asked, needed=needed, text=_capital(sentence)))
    return found


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
