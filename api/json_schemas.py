"""JSON Schemas of requests and answers."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from api.schemas.answer import EvaluationAnswer, PlanAnswer
from api.schemas.plan import PlanSpec
from api.schemas.request import REQUEST_ADAPTER, EvaluationRequest
from profiles.errors import unknown_name

__all__ = ["SCHEMA_NAMES", "json_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "request": REQUEST_ADAPTER,
    "answer": TypeAdapter(PlanAnswer),
    "plan": TypeAdapter(PlanSpec),
    "evaluation-request": TypeAdapter(EvaluationRequest),
    "evaluation-answer": TypeAdapter(EvaluationAnswer),
}
SCHEMA_NAMES = tuple(_ADAPTERS)


@cache
def json_schema(name: str) -> dict[str, Any]:
    """
    The JSON Schema (draft 2020-12) of one of `SCHEMA_NAMES`.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    if name not in _ADAPTERS:
        raise unknown_name("schema", name, SCHEMA_NAMES)
    return {"$schema": DIALECT, **_ADAPTERS[name].json_schema()}
