"""Catalogues: GPUs, models and example requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, HTTPException

from api.catalogue import gpu_entry, list_examples, list_gpus, list_models, model_entry
from api.example_files import example_body
from api.problem_responses import declared
from api.schemas.catalogue import ExampleEntry, GpuEntry, ModelEntry
from profiles.errors import InputError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=declared(422, 500))


@contextmanager
def _not_found() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise HTTPException(404, str(error)) from error


@router.get("/gpus")
def gpus() -> list[GpuEntry]:
    """GPUs of the catalogue with their figures, prices and formats."""
    return list_gpus()


@router.get("/gpus/{name}", responses=declared(404))
def gpu(name: str) -> GpuEntry:
    """A GPU of the catalogue by name or alias, in any case."""
    with _not_found():
        return gpu_entry(name)


@router.get("/models")
def models() -> list[ModelEntry]:
    """Models of the catalogue with their sizes."""
    return list_models()


@router.get("/models/{name:path}", responses=declared(404))
def model(name: str) -> ModelEntry:
    """A model of the catalogue by name, alias or Hugging Face repository, in any case."""
    with _not_found():
        return model_entry(name)


@router.get("/examples")
def examples() -> list[ExampleEntry]:
    """Names of the example requests and what they show."""
    return list_examples()


@router.get("/examples/{name}", responses=declared(404))
def example(name: str) -> dict[str, Any]:
    """An example request, ready to be sent to /v1/plans."""
    with _not_found():
        return example_body(name)
