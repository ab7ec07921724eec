"""What was measured, as values and as the files of ``benchmarks/results/``: one per family."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

__all__ = [
    "GAPS",
    "FamilyResult",
    "Measured",
    "Run",
    "load_results",
    "reaches",
    "read_measured",
    "save_result",
]

FOLDER = Path(__file__).parent / "results"
GAPS = (0.05, 0.01, 0.001, 0.0001)
"""Gaps to which CPU seconds are counted."""
# The search compares bounds to this share: a gap that it takes as reached may lie so far above.
GAP_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """
    One search.

    Parameters
    ----------
    asked, seed
        The gap at which it may stop; the solver's seed.
    cpu_s
        CPU seconds until it stopped.
    reached
        By gap of `GAPS`: CPU seconds until the gap was proven, None where it never was.
    status, stop_reason, objective, bound, gap
        As `solver.SolveReport` has them.
    """

    asked: float
    seed: int
    cpu_s: float
    reached: tuple[float | None, ...]
    status: str
    stop_reason: str
    objective: float | None
    bound: float | None
    gap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """
    An instance with all its searches, which ran one after the other in a process of their own.

    Parameters
    ----------
    instance, backend, goal, size
        Which instance, by which prover, for which goal; what grows in the family.
    build_s
        CPU seconds to build the coefficients, catalogues read anew.
    peak_mib
        Peak memory of the process, MiB.
    even
        Objective of the even split at the best uniform format; None where it breaks a limit.
    runs
        The searches.
    failure
        Why there are no searches: the error that ended the process.
    """

    instance: str
    backend: str
    goal: str = ""
    size: int | None = None
    build_s: float = 0.0
    peak_mib: float = 0.0
    even: float | None = None
    runs: tuple[Run, ...] = ()
    failure: str = ""

    @property
    def is_infeasible(self) -> bool:
        """Whether every search proved that there is no plan."""
        return bool(self.runs) and all(run.status == "infeasible" for run in self.runs)

    @property
    def best(self) -> Run | None:
        """The first search for the least gap; None without any."""
        return min(self.runs, key=lambda run: run.asked, default=None)

    def cpu_s(self) -> float:
        """Median CPU seconds of the searches for the least gap; inf without any."""
        asked = min((run.asked for run in self.runs), default=None)
        return median([run.cpu_s for run in self.runs if run.asked == asked] or [inf])

    def seconds_to(self, gap: float) -> float | None:
        """
        Median CPU seconds to a gap over the loosest searches that had to reach it.

        Parameters
        ----------
        gap
            One of `GAPS`.

        Returns
        -------
        float or None
            inf where half of the searches or more fell short, or the process failed; None where
            none was asked for.
        """
        asked = max((run.asked for run in self.runs if run.asked <= gap), default=None)
        if asked is None:
            return inf if self.failure else None
        at = GAPS.index(gap)
        times = [run.reached[at] for run in self.runs if run.asked == asked]
        return median(inf if time is None else time for time in times)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyResult:
    """
    A family measured, with when, where and with what.

    Parameters
    ----------
    family
        Its name.
    date, commit, machine, versions
        Day as YYYY-MM-DD; short hash, ``+`` where files differed from it; processor; versions.
    measured
        Its instances.
    """

    family: str
    date: str
    commit: str
    machine: str
    versions: Mapping[str, str]
    measured: tuple[Measured, ...]

    @property
    def backends(self) -> list[str]:
        """What was measured, in order of appearance."""
        return list(dict.fromkeys(each.backend for each in self.measured))

    def by(self, backend: str) -> "FamilyResult":
        """What one of the backends did."""
        measured = tuple(each for each in self.measured if each.backend == backend)
        return replace(self, measured=measured)

    def seconds_to(self, gap: float) -> list[float]:
        """CPU seconds to a gap by instance, where it was asked for and there may be a plan."""
        if not any(run.asked <= gap for each in self.measured for run in each.runs):
            return []
        times = (each.seconds_to(gap) for each in self.measured if not each.is_infeasible)
        return [time for time in times if time is not None]


def reaches(gap: float | None, least: float) -> bool:
    """Whether a gap, if there is one, is as small as another but for rounding."""
    return gap is not None and gap <= least + GAP_ROUNDING


def read_measured(data: Mapping[str, Any]) -> Measured:
    """An instance from its plain data."""
    runs = (Run(**{**run, "reached": tuple(run["reached"])}) for run in data["runs"])
    return Measured(**{**data, "runs": tuple(runs)})


def save_result(result: FamilyResult, folder: Path = FOLDER) -> None:
    """Write the family's file, in place of an older one."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(asdict(result), indent=1)
    (folder / f"{result.family}.json").write_text(text + "\n", encoding="utf-8")


def load_results(folder: Path = FOLDER) -> dict[str, FamilyResult]:
    """All families that were measured, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        measured = tuple(read_measured(each) for each in data["measured"])
        found[data["family"]] = FamilyResult(**{**data, "measured": measured})
    return found
