"""Limits as the user names them: values in the request's units, and sentences on them."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from math import exp, expm1

from api.prepared import Prepared
from api.quantities import with_unit
from api.schemas import answer as out
from profiles.units import GIB, MS
from solver import Remedy, Violation

__all__ = [
    "Field",
    "field_of",
    "increase_percent",
    "remedy_report",
    "rounded_up",
    "violation_report",
]

PERCENT = 100.0
MOST_NATS = 700.0
"""Beyond this the perplexity is beyond any number."""
DIGITS = 4
_OWN_WORDS = ("memory", "formats", "min_used", "min_stages")
"""Limits on which the solver's own sentence says more than the two values."""


@dataclass(frozen=True, slots=True)
class Field:
    """
    A limit outside: its name in the request, its unit, what it is called in a sentence.

    ``factor`` is the unit in base units; ``is_percent`` marks nats shown as an increase of
    perplexity.
    """

    name: str
    unit: str
    factor: float
    words: str
    is_percent: bool = False

    def shown(self, value: float) -> float:
        """A value in base units, in the unit outside."""
        return _neat(expm1(value) * PERCENT) if self.is_percent else value / self.factor

    def slack(self, allowed: float, value: float) -> float:
        """What is left of a limit, in the unit outside."""
        if not self.is_percent:
            return (allowed - value) / self.factor
        return exp(value) * expm1(allowed - value) * PERCENT  # exact where the two are close


def _neat(value: float) -> float:
    """Without the digits that the way there and back brings in: 5, not 5.000000000000004."""
    return float(f"{value:.12g}")


_FIELDS = {
    "memory": Field("memory", "GiB", GIB, "Memory"),
    "ttft_s": Field("ttft_ms", "ms", MS, "TTFT"),
    "tpot_s": Field("tpot_ms", "ms", MS, "TPOT"),
    "latency_s": Field("latency_s", "s", 1.0, "Latency"),
    "loss_nats": Field("quality_loss_nats", "nats", 1.0, "The quality loss"),
    "price_usd_per_hour": Field("usd_per_hour", "USD/h", 1.0, "The price"),
    "gpus": Field("gpus", "GPUs", 1.0, "The number used"),
    "stages": Field("stages", "stages", 1.0, "The length of the pipeline"),
    "min_stages": Field("min_stages", "stages", 1.0, "The length of the pipeline"),
    "min_used": Field("min_used", "GPUs", 1.0, "The number used"),
}
_PERCENT_FIELD = Field(
    "perplexity_increase_percent", "%", 1.0, "The increase of perplexity", is_percent=True
)


def increase_percent(loss_nats: float) -> float | None:
    """Increase of perplexity in percent; None beyond any number."""
    return expm1(loss_nats) * PERCENT if loss_nats <= MOST_NATS else None


def field_of(prepared: Prepared, limit: str, *values: float) -> Field:
    """How a limit of the solver is shown; quality in nats where so asked or too large for %."""
    in_percent = limit == "loss_nats" and prepared.background.quality_in_percent
    if in_percent and all(value <= MOST_NATS for value in values):
        return _PERCENT_FIELD
    return _FIELDS.get(limit, Field(limit, "", 1.0, limit))


def rounded_up(value: float) -> float:
    """A value of four digits that is not below this one."""
    context = Context(prec=DIGITS, rounding=ROUND_CEILING)
    # A digit beyond what floats resolve is not worth the next step up.
    exact = Decimal(f"{value:.12g}")
    return value if exact == exact.to_integral_value() else float(context.create_decimal(exact))


def remedy_report(prepared: Prepared, remedy: Remedy) -> out.RemedyReport:
    """What would help, in the request's own fields and units."""
    field = field_of(prepared, remedy.limit, remedy.asked, remedy.needed)
    asked, needed = field.shown(remedy.asked), field.shown(remedy.needed)
    text = remedy.text
    if remedy.limit not in _OWN_WORDS:
        needed = rounded_up(needed)
        text = _remedy_text(prepared, remedy, field, needed)
    return out.RemedyReport(
        limit=field.name,
        unit=field.unit,
        asked=asked,
        needed=needed,
        text=text,
        others_kept=remedy.others_kept,
    )


def _remedy_text(prepared: Prepared, remedy: Remedy, field: Field, needed: float) -> str:
    asked = f"limits.{field.name} is {field.shown(remedy.asked):.6g}"
    if _is_default(prepared, remedy.limit):
        asked = f"The default quality limit is {_value(field, remedy.asked)}"
    what = f"{field.name} {needed:.6g}" if _is_default(prepared, remedy.limit) else f"{needed:.6g}"
    if not remedy.others_kept:
        rest = "is the best without the other limits. No single limit can be relaxed alone."
    else:
        rest = "is possible with the other limits kept."
    return f"{asked}; {what} {rest}"


def _is_default(prepared: Prepared, limit: str) -> bool:
    return limit == "loss_nats" and prepared.background.quality_limit != "asked"


def _value(field: Field, value: float) -> str:
    return with_unit(f"{field.shown(value):.6g}", field.unit)


def violation_report(prepared: Prepared, violation: Violation) -> out.ViolationReport:
    """What a plan breaks, in the request's own fields and units."""
    field = field_of(prepared, violation.limit, violation.allowed, violation.value)
    text = violation.text
    if violation.limit not in _OWN_WORDS:
        value = with_unit(f"{rounded_up(field.shown(violation.value)):.6g}", field.unit)
        by = f"limits.{field.name}"
        if _is_default(prepared, violation.limit):
            by = f"the default limit ({prepared.background.quality_limit})"
        text = f"{field.words} is {value}; {by} allows {_value(field, violation.allowed)}."
    return out.ViolationReport(
        limit=field.name,
        unit=field.unit,
        allowed=field.shown(violation.allowed),
        value=field.shown(violation.value),
        text=text,
    )
