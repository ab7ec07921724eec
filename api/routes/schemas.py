"""JSON Schemas of requests and answers."""

from typing import Any

from fastapi import APIRouter, HTTPException

from api.json_schemas import json_schema
from api.problem_responses import declared
from api.schemas.names import SCHEMA_NAMES
from profiles.errors import InputError

__all__ = ["router"]

router = APIRouter(prefix="/v1/schemas", tags=["schemas"], responses=declared(422, 500))


@router.get("")
def schemas() -> list[str]:
    """Names of the JSON Schemas."""
    return list(SCHEMA_NAMES)


@router.get("/{name}", responses=declared(404))
def schema(name: str) -> dict[str, Any]:
    """JSON Schema by name: request, answer, plan, evaluation-request, evaluation-answer."""
    try:
        return json_schema(name)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
