"""What routes share: settings, the pool, and the body of a request."""

from typing import Annotated, Any

from fastapi import Depends, Request

from api.body import read_body
from api.pool import WorkPool
from api.problems import InvalidRequestError, Problem
from api.settings import Settings
from api.work import Caps

__all__ = ["Body", "CapsOf", "Pool", "no_query"]


def no_query(request: Request) -> None:
    """Refuse query parameters: no route has any."""
    problems = [
        Problem("", f"Unknown query parameter {name!r}; leave it out.")
        for name in request.query_params
    ]
    if problems:
        raise InvalidRequestError(problems)


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _pool(request: Request) -> WorkPool:
    pool: WorkPool = request.app.state.pool
    return pool


def _caps(settings: Annotated[Settings, Depends(_settings)]) -> Caps:
    return Caps(
        max_time_limit_s=settings.max_time_limit_s, max_problem_size=settings.max_problem_size
    )


async def _body(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> Any:  # noqa: ANN401
    return await read_body(request, settings.max_body_bytes)


Pool = Annotated[WorkPool, Depends(_pool)]
CapsOf = Annotated[Caps, Depends(_caps)]
Body = Annotated[Any, Depends(_body)]
