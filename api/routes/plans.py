"""Plans: a request in, the best plan out."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.deps import Body, CapsOf, Pool
from api.openapi import json_body
from api.problem_responses import declared
from api.request import parse_request
from api.schemas.answer import PlanAnswer
from api.work import plan_work

__all__ = ["router"]

router = APIRouter(tags=["plans"])


@router.post(
    "/v1/plans",
    response_model=PlanAnswer,
    responses=declared(413, 415, 422, 429, 500, 503),
    openapi_extra=json_body("AnyRequest"),
)
async def make_plan(body: Body, pool: Pool, caps: CapsOf) -> Response:
    """Find the best plan for a request; an infeasible request is answered too, with reasons."""
    await run_in_threadpool(parse_request, body)
    outcome = await pool.run(plan_work, body, caps)
    return Response(outcome.answer_or_raise(), media_type="application/json")
