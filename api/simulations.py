"""Plans to simulations: the problem with all sizes that occur, and the replay."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from api.given_plans import plan_from_spec
from api.prepared import Prepared
from api.problems import InvalidRequestError
from api.request import prepare
from api.request_serving import workload_of
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.plan import GivenPlan
from api.schemas.request import PlanRequest
from api.schemas.simulation import SimulationAnswer
from api.simulation_answer import SimulationChoice, simulation_answer
from profiles.errors import InputError
from solver import (
    BatchOption,
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
    problem, warnings = _priced(prepared.problem, request, plan, folder)
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
    return simulation_answer(prepared, plan, estimate, replay, choice, all_lengths, warnings)


# -- sizes and lengths --------------------------------------------------------------------------


def _left_over(problem: PipelineProblem, plan: Plan) -> list[int]:
    """Sizes of the smaller last micro-batches, of full batches and of a smaller last batch."""
    in_last = problem.served_requests(plan.batch_size) % plan.batch_size
    found = set()
    for batch in (plan.batch_size, in_last):
        for size in (plan.prefill_micro_batch, plan.decode_micro_batch):
            found |= {batch % size, min(batch, size)}
    return sorted(found - {0, plan.prefill_micro_batch, plan.decode_micro_batch})


def _priced(
    problem: PipelineProblem, request: AnyRequest, plan: Plan, folder: Path | None
) -> tuple[PipelineProblem, list[str]]:
    """The problem with times at the sizes that occur, and a warning where some are estimated."""
    missing = [size for size in _left_over(problem, plan) if size not in problem.micro_batches]
    if not missing:
        return problem, []
    names = ", ".join(map(str, missing))
    estimated = f"Times of micro-batches of {names} lie between those of the sizes next to them"
    if isinstance(request, CoefficientsRequest):
        return problem, [f"{estimated}; add them to micro_batches to give your own."]
    try:
        return _rebuilt(request, plan, missing, folder), []
    except (InputError, InvalidRequestError) as error:
        return problem, [f"{estimated}, since they are not known: {error}"]


def _rebuilt(
    request: PlanRequest, plan: Plan, missing: Sequence[int], folder: Path | None
) -> PipelineProblem:
    """The problem of a plan's own sizes and of those that are missing."""
    chosen = (plan.prefill_micro_batch, plan.decode_micro_batch)
    sizes = sorted({*chosen, *missing})
    update = {
        "batch_size": plan.batch_size,
        "prefill_micro_batches": sizes,
        "decode_micro_batches": sizes,
    }
    workload = request.workload.model_copy(update=update)
    problem = prepare(request.model_copy(update={"workload": workload}), folder=folder).problem
    prefill, decode = (problem.micro_batches.tolist().index(size) for size in chosen)
    batch = BatchOption(size=plan.batch_size, prefill=(prefill,), decode=(decode,))
    return replace(problem, batches=(batch,))


def _lengths(request: AnyRequest, batch: int, folder: Path | None) -> list[tuple[int, int]]:
    """Prompt and output tokens of every request of a batch; empty where all are alike."""
    if isinstance(request, CoefficientsRequest):
        return []
    buckets = workload_of(request.workload, folder).lengths
    return batch_lengths(buckets, batch) if buckets else []
