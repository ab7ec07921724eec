"""
The families of instances that are measured, as ``benchmarks/families/index.yaml`` fixes them.

A family names examples, or changes one request point by point; it also fixes the gaps asked for,
the time limit, the seeds and the number of repeats.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.example_files import example_names, example_path
from api.prepared import Prepared
from api.reading import read_text
from api.request import parse_request, prepare
from profiles.errors import InputError, unknown_name
from solver import PipelineProblem

__all__ = ["Family", "Instance", "find_family", "load_families", "with_format_between"]

FOLDER = Path(__file__).parent / "families"
QUICK_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """
    A request to solve.

    Parameters
    ----------
    name
        Unique in its family.
    body, folder
        The request as data, and where paths in it start.
    size
        What grows in the family; None where nothing does.
    between
        Formats to add to the problem, each midway between two others.
    """

    name: str
    body: Mapping[str, Any]
    folder: Path
    size: int | None = None
    between: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def prepared(self) -> Prepared:
        """The request made ready to solve."""
        ready = prepare(parse_request(self.body), folder=self.folder)
        problem = ready.problem
        for name, (first, second) in self.between.items():
            problem = with_format_between(problem, name, first, second)
        return replace(ready, problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """
    Instances with the rules by which they are measured; ``index.yaml`` explains the fields.

    ``llmpq`` names instances of `benchmarks.llmpq_instances`, for `benchmarks.llmpq_family`.
    """

    name: str
    about: str
    instances: tuple[Instance, ...]
    asks: tuple[float, ...]
    seeds: tuple[int, ...]
    repeats: int
    time_limit_s: float
    grows: str = ""
    backends: tuple[str, ...] = ("highs",)
    llmpq: tuple[str, ...] = ()

    @property
    def num_searches(self) -> int:
        """Searches per instance and backend."""
        return len(self.asks) * len(self.seeds) * self.repeats

    def quick(self) -> "Family":
        """Its first instance alone, searched once, for ten seconds at most."""
        return replace(
            self,
            instances=self.instances[:1],
            llmpq=self.llmpq[:1],
            asks=self.asks[:1],
            seeds=self.seeds[:1],
            repeats=1,
            time_limit_s=QUICK_LIMIT_S,
        )

    def instance(self, name: str) -> Instance:
        """
        The instance of this name.

        Raises
        ------
        InputError
            When there is none.
        """
        for each in self.instances:
            if each.name == name:
                return each
        raise unknown_name("instance", name, [each.name for each in self.instances])


def load_families() -> tuple[Family, ...]:
    """All families, in the order of the index."""
    index, _ = read_text((FOLDER / "index.yaml").read_text(encoding="utf-8"))
    return tuple(_family(name, entry) for name, entry in index.items())


def find_family(name: str) -> Family:
    """
    The family of this name.

    Raises
    ------
    InputError
        When there is none.
    """
    families = {family.name: family for family in load_families()}
    if name not in families:
        raise unknown_name("family", name, list(families))
    return families[name]


def _family(name: str, entry: Mapping[str, Any]) -> Family:
    return Family(
        name=name,
        about=entry["about"],
        instances=tuple(_instances(name, entry)),
        asks=tuple(entry["asks"]),
        seeds=tuple(entry["seeds"]),
        repeats=entry["repeats"],
        time_limit_s=entry["time_limit_s"],
        grows=entry.get("grows", ""),
        backends=tuple(entry.get("backends", ["highs"])),
        llmpq=tuple(entry.get("llmpq", [])),
    )


def _instances(name: str, entry: Mapping[str, Any]) -> Iterator[Instance]:
    if "examples" in entry:
        yield from _examples(entry)
    elif "base" in entry:
        yield from _points(name, entry)


def _examples(entry: Mapping[str, Any]) -> Iterator[Instance]:
    for name in example_names():
        if any(fnmatch(name, pattern) for pattern in entry["examples"]):
            path = example_path(name)
            yield Instance(name=name, body=_read(path), folder=path.parent)


def _points(name: str, entry: Mapping[str, Any]) -> Iterator[Instance]:
    path = FOLDER / entry["base"]
    if "points" not in entry:
        yield Instance(name=name, body=_read(path), folder=FOLDER)
    for point, changes in entry.get("points", {}).items():
        yield Instance(
            name=f"{point} {entry['grows']}",
            body=_changed(_read(path), changes),
            folder=FOLDER,
            size=int(point),
            between=entry.get("between", {}).get(point, {}),
        )


def _read(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = read_text(path.read_text(encoding="utf-8"))[0]
    return body


def _changed(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The body with other values at some JSON pointers, through objects only."""
    changed = deepcopy(dict(body))
    for pointer, value in changes.items():
        *above, last = pointer.strip("/").split("/")
        at = changed
        for key in above:
            at = at[key]
        at[last] = value
    return changed


def with_format_between(
    problem: PipelineProblem, name: str, first: str, second: str
) -> PipelineProblem:
    """
    The problem with one more format, midway between two in seconds, bytes and quality loss.

    Parameters
    ----------
    problem, name
        The problem; the name of the new format.
    first, second
        Formats of the problem.

    Raises
    ------
    InputError
        When the problem lacks one of the two.
    """
    known = problem.format_names
    missing = [each for each in (first, second) if each not in known]
    if missing:
        raise InputError(
            f"Format {missing[0]!r} is not one of {', '.join(known)}; name one of them."
        )
    pair = [known.index(first), known.index(second)]

    def added(values: NDArray[Any]) -> NDArray[Any]:
        both = values[:, pair]
        new = both.min(axis=1) if values.dtype == bool else both.mean(axis=1)
        return np.concatenate([values, new[:, None]], axis=1)

    arrays = (
        "loss_nats",
        "layer_formats",
        "group_formats",
        "prefill_s",
        "decode_s",
        "weight_bytes",
    )
    changes: dict[str, Any] = {each: added(getattr(problem, each)) for each in arrays}
    return replace(problem, format_names=(*known, name), **changes)
