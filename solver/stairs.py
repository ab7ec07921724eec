"""
All steps of a Pareto set of two objectives proven at once.

Plans p_0, p_1, ... with falling f_1 are found first, each the best that is known with
f_1 <= u_k = f_1(p_(k-1)) - step. They are near the best if no plan lies below the stairs that they
make: f_1 <= u_k and f_0 <= c_k for any k, where c_k is less than f_0(p_k) by the gap. With a 0-1
column y_k for each step this is one integer program for each pair of micro-batch sizes,

    f_1 <= sum_k u_k y_k,    f_0 <= sum_k c_k y_k,    sum_k y_k = 1,

and its relaxation rules out most pairs. A plan below the stairs lowers them; once there is none,
every step is proven.
"""

from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from solver.decode import read_plan
from solver.explore import MOST_RUNS_UNMERGED
from solver.formulation import Formulation, formulate
from solver.instance import Instance, Pair, layer_runs, make_slots
from solver.linear import BackendStop, Effort, Expression, combine
from solver.objective import Goal
from solver.result import OPTIMAL_GAP
from solver.zones import Found, Zones

__all__ = ["is_worth_stairs", "prove_stairs"]

# Beyond these the integer programs are hard, and searches go about it in better ways.
_MOST_SLOTS = 24
_MOST_NODES = 2000
# So many plans below the stairs are looked at before searches take over.
_MOST_LOWERED = 40
# A plan below the stairs is good enough at this gap: there may be better ones, and the stairs move.
_GAP = 0.1
_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Plans with f_1 up to ``limit``, of which ``found`` is the best known."""

    limit: float
    found: Found


def is_worth_stairs(zones: Zones) -> bool:
    """
    Whether this pays: a time against quality loss, and a model not too large.

    Between two times the integer program below the stairs is harder than a search for each of them.
    """
    goals = [target.objective.goal for target in zones.targets]
    return (
        len(goals) == 2
        and zones.stop.gap > OPTIMAL_GAP
        and zones.targets[0].is_timed
        and not zones.targets[0].is_product
        and Goal.QUALITY_LOSS in goals
        and len(layer_runs(zones.problem)) <= MOST_RUNS_UNMERGED
        and len(make_slots(zones.problem)) <= _MOST_SLOTS
    )


def prove_stairs(zones: Zones, best: Found, step: float) -> None:
    """
    Find plans about a step apart, and prove them; what remains is left to searches.

    Parameters
    ----------
    zones
        With both ends of the range found and proven.
    best
        The plan of least first objective.
    step
        Distance of the plans in the second objective.
    """
    stairs = _rough(zones, best, step)
    pairs = zones.pairs((inf,))
    if not stairs or pairs is None:
        return
    lowered = 0
    for pair in sorted(pairs, key=lambda pair: (pairs[pair], pair)):
        stop = BackendStop.PROVEN
        while stop is not BackendStop.INFEASIBLE:
            stop = _look_below(zones, stairs, pair)
            stairs = [_Step(limit=each.limit, found=_best(zones, each.limit)) for each in stairs]
            lowered += 1 if stop is BackendStop.PROVEN else 0
            if lowered > _MOST_LOWERED or stop not in (BackendStop.PROVEN, BackendStop.INFEASIBLE):
                return
    for each in stairs:
        zones.learn((each.limit,), _height(zones, each), pairs)


def _rough(zones: Zones, best: Found, step: float) -> list[_Step]:
    """The stairs, every plan made from the one before."""
    stairs: list[_Step] = []
    lowest = min(zones.plans, key=lambda found: found.values[1])
    found, limit = best, best.values[1] - step
    while limit >= lowest.values[1] and not zones.is_over():
        zones.refit(found, (limit,))
        found = _best(zones, limit)
        if found.plan == lowest.plan:
            break
        stairs.append(_Step(limit=limit, found=found))
        limit = found.values[1] - step
    return stairs


def _best(zones: Zones, limit: float) -> Found:
    """The best known plan with second objective up to a limit."""
    inside = [found for found in zones.plans if found.values[1] <= limit * (1 + _SAME)]
    return min(inside, key=lambda found: found.values[0])


def _height(zones: Zones, step: _Step) -> float:
    """Value below which a plan is better by more than the gap."""
    return zones.targets[0].cutoff(step.found.values[0], zones.gap)


# -- one pair -----------------------------------------------------------------------------------


def _look_below(zones: Zones, stairs: list[_Step], pair: Pair) -> BackendStop:
    """
    Look for a plan below the stairs, and keep it.

    Returns
    -------
    BackendStop
        ``INFEASIBLE``: proven that there is none; ``PROVEN``: found; else it ended without either.
    """
    instance = _instance(zones, pair)
    effort = Effort(gap=_GAP, time_s=zones.deadline - monotonic(), seed=zones.stop.seed)
    form, beyond = _formulated(zones, stairs, instance, pooled=True)
    relaxed = zones.backend.relax(form.model(beyond), effort, cancelled=zones.cancelled)
    zones.num_bounds += 1
    if relaxed.stop is not BackendStop.PROVEN:
        return relaxed.stop
    form, beyond = _formulated(zones, stairs, instance)
    effort = replace(effort, max_nodes=_MOST_NODES)
    result = zones.backend.solve(form.model(beyond), effort, cancelled=zones.cancelled)
    zones.num_milps += 1
    if result.point is None:
        return result.stop
    found = zones.offer(read_plan(form, result.point))
    if found is None or not any(_is_below(zones, found, step) for step in stairs):
        return BackendStop.WORK_LIMIT
    return BackendStop.PROVEN


def _is_below(zones: Zones, found: Found, step: _Step) -> bool:
    is_inside = found.values[1] <= step.limit * (1 + _SAME)
    return is_inside and found.values[0] < _height(zones, step)


def _instance(zones: Zones, pair: Pair) -> Instance:
    size, prefill, decode = pair
    batch = next(batch for batch in zones.problem.batches if batch.size == size)
    return Instance(problem=zones.problem, batch=batch, prefill=prefill, decode=decode)


def _formulated(
    zones: Zones, stairs: list[_Step], instance: Instance, *, pooled: bool = False
) -> tuple[Formulation, Expression]:
    """Plans below the stairs; the first objective less what the stairs allow, to be minimised."""
    widest = zones.limits_of((inf, max(step.limit for step in stairs)))
    form = formulate(instance, widest, pooled=pooled)
    first, second = (target.linear(form, 0.0) for target in zones.targets)
    builder = form.builder
    columns = [builder.add(1.0, integer=True) for _ in stairs]
    builder.row(dict.fromkeys(columns, 1.0), lower=1.0, upper=1.0)
    steps = list(zip(columns, stairs, strict=True))
    limits = {column: -second.inverse(step.limit) for column, step in steps}
    heights = {column: -first.inverse(_height(zones, step)) for column, step in steps}
    builder.row(combine((1, second.expression), (1, limits)), upper=0.0)
    beyond = combine((1, first.expression), (1, heights))
    builder.row(beyond, upper=0.0)
    return form, beyond
