"""The progress of a measurement on standard error."""

import sys
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cost_model.profiler.bench import MeasuringEvent

__all__ = ["ProfileProgress"]

PLAIN_EVERY_S = 10.0


class ProfileProgress:
    """
    A bar on a terminal, a plain line every ten seconds elsewhere.

    It is drawn between visits only, so that it takes no time from what is measured.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._is_terminal = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("visits"),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("measuring", total=None)
        self._told_s = self._started_s = monotonic()

    def __call__(self, event: MeasuringEvent) -> None:
        """Show what comes next."""
        text = f"{event.subject.label} {event.place.batch} x {event.place.tokens}"
        if self._is_terminal:
            self._bar.update(
                self._task,
                completed=event.visits_done,
                total=event.visits_known,
                description=text,
            )
            if not self._bar.live.is_started:
                self._bar.start()
            self._bar.refresh()
        elif monotonic() - self._told_s >= PLAIN_EVERY_S:
            self._told_s = monotonic()
            sys.stderr.write(
                f"{self._told_s - self._started_s:5.0f} s  {event.visits_done} of "
                f"{event.visits_known} visits so far known: {text}\n"
            )
            sys.stderr.flush()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
