"""Simulations: a request and a plan in, what a replay of the plan shows out."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.deps import Body, CapsOf, Pool
from api.openapi import json_body
from api.problem_responses import declared
from api.schemas.simulation import SimulationAnswer
from api.work import parse_simulation, simulation_work

__all__ = ["router"]

router = APIRouter(tags=["simulations"])


@router.post(
    "/v1/simulations",
    response_model=SimulationAnswer,
    responses=declared(413, 415, 422, 429, 500, 503),
    openapi_extra=json_body("SimulationRequest"),
)
async def simulate_plan(body: Body, pool: Pool, caps: CapsOf) -> Response:
    """Replay a plan micro-batch by micro-batch: times, bubbles and memory beside the formula's."""
    await run_in_threadpool(parse_simulation, body)
    outcome = await pool.run(simulation_work, body, caps)
    return Response(outcome.answer_or_raise(), media_type="application/json")
