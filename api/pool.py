"""A pool of processes with a short queue, which survives the death of a worker."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Protocol, TypeVar

from profiles.errors import HetplanError

__all__ = ["BusyError", "ProcessPool", "WorkPool", "WorkerDiedError"]

Result = TypeVar("Result")


class BusyError(HetplanError):
    """All workers are busy and the queue is full."""


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
        self._executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, mp_context=get_context("spawn"))

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """
        Result of a function run in a worker.

        Raises
        ------
        BusyError
            When the queue is full.
        WorkerDiedError
            When the worker died; the pool has been started anew.
        """
        if self._pending >= self._room:
            raise BusyError("All workers are busy and the queue is full; try again later.")
        executor = self._executor
        try:
            future = self._submit(executor, work, *arguments)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
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
            broken.shutdown(wait=False, cancel_futures=True)
            self._executor = self._start()

    def close(self) -> None:
        """Stop taking work and end the workers."""
        self._executor.shutdown(wait=False, cancel_futures=True)
