"""Whether the service lives and is ready, and what versions it runs."""

from fastapi import APIRouter

from api.answer import versions
from api.problem_responses import declared
from api.schemas.answer import Versions
from api.schemas.health import Health
from profiles.gpus import load_gpus
from profiles.models import load_models

__all__ = ["router"]

router = APIRouter(tags=["health"], responses=declared(422, 500))


@router.get("/healthz/live")
def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/healthz/ready")
def ready() -> Health:
    """The catalogues are loaded: requests can be answered."""
    load_gpus()
    load_models()
    return Health(status="ok")


@router.get("/version")
def version() -> Versions:
    """Versions of the program, the solver and the interpreter."""
    return versions()
