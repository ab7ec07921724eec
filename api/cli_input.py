"""What the command line reads: requests with options in place, and plans."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from api.paretos import for_objectives, parse_pareto
from api.prepared import Prepared
from api.reading import Lines, read_text
from api.request import check_data, parse_request, prepare
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.pareto import DEFAULT_POINTS
from api.schemas.plan import GivenPlan
from api.schemas.request import PlanRequest
from api.schemas.sweep import SweepSpec
from api.telling import STANDARD_INPUT, telling
from api.writing import Outputs, keep_inputs
from profiles.errors import InputError

__all__ = [
    "GivenPareto",
    "GivenSimulation",
    "GivenSweep",
    "Overrides",
    "read_pareto",
    "read_plan",
    "read_request",
    "read_simulation",
    "read_sweep",
]

MAX_FILE_BYTES = 64 * 1024**2
A_REQUEST = "a request", "see `hetplan examples` for requests to start from"
A_SWEEP = "a sweep", "docs/requests.md shows one"
A_PLAN = "a plan", "`hetplan plan REQUEST --output plan.json` writes one"
_OPTIONS = {
    "/solver/time_limit_s": "--time-limit",
    "/solver/gap": "--gap",
    "/solver/seed": "--seed",
    "/solver/backend": "--backend",
    "/objective": "--objective",
    "/calibration": "--calibration",
}
"""Options that override fields, by the fields' pointers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Options that take the place of what the request says; None (or False) leaves it."""

    time_limit_s: float | None = None
    gap: float | None = None
    seed: int | None = None
    goal: str | None = None
    backend: str | None = None
    what_if: bool = False
    regret: bool = False
    calibration: Path | None = None

    def options(self) -> dict[str, str]:
        """The options given, by the pointers of the fields that they override."""
        values = (
            self.time_limit_s,
            self.gap,
            self.seed,
            self.backend,
            self.goal,
            self.calibration,
        )
        pairs = zip(_OPTIONS.items(), values, strict=True)
        return {pointer: option for (pointer, option), value in pairs if value is not None}

    def apply(self, data: object) -> object:
        """The data of a request with the options in place."""
        if not isinstance(data, dict):
            return data
        given = {
            "time_limit_s": self.time_limit_s,
            "gap": self.gap,
            "seed": self.seed,
            "backend": self.backend,
        }
        solver = {name: value for name, value in given.items() if value is not None}
        old = data.get("solver")
        if solver and (old is None or isinstance(old, dict)):
            data = {**data, "solver": {**(old or {}), **solver}}
        if self.what_if:
            data = {**data, "what_if": True}
        if self.calibration is not None:
            data = {**data, "calibration": str(self.calibration.resolve())}
        if self.regret and data.get("regret") in (None, False):
            data = {**data, "regret": True}
        return data if self.goal is None else {**data, "objective": self._objective(data)}

    def _objective(self, data: dict[str, Any]) -> object:
        old = data.get("objective")
        if isinstance(old, dict) and old.get("goal") == self.goal:
            return old
        return self.goal


@dataclass(frozen=True, slots=True)
class _Source:
    data: object
    folder: Path
    lines: Lines = field(default_factory=dict)


def read_request(argument: str, overrides: Overrides, outputs: Outputs) -> Prepared:
    """
    The request in a file, made ready; ends the program if it is wrong.

    Parameters
    ----------
    argument
        The file; - is standard input.
    overrides
        Options in place of what it says.
    outputs
        Files that will be written, none of which may be one that is read.
    """
    with telling(argument):
        source = _read(argument, A_REQUEST, outputs)
    with telling(argument, source.lines, overrides.options()):
        if isinstance(source.data, dict) and {"request", "objectives"} <= source.data.keys():
            raise InputError("It asks for a Pareto set: hetplan pareto FILE runs it.")
        request = parse_request(overrides.apply(source.data))
        keep_inputs(outputs, _files_of(request, source.folder))
        return prepare(request, folder=source.folder)


def read_plan(argument: str, outputs: Outputs) -> GivenPlan:
    """The plan in a file: an answer's, or a plan by itself; see `read_request`."""
    with telling(argument):
        source = _read(argument, A_PLAN, outputs)
    with telling(argument, source.lines):
        return _plan_in(source.data)


def _files_of(request: PlanRequest | CoefficientsRequest, folder: Path) -> Iterator[Path]:
    """Files that a request names."""
    if isinstance(request, CoefficientsRequest):
        return
    config = getattr(request.model, "config_file", None)
    lengths = getattr(request.workload, "lengths_file", None)
    for name in (*request.tables, lengths, config, request.calibration, request.quality.omega_file):
        if isinstance(name, str):
            yield folder / name


def _plan_in(data: object) -> GivenPlan:
    if isinstance(data, dict) and "stages" in data and "plan" not in data:
        data = {"plan": data}
    plan = data.get("plan") if isinstance(data, dict) else None
    if plan is None and isinstance(data, dict) and data.get("kind") == "pareto":
        raise InputError(
            "It is a whole Pareto set; give the plan-N.json of one point, which `hetplan pareto "
            "--output FOLDER` writes."
        )
    if plan is None:
        raise InputError("There is no plan in it; give an answer with a plan, or its plan object.")
    return check_data(plan, TypeAdapter(GivenPlan), GivenPlan)


@dataclass(frozen=True, slots=True)
class GivenSimulation:
    """A plan, the request that it is for, and where that request's paths start."""

    plan: GivenPlan
    request: PlanRequest | CoefficientsRequest
    prepared: Prepared
    folder: Path


def read_simulation(
    plan: str, request: str | None, outputs: Outputs, command: str = "simulate"
) -> GivenSimulation:
    """
    A plan and its request; ends the program if either is wrong.

    Parameters
    ----------
    plan
        File with an answer or a plan.
    request
        File of the request; None where the answer holds it.
    outputs
        See `read_request`.
    command
        Name of the command that reads them, for errors.
    """
    with telling(plan):
        source = _read(plan, A_PLAN, outputs)
    with telling(plan, source.lines):
        given = _plan_in(source.data)
        asked = source.data.get("request_body") if isinstance(source.data, dict) else None
        if request is None and not isinstance(asked, dict):
            raise InputError(
                "It does not hold the request that the plan is for; give that too: "
                f"hetplan {command} PLAN --request REQUEST."
            )
    if request is None:
        request, whole = plan, _Source(asked, source.folder)
    else:
        with telling(request):
            whole = _read(request, A_REQUEST, outputs)
    with telling(request, whole.lines):
        parsed = parse_request(whole.data)
        keep_inputs(outputs, _files_of(parsed, whole.folder))
        prepared = prepare(parsed, folder=whole.folder)
        return GivenSimulation(given, parsed, prepared, whole.folder)


@dataclass(frozen=True, slots=True)
class GivenSweep:
    """A request, what varies in it, where its paths start, and the lines of the sweep's file."""

    base: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    folder: Path
    lines: Lines


def read_sweep(argument: str, outputs: Outputs) -> GivenSweep:
    """The sweep in a file, its request read too; see `read_request`."""
    with telling(argument):
        source = _read(argument, A_SWEEP, outputs)
    with telling(argument, source.lines):
        spec = check_data(source.data, TypeAdapter(SweepSpec), SweepSpec)
    if isinstance(spec.base, dict):
        return GivenSweep(spec.base, spec.grid, source.folder, source.lines)
    path = source.folder / spec.base
    with telling(str(path)):
        base = _read(str(path), A_REQUEST, outputs)
        if not isinstance(base.data, dict):
            raise InputError("It does not hold a request; see `hetplan examples`.")
    return GivenSweep(base.data, spec.grid, base.folder, source.lines)


@dataclass(frozen=True, slots=True)
class GivenPareto:
    """A request made ready, with the objectives and the number of points of its Pareto set."""

    prepared: Prepared
    objectives: Sequence[str]
    points: int


def read_pareto(
    argument: str,
    overrides: Overrides,
    objectives: Sequence[str] | None,
    points: int | None,
    outputs: Outputs,
) -> GivenPareto:
    """
    A request, or one for a Pareto set; ends the program if it is wrong.

    Parameters
    ----------
    argument
        The file; - is standard input.
    overrides, objectives, points
        Options in place of what it says; None leaves it.
    outputs
        See `read_request`.
    """
    with telling(argument):
        source = _read(argument, A_REQUEST, outputs)
    data = source.data if isinstance(source.data, dict) else {}
    given = {"objectives": objectives, "points": points}
    given = {name: value for name, value in given.items() if value is not None}
    with telling(argument, source.lines, overrides.options()):
        if "request" in data:
            asked = parse_pareto({**data, "request": overrides.apply(data["request"]), **given})
            request, objectives, points = asked.request, asked.objectives, asked.points
        else:
            request = parse_request(overrides.apply(source.data))
            points = DEFAULT_POINTS if points is None else points
        if objectives is None:
            raise InputError("It names no objectives; add --objectives latency,quality_loss.")
        keep_inputs(outputs, _files_of(request, source.folder))
        prepared = prepare(for_objectives(request, objectives), folder=source.folder)
        return GivenPareto(prepared, objectives, points)


def _read(argument: str, kind: tuple[str, str], outputs: Outputs) -> _Source:
    what, remedy = kind
    if argument == STANDARD_INPUT:
        data, lines = read_text(sys.stdin.read())
        return _Source(data, Path.cwd(), lines)
    path = Path(argument)
    if "\0" not in argument and path.is_dir():
        raise InputError(f"This is a folder; give the file of {what} in it.")
    if "\0" in argument or not path.is_file():
        raise InputError(f"There is no such file; {remedy}.")
    keep_inputs(outputs, [path])
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"The file has more than {MAX_FILE_BYTES} bytes; make it smaller.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file cannot be read as UTF-8 text: {error}.") from error
    data, lines = read_text(text)
    return _Source(data, path.parent, lines)
