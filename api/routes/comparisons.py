"""Comparisons: a request in, baselines beside the best plan out."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.deps import Body, CapsOf, Pool
from api.openapi import json_body
from api.problem_responses import declared
from api.request import parse_request
from api.schemas.comparison import ComparisonAnswer
from api.work import comparison_work

__all__ = ["router"]

router = APIRouter(tags=["comparisons"])


@router.post(
    "/v1/comparisons",
    response_model=ComparisonAnswer,
    responses=declared(413, 415, 422, 429, 500, 503),
    openapi_extra=json_body("AnyRequest"),
)
async def compare_plans(body: Body, pool: Pool, caps: CapsOf) -> Response:
    """Set what people use today beside the best plan: how far it is from it, and why it loses."""
    await run_in_threadpool(parse_request, body)
    outcome = await pool.run(comparison_work, body, caps)
    return Response(outcome.answer_or_raise(), media_type="application/json")
