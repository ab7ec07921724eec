"""What is measured: a subject is a key of the table, a place a point of it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import hypot
from typing import Any, NamedTuple

import numpy as np

from cost_model.lookup import Phase

__all__ = ["EMBEDDING", "HEAD", "Place", "Reading", "Span", "Subject", "reading_of"]

EMBEDDING, HEAD = "embedding", "lm_head"
_SIGMA_OF_MAD = 1.4826  # of normal numbers: standard deviation over median absolute deviation
_FEWEST = 2
_ERROR_OF_MEDIAN = 1.2533  # of normal numbers: standard error of the median over that of the mean


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Subject:
    """
    What a curve of the table is about, beside batch and tokens.

    Parameters
    ----------
    layer_kind
        Kind of decoder layer, ``embedding`` or ``lm_head``.
    engine, kernel, format
        Names of the catalogues.
    tp
        GPUs that share the layer; one of their equal parts is measured.
    phase
        ``prefill`` or ``decode``.
    """

    layer_kind: str
    engine: str
    kernel: str
    format: str
    tp: int
    phase: Phase

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name, for the journal."""
        return asdict(self)

    @property
    def label(self) -> str:
        """A few words for people."""
        shared = "" if self.tp == 1 else f" tp {self.tp}"
        return f"{self.layer_kind} {self.kernel}{shared} {self.phase}"


class Place(NamedTuple):
    """Requests of a micro-batch, and prompt length (prefill) or context (decode) of each."""

    batch: int
    tokens: int

    def is_beyond(self, places: Iterable["Place"]) -> bool:
        """Whether it needs at least the memory of one of these."""
        return any(self.batch >= each.batch and self.tokens >= each.tokens for each in places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """
    The places that a table is to cover, ends included.

    Parameters
    ----------
    batch, tokens
        Lowest and highest, each at least 1.
    repeats
        Tokens, lowest and highest, for which a reading stands where tokens do not matter; None
        where they do.
    """

    batch: tuple[int, int]
    tokens: tuple[int, int]
    repeats: tuple[int, int] | None = None

    @property
    def anchor(self) -> Place:
        """The place in the middle, by which a drift of the machine's speed is told."""
        middles = (round((low * high) ** 0.5) for low, high in (self.batch, self.tokens))
        return Place(*middles)

    @property
    def lowest(self) -> Place:
        """The smallest place."""
        return Place(self.batch[0], self.tokens[0])

    def axis(self, name: str, ratio: float) -> list[int]:
        """Values from end to end of an axis, neighbours at most ``ratio`` apart."""
        low, high = getattr(self, name)
        steps = max(1, int(np.ceil(np.log(high / low) / np.log(ratio) - 1e-9)))
        return sorted({round(low * (high / low) ** (step / steps)) for step in range(steps + 1)})


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What the visits to a place say.

    Parameters
    ----------
    seconds
        The median of the visits that count.
    noise
        Relative standard error of that median.
    visits
        How many there were.
    """

    seconds: float
    noise: float
    visits: int

    def noise_with(self, *others: "Reading") -> float:
        """Relative standard error of a difference to others."""
        return hypot(self.noise, *(other.noise for other in others))


def reading_of(visits_s: Sequence[float], share: float = 1.0) -> Reading:
    """
    The reading that visits give: the median of the fastest of them.

    Parameters
    ----------
    visits_s
        Seconds of each visit, at least one.
    share
        Of the visits, the fastest, that count; at least two do, where there are two. What else a
        CPU runs makes visits slower and never faster, so a small share says best what it can do;
        a GPU that nobody shares is slower and faster by its clock alone, and all count.
    """
    count = max(round(share * len(visits_s)), min(len(visits_s), _FEWEST))
    values = np.sort(np.asarray(visits_s, dtype=np.float64))[:count]
    middle = float(np.median(values))
    deviation = _SIGMA_OF_MAD * float(np.median(np.abs(values - middle)))
    noise = _ERROR_OF_MEDIAN * deviation / middle / np.sqrt(count)
    return Reading(middle, float(noise), len(visits_s))
