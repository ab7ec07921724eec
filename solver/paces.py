"""Which paces of prefill and decode a plan can have that is better than a given value."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

from solver.formulation import Formulation
from solver.instance import Instance, Interval
from solver.linear import Expression

__all__ = ["enclose", "halve"]

_ROUNDING = 1e-9
# Paces beyond this many times the time of all layers at their fastest are not bounded at all.
_NO_PACE = 1e6

Relax = Callable[[Formulation, Expression], float]


def enclose(form: Formulation, relax: Relax) -> Instance | None:
    """
    The instance within the least intervals of pace that the relaxation allows.

    Parameters
    ----------
    form
        A formulation that already leaves out plans not worth looking for.
    relax
        Least value of an expression on it; inf where there is no point.

    Returns
    -------
    Instance or None
        None where nothing is left.
    """
    paces = []
    for column, unit in (
        (form.columns.prefill_pace, form.prefill_unit),
        (form.columns.decode_pace, form.decode_unit),
    ):
        low = relax(form, {column: 1.0})
        if low == inf:
            return None
        high = _most(form, column, relax) if low < _NO_PACE else inf
        if high < inf:
            high = max(high, low) * (1 + _ROUNDING)
        paces.append(Interval(low=max(low, 0.0) * unit * (1 - _ROUNDING), high=high * unit))
    return replace(form.instance, prefill_pace=paces[0], decode_pace=paces[1])


def _most(form: Formulation, column: int, relax: Relax) -> float:
    """Greatest value of a pace; inf where it is beyond any that matters, or not known."""
    own = form.builder.upper[column]
    form.builder.upper[column] = min(own, _NO_PACE)
    high = -relax(form, {column: -1.0})
    form.builder.upper[column] = own
    return high if 0 <= high < _NO_PACE * (1 - _ROUNDING) else inf


def halve(instance: Instance, narrow: float) -> list[Instance]:
    """
    Both halves of the interval of pace that matters more.

    Parameters
    ----------
    instance
        With intervals of pace.
    narrow
        Intervals whose width changes latency by less than this share stay whole.

    Returns
    -------
    list
        Two instances, or nothing where both intervals are narrow.
    """
    prefill, decode = instance.prefill_pace, instance.decode_pace
    steps = max(instance.problem.output_tokens - 1, 0)
    of_prefill = _latency(prefill, instance.num_prefill - 1)
    of_decode = _latency(decode, instance.num_decode * steps)
    if max(of_prefill.width, of_decode.width) <= narrow * (of_prefill.high + of_decode.high):
        return []
    if of_prefill.width >= of_decode.width:
        return [replace(instance, prefill_pace=half) for half in prefill.halves()]
    return [replace(instance, decode_pace=half) for half in decode.halves()]


def _latency(pace: Interval, times: int) -> Interval:
    """Seconds of latency that come of a pace; nothing where the pace is not bounded."""
    if pace.high == inf:
        return Interval(high=0.0)
    return Interval(low=times * pace.low, high=times * pace.high)
