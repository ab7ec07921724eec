"""JSON Schemas of requests and answers."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from api.schemas.answer import EvaluationAnswer, PlanAnswer
from api.schemas.comparison import ComparisonAnswer
from api.schemas.export import ExportAnswer, ExportRequest
from api.schemas.names import SCHEMA_NAMES
from api.schemas.omega import OmegaFile
from api.schemas.pareto import ParetoAnswer, ParetoRequest
from api.schemas.plan import GivenPlan
from api.schemas.request import REQUEST_ADAPTER, EvaluationRequest
from api.schemas.simulation import SimulationAnswer, SimulationRequest
from api.schemas.sweep import SweepSpec
from profiles.errors import unknown_name

__all__ = ["json_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "request": REQUEST_ADAPTER,
    "answer": TypeAdapter(PlanAnswer),
    "plan": TypeAdapter(GivenPlan),
    "evaluation-request": TypeAdapter(EvaluationRequest),
    "evaluation-answer": TypeAdapter(EvaluationAnswer),
    "simulation-request": TypeAdapter(SimulationRequest),
    "simulation-answer": TypeAdapter(SimulationAnswer),
    "export-request": TypeAdapter(ExportRequest),
    "export-answer": TypeAdapter(ExportAnswer),
    "sweep": TypeAdapter(SweepSpec),
    "omega": TypeAdapter(OmegaFile),
    "comparison-answer": TypeAdapter(ComparisonAnswer),
    "pareto-request": TypeAdapter(ParetoRequest),
    "pareto-answer": TypeAdapter(ParetoAnswer),
}


@cache
def json_schema(name: str) -> dict[str, Any]:
    """
    The JSON Schema (draft 2020-12) of one of `SCHEMA_NAMES`.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    if name not in SCHEMA_NAMES:
        raise unknown_name("schema", name, SCHEMA_NAMES)
    return {"$schema": DIALECT, **_ADAPTERS[name].json_schema()}
