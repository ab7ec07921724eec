"""Points of a cost table over batch and tokens, answered exactly or by log-log interpolation."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from cost_model.source import Source

__all__ = ["Grid", "GridPoint"]


@dataclass(frozen=True, slots=True)
class GridPoint:
    """Seconds of one (batch, tokens) and where they come from."""

    batch: int
    tokens: int
    seconds: float
    source: Source


@dataclass(frozen=True, slots=True)
class _Line:
    """The points of one token count, by rising batch."""

    batches: FloatArray
    log_seconds: FloatArray
    sources: IntArray

    def at(self, batch: FloatArray) -> tuple[FloatArray, IntArray]:
        """Log-seconds and source of each batch; NaN beyond the ends of the line."""
        log_batch, log_batches = np.log(batch), np.log(self.batches)
        values = np.interp(log_batch, log_batches, self.log_seconds, left=np.nan, right=np.nan)
        above = np.searchsorted(self.batches, batch).clip(max=len(self.batches) - 1)
        exact = self.batches[above] == batch
        below = np.where(exact, above, (above - 1).clip(min=0))
        weakest = np.maximum(self.sources[below], self.sources[above])
        values = np.where(exact, self.log_seconds[above], values)
        return values, np.where(exact, weakest, np.maximum(weakest, Source.INTERPOLATED))


class Grid:
    """
    Points of one table key, in any arrangement over batch and tokens.

    Parameters
    ----------
    points
        At least one; the first of several at one place counts.
    """

    __slots__ = ("_lines", "_tokens")

    def __init__(self, points: Iterable[GridPoint]) -> None:
        unique: dict[tuple[int, int], GridPoint] = {}
        for point in points:
            unique.setdefault((point.tokens, point.batch), point)
        ordered = [unique[key] for key in sorted(unique)]
        self._tokens = sorted({point.tokens for point in ordered})
        self._lines = [_line(ordered, tokens) for tokens in self._tokens]

    def at(self, batch: IntArray, tokens: float) -> tuple[FloatArray, IntArray]:
        """
        Seconds of each batch at one token count.

        Parameters
        ----------
        batch
            Requests, shape (M,).
        tokens
            Prompt length or context.

        Returns
        -------
        tuple of FloatArray and IntArray
            Seconds, NaN where the points do not enclose the place; and the `Source` of each
            number. Both of shape (M,).
        """
        requests = np.asarray(batch, dtype=np.float64)
        below = self._nearest(
            requests, [i for i, t in enumerate(self._tokens) if t <= tokens][::-1]
        )
        above = self._nearest(requests, [i for i, t in enumerate(self._tokens) if t >= tokens])
        (low, low_tokens, low_source), (high, high_tokens, high_source) = below, above
        same = low_tokens == high_tokens
        width = np.where(same, 1.0, np.log(high_tokens / low_tokens))
        share = np.where(same, 0.0, np.log(tokens / low_tokens) / width)
        weakest = np.maximum(low_source, high_source)
        source = np.where(same, low_source, np.maximum(weakest, Source.INTERPOLATED))
        return np.exp(low + share * (high - low)), source

    def _nearest(
        self, batch: FloatArray, lines: list[int]
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Log-seconds, tokens and source of the first line, in order, that covers each batch."""
        values = np.full(batch.shape, np.nan)
        tokens = np.ones(batch.shape)
        sources = np.zeros(batch.shape, dtype=np.int64)
        for line in lines:
            found, source = self._lines[line].at(batch)
            take = np.isnan(values) & ~np.isnan(found)
            values = np.where(take, found, values)
            tokens = np.where(take, self._tokens[line], tokens)
            sources = np.where(take, source, sources)
        return values, tokens, sources


def _line(points: list[GridPoint], tokens: int) -> _Line:
    own = [point for point in points if point.tokens == tokens]
    return _Line(
        batches=np.array([point.batch for point in own], dtype=np.float64),
        log_seconds=np.log([point.seconds for point in own]),
        sources=np.array([point.source for point in own], dtype=np.int64),
    )
