"""A pool of processes with a short queue, which survives the death of a worker."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Protocol, TypeVar

from profiles.errors import HetplanError

__all__ = ["BusyError", "ProcessPool", "StoppingError", "WorkPool", "WorkerDiedError"]

Result = TypeVar("Result")
_STOPPING = "The service is shutting down; try again later."


class BusyError(HetplanError):
    """All workers are busy and the queue is full."""


class StoppingError(HetplanError):
    """The pool is closed: the service is about to end."""


class WorkerDiedError(HetplanError):
    """The process that worked on a request died."""


class WorkPool(Protocol):
    """Runs functions elsewhere."""

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Result of the function; what it raises is raised here."""

    def close(self) -> None:
        """Stop taking work."""


class ProcessPool:
    """
    A pool of processes, each started afresh (spawn).

    The workers hold one end of a pipe and end when the other is closed: by `close`, or by the
    system when this process ends in whatever way.

    Parameters
    ----------
    workers
        Processes.
    queue
        Functions that may wait beside those that run.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self._workers = workers
        self._room = workers + queue
        self._pending = 0
        self._is_open = True
        self._executor, self._lifeline = self._start()

    def _start(self) -> tuple[ProcessPoolExecutor, Connection]:
        context = get_context("spawn")
        theirs, ours = context.Pipe(duplex=False)
        executor = ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=_hold_on_to, initargs=(theirs,)
        )
        return executor, ours

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """
        Result of a function run in a worker.

        Raises
        ------
        BusyError
            When the queue is full.
        StoppingError
            When the pool is closed, before or while the function runs.
        WorkerDiedError
            When the worker died; the pool has been started anew.
        """
        if not self._is_open:
            raise StoppingError(_STOPPING)
        if self._pending >= self._room:
            raise BusyError("All workers are busy and the queue is full; try again later.")
        executor = self._executor
        try:
            future = self._submit(executor, work, *arguments)
            return await asyncio.wrap_future(future)
        except (BrokenProcessPool, asyncio.CancelledError) as error:
            if not self._is_open:
                raise StoppingError(_STOPPING) from error
            if isinstance(error, asyncio.CancelledError):
                raise
            self._replace(executor)
            raise WorkerDiedError(
                "The process that worked on this request died, most likely for lack of memory; "
                "try a smaller problem."
            ) from error

    def _submit(
        self, executor: ProcessPoolExecutor, work: Callable[..., Result], *arguments: object
    ) -> "Future[Result]":
        future = executor.submit(work, *arguments)
        self._pending += 1
        # A client that goes away frees its place only when the worker is done.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return future

    def _done(self) -> None:
        self._pending -= 1

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._executor is broken:
            self._end()
            self._executor, self._lifeline = self._start()

    def close(self) -> None:
        """Stop taking work and end the workers, whatever they are at."""
        self._is_open = False
        self._end()

    def _end(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._lifeline.close()


def _hold_on_to(lifeline: Connection) -> None:
    """End this worker once nobody holds the other end."""

    def wait() -> None:
        with suppress(EOFError, OSError):
            lifeline.recv()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
