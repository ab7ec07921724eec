"""Effects of changes as an answer tells them: in the request's own fields, and in words."""

from collections.abc import Sequence
from math import inf

from api.limit_words import field_of
from api.prepared import Prepared
from api.quantities import with_unit
from api.schemas.what_if import EffectReport
from solver import Change, ChangeKind, Effect, Question

__all__ = ["effect_reports"]

LITTLE = 5e-5
"""Shares below this are told as nothing."""
MANY = 999.5


def effect_reports(
    prepared: Prepared, objective: float | None, effects: Sequence[Effect]
) -> list[EffectReport]:
    """
    The effects of changes on a plan with this objective.

    Parameters
    ----------
    prepared, objective
        What was solved, and the plan's objective; None without a plan, where there are no effects.
    effects
        As `solver.what_if` returns them.
    """
    if objective is None:
        return []
    return [_report(prepared, abs(objective), effect) for effect in effects]


def _report(prepared: Prepared, whole: float, effect: Effect) -> EffectReport:
    change, is_feasible = effect.change, effect.most_gain > -inf
    is_bounded = effect.bound is not None
    most = effect.most_gain if is_feasible and is_bounded else None
    return EffectReport(
        kind=change.kind.value,
        subject=_subject(prepared, change),
        change=_words(prepared, change),
        gpus=change.count,
        confirmed=effect.is_confirmed,
        joint=effect.is_joint,
        feasible=is_feasible,
        gain=effect.gain,
        gain_percent=_percent(effect.gain, whole),
        estimate=effect.estimate,
        estimate_percent=_percent(effect.estimate, whole),
        most_gain=most,
        most_gain_percent=_percent(most, whole),
        objective=effect.objective,
        bound=effect.bound,
        gap=effect.gap,
        text=_text(effect, whole),
    )


def _percent(gain: float | None, whole: float) -> float | None:
    return None if gain is None or whole <= 0 else gain / whole * 100


def _is_limit(change: Change) -> bool:
    return change.kind is ChangeKind.LOOSER_LIMIT and change.subject != "min_used"


def _limits_of(prepared: Prepared, change: Change) -> tuple[float, float]:
    """A limit before and after."""
    after = change.edit(Question(problem=prepared.problem, limits=prepared.limits)).limits
    return getattr(prepared.limits, change.subject), getattr(after, change.subject)


def _subject(prepared: Prepared, change: Change) -> str:
    if not _is_limit(change):
        return change.subject
    return field_of(prepared, change.subject, *_limits_of(prepared, change)).name


def _words(prepared: Prepared, change: Change) -> str:
    if not _is_limit(change):
        return change.text
    before, after = _limits_of(prepared, change)
    field = field_of(prepared, change.subject, before, after)
    value = with_unit(f"{field.shown(after):.4g}", field.unit)
    return f"limits.{field.name} {field.shown(before):.4g} to {value}"


# -- sentences ----------------------------------------------------------------------------------


def _text(effect: Effect, whole: float) -> str:
    if effect.most_gain == -inf:
        return "leaves no plan (proven)"
    if effect.bound is None or whole <= 0:
        return "not worked out"
    return _loss(effect, whole) if effect.change.kind.takes else _gain(effect, whole)


def _gain(effect: Effect, whole: float) -> str:
    """A gain only where a plan shows it; else what an estimate and a bound leave room for."""
    together = " for all such together" if effect.is_joint else ""
    gain, most = (effect.gain or 0.0) / whole, effect.most_gain / whole
    if most < LITTLE:
        return f"gains nothing ({'solved' if effect.is_confirmed else 'bound'}{together})"
    if effect.is_confirmed:
        found = "no gain found" if gain < LITTLE else f"gains {_share(gain)}"
        return f"{found} (solved; at most {_share(most)})"
    about = 0.0 if effect.estimate is None else effect.estimate / whole
    parts = [f"about {_share(about)} (estimate)"] if about - gain >= LITTLE else []
    parts.append(f"at most {_share(most)} (bound{together})")
    if gain >= LITTLE:
        return f"gains at least {_share(gain)} (same plan), {', '.join(parts)}"
    is_open = len(parts) > 1 or effect.estimate is None
    return f"{'may gain' if is_open else 'no gain seen,'} {', '.join(parts)}"


def _loss(effect: Effect, whole: float) -> str:
    least = max(-effect.most_gain / whole, 0.0)
    if effect.gain is not None:
        return _known_loss(effect, effect.gain / whole, least)
    parts = [f"at least {_share(least)} (bound)"] if least >= LITTLE else []
    if effect.estimate is not None:
        parts.insert(0, f"about {_share(-effect.estimate / whole)} (estimate)")
    return f"loses {', '.join(parts)}" if parts else "not worked out"


def _known_loss(effect: Effect, gain: float, least: float) -> str:
    """A loss with a plan to show for it, solved to a gap or found before time ran out."""
    if gain == 0:
        return "loses nothing (a plan as good does without)"
    how = "solved" if effect.is_confirmed else "a plan found"
    if gain > 0:
        return f"loses nothing ({how}: {_share(gain)} better, within the gap)"
    most = "" if effect.is_confirmed else "at most "
    return f"loses {most}{_share(-gain)} ({how}; at least {_share(least)})"


def _share(share: float) -> str:
    percent = share * 100
    if share < LITTLE:
        return "0 %"
    return f"{percent:.3g} %" if percent < MANY else f"{percent:,.0f} %"
