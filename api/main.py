"""The HTTP service, put together."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import Depends, FastAPI

from api.deps import no_query
from api.openapi import openapi_of
from api.pool import ProcessPool, WorkPool
from api.problem_responses import add_handlers
from api.routes import (
    catalogue,
    comparisons,
    evaluations,
    exports,
    health,
    pareto,
    plans,
    schemas,
    simulations,
)
from api.settings import Settings, load_settings
from api.version import hetplan_version
from profiles.errors import InputError

__all__ = ["create_app", "serve"]

LAST_ANSWERS_S, LAST_WORDS_S = 5, 5
"""Seconds that running searches have to end once the service is told to stop, and then their
clients to be told."""


def create_app(settings: Settings | None = None, pool: WorkPool | None = None) -> FastAPI:
    """
    The application.

    Parameters
    ----------
    settings
        Default: from the environment.
    pool
        Runs the searches; default: processes as the settings say, closed with the application.
    """
    settings = settings or load_settings()

    work_pool = pool or ProcessPool(settings.workers, settings.queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        work_pool.close()

    app = FastAPI(
        title="hetplan",
        summary="The best plan to serve a large language model on mixed GPUs, with proof.",
        version=hetplan_version(),
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.pool = work_pool
    add_handlers(app)
    rooms = (
        plans,
        evaluations,
        comparisons,
        pareto,
        simulations,
        exports,
        catalogue,
        schemas,
        health,
    )
    for room in rooms:
        app.include_router(room.router, dependencies=[Depends(no_query)])
    app.openapi = lambda: openapi_of(app)  # type: ignore[method-assign]
    return app


class _Server(uvicorn.Server):
    """Once told to stop, ends the searches in time for their clients to hear of it."""

    def __init__(self, config: uvicorn.Config, pool: WorkPool) -> None:
        super().__init__(config)
        self._pool = pool

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(LAST_ANSWERS_S, self._pool.close)
        await super().shutdown(sockets)


def serve(*, host: str | None = None, port: int | None = None) -> None:
    """
    Run the service until it is stopped.

    Raises
    ------
    InputError
        When a setting is wrong, or the address cannot be listened on.
    """
    settings = load_settings()
    host = settings.host if host is None else host
    port = settings.port if port is None else port
    pool = ProcessPool(settings.workers, settings.queue)
    config = uvicorn.Config(
        create_app(settings, pool),
        host=host,
        port=port,
        timeout_graceful_shutdown=LAST_ANSWERS_S + LAST_WORDS_S,
    )
    server = _Server(config, pool)
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    except SystemExit as error:  # of uvicorn, which has logged the system's reason
        raise InputError(
            f"Port {port} of {host} cannot be listened on; choose another --port or --host."
        ) from error
