"""The state of a running search on standard error, and stopping it by Ctrl-C."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from threading import Event, Thread, current_thread, main_thread
from typing import TextIO, TypeVar

from api.quantities import with_unit
from solver import Progress

__all__ = ["ProgressLine", "run_until_interrupt"]

QUIET_S = 2.0
PLAIN_EVERY_S = 10.0
CLEAR_LINE = "\r\x1b[2K"
Result = TypeVar("Result")


class ProgressLine:
    """
    Shows incumbent, bound and gap once a search takes longer than two seconds.

    On a terminal one line is rewritten; elsewhere a plain line appears every ten seconds.

    Parameters
    ----------
    stream
        Where to write; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._last_s = QUIET_S - PLAIN_EVERY_S
        self._is_open = False

    def __call__(self, progress: Progress) -> None:
        """Show a state, unless it comes too early."""
        if progress.elapsed_s < QUIET_S:
            return
        if self._is_terminal:
            self._stream.write(f"{CLEAR_LINE}{self.text(progress)}")
            self._is_open = True
        elif progress.elapsed_s - self._last_s >= PLAIN_EVERY_S:
            self._last_s = progress.elapsed_s
            self._stream.write(f"{self.text(progress)}\n")
        self._stream.flush()

    def text(self, progress: Progress) -> str:
        """One line on a state."""
        unit = progress.goal.unit
        best, bound = _value(progress.incumbent, unit), _value(progress.bound, unit)
        gap = "" if progress.gap is None else f", gap {progress.gap:.2%}"
        return (
            f"{progress.elapsed_s:5.0f} s  {progress.phase}: best plan {best}, bound {bound}{gap}"
        )

    def close(self) -> None:
        """Take the line away."""
        if self._is_open:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()
            self._is_open = False


def _value(value: float | None, unit: str) -> str:
    if value is None or not isfinite(value):
        return "none yet"
    return with_unit(f"{value:.4g}", unit)


def run_until_interrupt(
    work: Callable[[Callable[[], bool]], Result], on_interrupt: Callable[[], None]
) -> Result:
    """
    Run a search so that Ctrl-C ends it with what it has; a second Ctrl-C ends the program.

    SIGTERM counts as Ctrl-C: provers that are processes end, and their files go.

    Parameters
    ----------
    work
        Gets a function that tells whether to stop.
    on_interrupt
        Called at the first Ctrl-C.

    Returns
    -------
    Result
        What ``work`` returns; what it raises is raised here.
    """
    stop, done = Event(), Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(stop.is_set))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    Thread(target=run, daemon=True, name="search").start()
    with _sigterm_as_ctrl_c():
        while not done.is_set():
            try:
                done.wait(timeout=0.2)
            except KeyboardInterrupt:
                if stop.is_set():
                    raise
                stop.set()
                on_interrupt()
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    if current_thread() is not main_thread():  # where no handler can be set
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
