"""The lines that open a text answer: what was found, and how far it is proven."""

from collections.abc import Iterator

from rich.text import Text

from api.quantities import with_unit
from api.schemas.answer import AnswerBase, EvaluationAnswer, PlanAnswer
from profiles.units import MS

__all__ = ["headline"]

LITTLE_KNOWN = 0.5
"""A gap beyond this says next to nothing."""
EQUAL = 5e-4
_STYLES = {"optimal": "green", "feasible": "green", "infeasible": "red", "unknown": "yellow"}
_WORDS = {
    "optimal": "✔ Optimal plan: no plan is better",
    "infeasible": "✘ No plan exists",
    "unknown": "? No plan found, and no proof that there is none",
}
_STOPS = {
    "proven": "proven",
    "gap_reached": "gap reached",
    "time_limit": "stopped at the time limit",
    "cancelled": "cancelled",
    "memory": "stopped for lack of memory",
    "numerics": "stopped where no further step could be trusted",
}
_IN_MS = ("ttft", "tpot")
_COUNTS = ("gpus", "stages")
_NO_RATIO = ("quality_loss", "gpus", "stages", "price")
"""Goals on which to be some times better than the even split means little."""


def headline(answer: PlanAnswer | EvaluationAnswer) -> Iterator[Text]:
    """What was found; the objective, its bound and why the search ended; what it compares with."""
    if isinstance(answer, PlanAnswer):
        words, others = _plan_words(answer), _beside_plan(answer)
    else:
        words, others = _evaluation_words(answer), _beside_evaluation(answer)
    yield Text(words, style=f"bold {_STYLES[answer.status]}")
    for facts, style in ((_facts(answer), ""), (others, "dim")):
        text = " · ".join(facts)
        if text:
            yield Text(f"  {text}", style=style)


def _plan_words(answer: PlanAnswer) -> str:
    if answer.status != "feasible":
        return _WORDS[answer.status]
    if answer.gap is None or answer.gap > LITTLE_KNOWN:
        return "✔ Feasible plan; how far it is from the best possible is not known yet"
    proven = "proven within" if answer.stop_reason == "gap_reached" else "within"
    return f"✔ Feasible plan, {proven} {_share(answer.gap)} of the best possible"


def _evaluation_words(answer: EvaluationAnswer) -> str:
    if not answer.feasible:
        return "✘ The plan is not feasible"
    if answer.status == "optimal":
        return "✔ The plan is feasible and optimal: no plan is better"
    best = None if answer.best is None else answer.best.objective
    if best is None or answer.objective is None or best <= 0:
        return "✔ The plan is feasible"
    ratio = answer.objective / best
    goal = answer.goal.replace("_", " ")
    if abs(ratio - 1) < EQUAL:
        return "✔ The plan is feasible and as good as the best plan found"
    return f"✔ The plan is feasible: {ratio:.2f}× the best plan's {goal}"


def _share(gap: float) -> str:
    return f"{gap:.2%}".replace("%", " %") if gap >= 5e-5 else f"{gap * 100:.1g} %"


def _facts(answer: PlanAnswer | EvaluationAnswer) -> Iterator[str]:
    if answer.objective is not None:
        value = _value(answer, answer.objective)
        yield value if answer.goal in _COUNTS else f"{answer.goal.replace('_', ' ')} {value}"
    if answer.plan is not None and answer.solver is not None and answer.status != "optimal":
        yield _bound(answer)
    if answer.solver is not None and answer.stop_reason is not None:
        yield f"{_STOPS[answer.stop_reason]} after {answer.solver.runtime_s:.1f} s"


def _bound(answer: PlanAnswer | EvaluationAnswer) -> str:
    """What is proven of any plan; `no bound yet` where that says nothing."""
    maximise = answer.goal == "throughput"
    if answer.bound is None or (answer.bound <= 0 and not maximise):
        return "no bound yet"
    bound = _value(answer, answer.bound)
    best = answer.best if isinstance(answer, EvaluationAnswer) else answer
    if best is None or best.gap is None or best.gap > LITTLE_KNOWN:
        return f"stopped early: no plan better than {bound} exists"
    gap = ""
    if isinstance(answer, EvaluationAnswer) and answer.gap is not None:
        gap = f" (gap {_share(answer.gap)})"
    return f"no plan is {'above' if maximise else 'below'} {bound}{gap}"


def _beside_plan(answer: PlanAnswer) -> Iterator[str]:
    other = answer.comparison
    if other is None:
        if answer.plan is not None:
            yield "an even split over all GPUs cannot run within the limits"
    elif answer.goal not in _NO_RATIO and other.objective is not None and other.ratio is not None:
        yield f"{other.name}: {_value(answer, other.objective)} ({other.ratio:.2f}×)"


def _beside_evaluation(answer: EvaluationAnswer) -> Iterator[str]:
    if answer.best is None:
        return
    if answer.best.objective is not None:
        yield f"best plan found: {_value(answer, answer.best.objective)}"
    elif answer.best.status == "infeasible":
        yield "no plan keeps every limit"


def _value(answer: AnswerBase, value: float) -> str:
    if answer.goal in _IN_MS:
        return f"{value / MS:.4g} ms" if value < 10 else f"{value / MS:,.0f} ms"
    if answer.unit == "s":
        return f"{value:.3f} s" if value < 1e4 else f"{value:,.0f} s"
    return with_unit(f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}", answer.unit)
