"""Ending a solver that does not ask by itself whether to go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

__all__ = ["cancelling"]

_POLL_S = 0.05


@contextmanager
def cancelling(
    stop: Callable[[], object], cancelled: Callable[[], bool] | None
) -> Iterator[Callable[[], bool]]:
    """
    Ask, from a thread of its own, whether to stop for as long as the block runs.

    Parameters
    ----------
    stop
        Ends the solver; called again until the block ends, for it may come before the start.
    cancelled
        Asked twenty times a second; None never stops.

    Yields
    ------
    Callable
        Whether the solver was told to stop.

    Raises
    ------
    BaseException
        What ``cancelled`` raised, when the block has ended.
    """
    ended, said = Event(), Event()
    failures: list[BaseException] = []

    def ask() -> None:
        while cancelled is not None and not ended.wait(_POLL_S):
            try:
                is_over = said.is_set() or cancelled()
            except BaseException as error:
                failures.append(error)
                is_over = True
            if is_over:
                said.set()
                stop()

    thread = Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield said.is_set
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]
