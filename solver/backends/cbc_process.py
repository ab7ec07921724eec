"""
CBC as a process of its own: watched, asked to stop, and never left behind.

Only where this process is killed without a word does CBC go on, until its own time limit.
"""

import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import IO

from solver.linear import BackendStop

__all__ = ["CbcEnd", "CbcProcess"]

_BOUND_LINE = re.compile(
    r"(?:best possible|Continuous objective value is) (-?[\d.]+(?:e[+-]?\d+)?)[ )]"
)
# The log rounds to six digits or more; beyond this it writes what stands for infinity.
_LOG_ROUNDING, _LOG_INFINITY = 5e-6, 1e29
# Seconds between two looks at the process, and for it to end by itself when asked.
_POLL_S, _GRACE_S = 0.05, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CbcEnd:
    """
    How a run of CBC ended.

    Parameters
    ----------
    stop
        Why it was ended from outside; None where it ended by itself.
    code
        Its exit code; negative for a signal.
    bound
        The best bound in its log, -inf where there is none.
    log
        What it wrote.
    """

    stop: BackendStop | None
    code: int
    bound: float
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CbcProcess:
    """
    Runs CBC in a folder.

    Parameters
    ----------
    folder
        Where its files are.
    deadline
        Value of ``time.monotonic()`` at which it should have ended; a second later it is ended.
    cancelled
        Asked twenty times a second.
    """

    folder: Path
    deadline: float
    cancelled: Callable[[], bool] | None = None

    def run(
        self, command: Sequence[str], on_bound: Callable[[float], None] | None = None
    ) -> CbcEnd:
        """Run it to its end, or to ours."""
        path = self.folder / "log.txt"
        # A session of its own: Ctrl-C in a terminal is for hetplan, which then ends CBC.
        with path.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with path.open(encoding="utf-8", errors="replace") as log:
            watch = _Watch(log=log, on_bound=on_bound)
            try:
                stop = self._attend(process, watch)
            finally:
                process.kill()
                process.wait()
            watch.read_on()
        text = path.read_text(encoding="utf-8", errors="replace")
        return CbcEnd(stop=stop, code=process.returncode, bound=watch.bound, log=text)

    def _attend(self, process: "subprocess.Popen[bytes]", watch: "_Watch") -> BackendStop | None:
        """Wait for its end; returns why it was ended, None if it ended by itself."""
        while _is_running(process, _POLL_S):
            watch.read_on()
            stop = self._reason()
            if stop is not None:
                process.send_signal(signal.SIGINT)  # in its tree CBC then writes what it has
                _is_running(process, _GRACE_S)
                return stop
        return None

    def _reason(self) -> BackendStop | None:
        if self.cancelled is not None and self.cancelled():
            return BackendStop.CANCELLED
        return BackendStop.TIME_LIMIT if monotonic() > self.deadline + _GRACE_S else None


def _is_running(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Reads bounds from the log as it grows."""

    log: IO[str]
    on_bound: Callable[[float], None] | None
    bound: float = -inf
    _rest: str = ""

    def read_on(self) -> None:
        """Read what is new."""
        *lines, self._rest = (self._rest + self.log.read()).split("\n")
        for line in lines:
            self._hear(line)

    def _hear(self, line: str) -> None:
        found = _BOUND_LINE.search(line + " ")
        if found is None or abs(float(found[1])) > _LOG_INFINITY:
            return
        value = float(found[1])
        bound = value - _LOG_ROUNDING * abs(value)
        if bound > self.bound:
            self.bound = bound
            if self.on_bound is not None:
                self.on_bound(bound)
