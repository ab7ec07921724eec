"""Exports: a request and a plan in, what launches the plan on an engine out."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.deps import Body, CapsOf, Pool
from api.openapi import json_body
from api.problem_responses import declared
from api.schemas.export import ExportAnswer
from api.work import export_work, parse_export

__all__ = ["router"]

router = APIRouter(tags=["exports"])


@router.post(
    "/v1/exports",
    response_model=ExportAnswer,
    responses=declared(413, 415, 422, 429, 500, 503),
    openapi_extra=json_body("ExportRequest"),
)
async def export_plan(body: Body, pool: Pool, caps: CapsOf) -> Response:
    """Say what launches a plan on an engine: environment, commands, checkpoint; or why nothing."""
    await run_in_threadpool(parse_export, body)
    outcome = await pool.run(export_work, body, caps)
    return Response(outcome.answer_or_raise(), media_type="application/json")
