"""The regret of a plan as an answer tells it."""

from api.plans import spec_from_plan
from api.prepared import Prepared
from api.schemas.regret import RegretReport, RivalReport
from solver import Regret, Rival, evaluate

__all__ = ["regret_report"]


def regret_report(prepared: Prepared, seed: int, found: Regret) -> RegretReport:
    """
    What tables drawn from their error do to the plan of an answer.

    Parameters
    ----------
    prepared
        What was solved.
    seed, found
        Of the draws, and what `solver.regret` found.
    """
    return RegretReport(
        samples=found.samples,
        samples_asked=found.asked,
        seed=seed,
        tolerance=found.tolerance,
        within=found.within,
        beyond=found.beyond,
        broken=found.broken,
        undecided=found.undecided,
        share_within_low=found.share_low,
        share_within_high=found.share_high,
        median_regret_low=found.median_low,
        median_regret_high=found.median_high,
        p95_regret_low=found.p95_low,
        p95_regret_high=found.p95_high,
        best_share=found.best_share,
        rival=None if found.rival is None else _rival_report(prepared, found.rival),
        error_terms=found.num_terms,
        assumed_terms=found.num_assumed,
        runtime_s=found.runtime_s,
    )


def _rival_report(prepared: Prepared, rival: Rival) -> RivalReport:
    stages = evaluate(prepared.problem, rival.plan).stages
    return RivalReport(
        plan=spec_from_plan(rival.plan, stages, prepared),
        objective=rival.value,
        best_share=rival.best_share,
        within_share=rival.within_share,
    )
