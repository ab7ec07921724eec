"""Plans to simulations: the problem with all sizes that occur, and the replay."""

from pathlib import Path

from api.given_plans import plan_from_spec
from api.prepared import Prepared
from api.request_serving import workload_of
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.plan import GivenPlan
from api.schemas.request import PlanRequest
from api.schemas.simulation import SimulationAnswer
from api.simulation_answer import SimulationChoice, simulation_answer
from solver import (
    PipelineProblem,
    Plan,
    batch_lengths,
    evaluate,
    simulate_plan,
)

__all__ = ["simulated"]

AnyRequest = PlanRequest | CoefficientsRequest


def simulated(
    prepared: Prepared,
    request: AnyRequest,
    spec: GivenPlan,
    choice: SimulationChoice,
    *,
    folder: Path | None = None,
) -> SimulationAnswer:
    """
    Replay a plan for a request.

    Parameters
    ----------
    prepared, request
        The request, made ready and as it was read.
    spec
        The plan.
    choice
        How to replay it.
    folder
        Where paths in the request start; None refuses them.

    Raises
    ------
    InvalidRequestError, InputError
        When the plan does not fit the request, or the replay would be too long.
    """
    plan = plan_from_spec(spec, prepared)
    estimate = evaluate(prepared.problem, plan)
    problem = prepared.problem
    lengths = _lengths(request, plan.batch_size, folder)
    replay = simulate_plan(
        problem,
        plan,
        start=choice.start,
        order=choice.order,
        gantt_rounds=choice.gantt_rounds,
        prompt_tokens=[prompt for prompt, _ in lengths] or None,
        output_tokens=[output for _, output in lengths] or None,
    )
    all_lengths = lengths or [(problem.prompt_tokens, problem.output_tokens)] * plan.batch_size
    warnings = _warnings(problem, plan)
    return simulation_answer(prepared, plan, estimate, replay, choice, all_lengths, warnings)


# -- sizes and lengths --------------------------------------------------------------------------


def _warnings(problem: PipelineProblem, plan: Plan) -> list[str]:
    """Of sizes that the replay needs and whose times are not given."""
    in_last = problem.served_requests(plan.batch_size) % plan.batch_size
    needed = set()
    for batch in (plan.batch_size, in_last):
        for size in (plan.prefill_micro_batch, plan.decode_micro_batch):
            needed |= {batch % size, min(batch, size)}
    missing = sorted(needed - {0, *problem.micro_batches.tolist()})
    if not missing:
        return []
    names = ", ".join(map(str, missing))
    text = (
        f"Times of micro-batches of {names} lie between those of the sizes next to them; "
        "add them to micro_batches to give your own."
    )
    return [text]


def _lengths(request: AnyRequest, batch: int, folder: Path | None) -> list[tuple[int, int]]:
    """Prompt and output tokens of every request of a batch; empty where all are alike."""
    if isinstance(request, CoefficientsRequest):
        return []
    buckets = workload_of(request.workload, folder).lengths
    return batch_lengths(buckets, batch) if buckets else []
