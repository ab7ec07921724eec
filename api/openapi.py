"""The OpenAPI document: bodies that routes read themselves, and named examples."""

import json
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.example_files import example_body, example_names, example_summary, examples_folder
from api.json_schemas import json_schema
from api.schemas.problem_details import ProblemDetails

__all__ = ["json_body", "openapi_of"]

REF = "#/components/schemas/"
_BODIES = {
    "AnyRequest": "request",
    "EvaluationRequest": "evaluation-request",
    "SimulationRequest": "simulation-request",
    "ExportRequest": "export-request",
    "ParetoRequest": "pareto-request",
}


def json_body(component: str) -> dict[str, Any]:
    """How a route declares the body that it reads itself; see `openapi_of` for the rest."""
    schema = {"$ref": REF + component}
    content = {"application/json": {"schema": schema}, "application/yaml": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for component, name in _BODIES.items():
        schemas |= _component(component, json_schema(name))
    schemas |= _component("ProblemDetails", ProblemDetails.model_json_schema())
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _add_examples(document)
    _drop_stock_errors(document)
    return document


def _component(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema and its definitions as components."""
    moved = _moved(schema)
    definitions: dict[str, Any] = moved.pop("$defs", {})
    moved.pop("$schema", None)
    return {**definitions, name: {"title": name, **moved}}


def _moved(value: Any) -> Any:  # noqa: ANN401
    """The same with references to definitions pointed at components."""
    if isinstance(value, dict):
        return {
            key: item.replace("#/$defs/", REF)
            if key == "$ref" and isinstance(item, str)
            else _moved(item)
            for key, item in value.items()
        }
    return [_moved(item) for item in value] if isinstance(value, list) else value


@cache
def _examples() -> dict[str, Any]:
    return {
        name: {"summary": example_summary(name)[:200], "value": example_body(name)}
        for name in example_names()
    }


@cache
def _simulation_examples() -> dict[str, Any]:
    name = "llama-2-70b"
    plan = json.loads((examples_folder() / "evaluate" / f"{name}-plan.json").read_text())
    summary = "A plan written by hand for llama-2-70b; decode overlaps prefill."
    value = {"request": example_body(name), "plan": plan, "start": "overlapped"}
    return {f"{name}-overlapped": {"summary": summary, "value": value}}


@cache
def _pareto_examples() -> dict[str, Any]:
    name = "cheapest"
    summary = f"Latency against cost for {name}."
    value = {"request": example_body(name), "objectives": ["latency", "cost"], "points": 5}
    return {f"{name}-latency-cost": {"summary": summary, "value": value}}


def _add_examples(document: dict[str, Any]) -> None:
    for path in ("/v1/plans", "/v1/comparisons"):
        body = document["paths"][path]["post"]["requestBody"]
        body["content"]["application/json"]["examples"] = _examples()
    body = document["paths"]["/v1/simulations"]["post"]["requestBody"]
    body["content"]["application/json"]["examples"] = _simulation_examples()
    body = document["paths"]["/v1/pareto"]["post"]["requestBody"]
    body["content"]["application/json"]["examples"] = _pareto_examples()


def _drop_stock_errors(document: dict[str, Any]) -> None:
    """FastAPI declares its own form of 422, which this service never sends."""
    for path in document["paths"].values():
        for operation in path.values():
            stock = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in stock and "application/problem+json" not in stock:
                del operation["responses"]["422"]
