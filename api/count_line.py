"""How much of a long run is done, on standard error."""

import sys
from time import monotonic
from typing import TextIO

__all__ = ["CountLine"]

QUIET_S = 2.0
PLAIN_EVERY_S = 10.0
CLEAR_LINE = "\r\x1b[2K"


class CountLine:
    """
    Shows what is done once a run takes longer than two seconds.

    On a terminal one line is rewritten; elsewhere a plain line appears every ten seconds.

    Parameters
    ----------
    what
        What is counted, such as ``layers``.
    stream
        Where to write; standard error by default.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._start_s = monotonic()
        self._next_s = QUIET_S
        self._is_open = False

    def __call__(self, done: int, total: int) -> None:
        """Show how many of how many are done, unless it comes too early."""
        elapsed_s = monotonic() - self._start_s
        if elapsed_s < self._next_s or not done:
            return
        left_s = elapsed_s / done * (total - done)
        text = f"{elapsed_s:5.0f} s  {done} of {total} {self._what}, about {left_s:.0f} s left"
        if self._is_terminal:
            self._stream.write(f"{CLEAR_LINE}{text}")
            self._is_open = True
        else:
            self._next_s = elapsed_s + PLAIN_EVERY_S
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._is_open:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()
            self._is_open = False
