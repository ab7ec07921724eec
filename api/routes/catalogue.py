"""Catalogues: GPUs, models and example requests."""

from typing import Any

from fastapi import APIRouter, HTTPException

from api.catalogue import list_examples, list_gpus, list_models
from api.example_files import example_body
from api.problem_responses import declared
from api.schemas.catalogue import ExampleEntry, GpuEntry, ModelEntry
from profiles.errors import InputError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=declared(500))


@router.get("/gpus")
def gpus() -> list[GpuEntry]:
    """GPUs of the catalogue with their figures, prices and formats."""
    return list_gpus()


@router.get("/models")
def models() -> list[ModelEntry]:
    """Models of the catalogue with their sizes."""
    return list_models()


@router.get("/examples")
def examples() -> list[ExampleEntry]:
    """Names of the example requests and what they show."""
    return list_examples()


@router.get("/examples/{name}", responses=declared(404))
def example(name: str) -> dict[str, Any]:
    """An example request, ready to be sent to /v1/plans."""
    try:
        return example_body(name)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
