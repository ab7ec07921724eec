"""Effects of changes as an answer tells them: in the request's own fields, and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    scale = _Scale(whole=abs(objective), unit=prepared.objective.goal.unit)
    return [_report(prepared, scale, effect) for effect in effects]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """How gains are told: in percent of the whole objective; in its unit where that is 0."""

    whole: float
    unit: str

    def percent(self, gain: float | None) -> float | None:
        return None if gain is None or not self.whole else gain / self.whole * 100

    def is_little(self, gain: float) -> bool:
        return gain < LITTLE * (self.whole or 1.0)

    def words(self, gain: float) -> str:
        shown = 0.0 if self.is_little(gain) else gain
        percent = self.percent(shown)
        if percent is None:
            return with_unit(f"{shown:.3g}", self.unit)
        return f"{percent:.3g} %" if percent < MANY else f"{percent:,.0f} %"


def _report(prepared: Prepared, scale: _Scale, effect: Effect) -> EffectReport:
    change, is_feasible = effect.change, effect.most_gain > -inf
    most = None if effect.bound is None else effect.most_gain
    return EffectReport(
        kind=change.kind.value,
        subject=_subject(prepared, change),
        change=_words(prepared, change),
        gpus=change.count,
        confirmed=effect.is_confirmed,
        joint=effect.is_joint,
        feasible=is_feasible,
        gain=effect.gain,
        gain_percent=scale.percent(effect.gain),
        estimate=effect.estimate,
        estimate_percent=scale.percent(effect.estimate),
        most_gain=most,
        most_gain_percent=scale.percent(most),
        objective=effect.objective,
        bound=effect.bound,
        gap=effect.gap,
        text=_text(effect, scale),
    )


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


def _text(effect: Effect, scale: _Scale) -> str:
    if effect.most_gain == -inf:
        return "leaves no plan (proven)"
    return _loss(effect, scale) if effect.change.kind.takes else _gain(effect, scale)


def _gain(effect: Effect, scale: _Scale) -> str:
    """A gain only where a plan shows it; else what an estimate and a bound leave room for."""
    together = " for all such together" if effect.is_joint else ""
    gain, most = effect.gain or 0.0, effect.most_gain
    if scale.is_little(most):
        return f"gains nothing ({'solved' if effect.is_confirmed else 'bound'}{together})"
    if effect.is_confirmed:
        found = "no gain found" if scale.is_little(gain) else f"gains {scale.words(gain)}"
        return f"{found} (solved; at most {scale.words(most)})"
    room = [] if effect.bound is None else [f"at most {scale.words(most)} (bound{together})"]
    if effect.estimate is not None and not scale.is_little(effect.estimate - gain):
        room.insert(0, f"about {scale.words(effect.estimate)} (estimate)")
    if not scale.is_little(gain):
        return ", ".join((f"gains at least {scale.words(gain)} (a plan found)", *room))
    if not room:
        return "not worked out"
    is_open = len(room) > 1 or effect.estimate is None
    return f"{'may gain' if is_open else 'no gain seen,'} {', '.join(room)}"


def _loss(effect: Effect, scale: _Scale) -> str:
    least = max(-effect.most_gain, 0.0)
    if effect.gain is not None:
        return _known_loss(effect, effect.gain, least, scale)
    if effect.estimate is not None and scale.is_little(-effect.estimate):
        return "no loss seen (estimate)"
    parts = [] if scale.is_little(least) else [f"at least {scale.words(least)} (bound)"]
    if effect.estimate is not None:
        parts.insert(0, f"about {scale.words(-effect.estimate)} (estimate)")
    return f"loses {', '.join(parts)}" if parts else "not worked out"


def _known_loss(effect: Effect, gain: float, least: float, scale: _Scale) -> str:
    """A loss with a plan to show for it, solved to a gap or found before time ran out."""
    if scale.is_little(abs(gain)):
        return "loses nothing (a plan as good does without)"
    how = "solved" if effect.is_confirmed else "a plan found"
    if gain > 0:
        return f"loses nothing ({how}: {scale.words(gain)} better, within the gap)"
    most = "" if effect.is_confirmed else "at most "
    return f"loses {most}{scale.words(-gain)} ({how}; at least {scale.words(least)})"
