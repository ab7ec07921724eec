"""The regret of a plan in a text answer."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from api.quantities import with_unit
from api.schemas.regret import RegretReport, RivalReport

__all__ = ["regret_lines"]


def regret_lines(found: RegretReport, unit: str) -> Iterator[RenderableType]:
    """
    How the plan fares in the tables that were drawn.

    Parameters
    ----------
    found
        As the answer gives it.
    unit
        Of the objective.
    """
    yield Text("If times are off by as much as they may be", style="bold")
    lines = [_share(found), *_why_not(found)]
    if found.samples > found.broken:
        lines.append(_regrets(found))
    lines.append(_best(found, unit))
    if found.assumed_terms:
        lines.append(
            f"the size of {found.assumed_terms} of {found.error_terms} random factors is assumed: "
            "nobody measured these kernels on these GPUs"
        )
    if found.samples < found.samples_asked:
        lines.append(f"time ran out after {found.samples} of {found.samples_asked} tables")
    yield Padding(Text("\n".join(lines)), (0, 0, 0, 2), expand=False)


def _share(found: RegretReport) -> str:
    low, high = _whole(found.share_within_low), _whole(found.share_within_high)
    return (
        f"within {_whole(found.tolerance)} of the best possible in {found.within} of "
        f"{found.samples} tables drawn (proven; 95 % interval {low} to {high})"
    )


def _why_not(found: RegretReport) -> Iterator[str]:
    if found.beyond > found.broken:
        yield f"a plan better by more is known in {found.beyond - found.broken}"
    if found.broken:
        yield f"the plan breaks a limit in {found.broken}"
    if found.undecided:
        yield f"not decided in {found.undecided}"


def _regrets(found: RegretReport) -> str:
    median = _range(found.median_regret_low, found.median_regret_high)
    p95 = _range(found.p95_regret_low, found.p95_regret_high)
    return f"lost against the best possible: median {median}, 95th percentile {p95}"


def _best(found: RegretReport, unit: str) -> str:
    own = f"no plan known beats it in {_whole(found.best_share)} of them"
    return own if found.rival is None else f"{own}; {_rival(found.rival, unit)}"


def _rival(rival: RivalReport, unit: str) -> str:
    stages = " -> ".join(
        f"layers {stage.first_layer}-{stage.last_layer} on "
        f"{f'{stage.tensor_parallel}x ' if stage.tensor_parallel > 1 else ''}{stage.gpu}"
        for stage in rival.plan.stages
    )
    value = "none" if rival.objective is None else with_unit(f"{rival.objective:.4g}", unit)
    return (
        f"in {_whole(rival.best_share)} none beats {stages} ({value} with the tables as they are)"
    )


def _range(low: float | None, high: float | None) -> str:
    least = "unknown" if low is None else f"{low:.1%}".replace("%", " %")
    if high is None:
        return f"at least {least}"
    return f"{least} to {high:.1%}".replace("%", " %").replace("  %", " %")


def _whole(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
