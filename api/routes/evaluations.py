"""Evaluations: a request and a plan in, the plan's values out."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.deps import Body, CapsOf, Pool
from api.openapi import json_body
from api.problem_responses import declared
from api.schemas.answer import EvaluationAnswer
from api.work import evaluation_work, parse_evaluation

__all__ = ["router"]

router = APIRouter(tags=["evaluations"])


@router.post(
    "/v1/evaluations",
    response_model=EvaluationAnswer,
    responses=declared(413, 415, 422, 429, 500, 503),
    openapi_extra=json_body("EvaluationRequest"),
)
async def evaluate_plan(body: Body, pool: Pool, caps: CapsOf) -> Response:
    """Judge a plan: is it feasible, what does it give, how far is it from the best."""
    await run_in_threadpool(parse_evaluation, body)
    outcome = await pool.run(evaluation_work, body, caps)
    return Response(outcome.answer_or_raise(), media_type="application/json")
