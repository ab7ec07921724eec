"""Pareto sets: a request and objectives in, the plans of which none beats another out."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.deps import Body, CapsOf, Pool
from api.openapi import json_body
from api.paretos import parse_pareto
from api.problem_responses import declared
from api.schemas.pareto import ParetoAnswer
from api.work import pareto_work

__all__ = ["router"]

router = APIRouter(tags=["pareto"])


@router.post(
    "/v1/pareto",
    response_model=ParetoAnswer,
    responses=declared(413, 415, 422, 429, 500, 503),
    openapi_extra=json_body("ParetoRequest"),
)
async def make_pareto(body: Body, pool: Pool, caps: CapsOf) -> Response:
    """Find the plans that no other plan beats in two or three objectives."""
    await run_in_threadpool(parse_pareto, body)
    outcome = await pool.run(pareto_work, body, caps)
    return Response(outcome.answer_or_raise(), media_type="application/json")
