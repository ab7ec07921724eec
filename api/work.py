"""What worker processes do: a request's data in, an answer's JSON or the errors out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from api.comparisons import compared
from api.exports.engines import exported
from api.paretos import for_objectives, pareto_answer, parse_pareto
from api.prepared import AskedRegret, Prepared
from api.problems import InvalidRequestError, Problem
from api.request import check_data, parse_request, prepare
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.export import ExportRequest
from api.schemas.names import ExportEngine
from api.schemas.request import EvaluationRequest, PlanRequest
from api.schemas.simulation import SimulationRequest
from api.service import judge, plan
from api.simulation_answer import SimulationChoice
from api.simulations import simulated
from cost_model.simulated_pipeline import Order, Start
from profiles.errors import BackendError, HetplanError, InputError

__all__ = [
    "Caps",
    "FailedError",
    "Failure",
    "Outcome",
    "comparison_work",
    "evaluation_work",
    "export_work",
    "pareto_work",
    "parse_evaluation",
    "parse_export",
    "parse_simulation",
    "plan_work",
    "simulation_work",
]

SOLVER_FAILED = "The solver failed"
BUG, LOGGED = "Internal Server Error", "An unexpected failure; it has been logged."
_log = logging.getLogger("hetplan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What the service allows a request."""

    max_time_limit_s: float
    max_problem_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure that is not the request's fault, in words for its sender."""

    title: str
    detail: str


class FailedError(HetplanError):
    """The work on a request failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer as JSON, or what is wrong with the request, or how the work failed."""

    answer: str = ""
    problems: tuple[Problem, ...] = ()
    failure: Failure | None = None

    def answer_or_raise(self) -> str:
        """
        The answer.

        Raises
        ------
        InvalidRequestError, FailedError
            What kept it from being given.
        """
        if self.problems:
            raise InvalidRequestError(self.problems)
        if self.failure is not None:
            raise FailedError(self.failure)
        return self.answer


def parse_evaluation(data: object) -> EvaluationRequest:
    """
    The request for an evaluation in these data.

    Raises
    ------
    InvalidRequestError
        With every error in plain words.
    """
    return check_data(data, TypeAdapter(EvaluationRequest), EvaluationRequest)


def parse_simulation(data: object) -> SimulationRequest:
    """The request for a simulation in these data; see `parse_evaluation`."""
    return check_data(data, TypeAdapter(SimulationRequest), SimulationRequest)


def parse_export(data: object) -> ExportRequest:
    """The request for an export in these data; see `parse_evaluation`."""
    return check_data(data, TypeAdapter(ExportRequest), ExportRequest)


def plan_work(data: object, caps: Caps) -> Outcome:
    """Solve a request; runs in a worker."""
    return _outcome(lambda: plan(_ready(parse_request(data), caps)).model_dump_json())


def evaluation_work(data: object, caps: Caps) -> Outcome:
    """Judge a plan; runs in a worker."""

    def work() -> str:
        request = parse_evaluation(data)
        prepared = _ready(request.request, caps, at="/request")
        return judge(prepared, request.plan, with_solve=request.solve).model_dump_json()

    return _outcome(work)


def comparison_work(data: object, caps: Caps) -> Outcome:
    """Set baselines beside the best plan; runs in a worker."""
    return _outcome(lambda: compared(_ready(parse_request(data), caps)).model_dump_json())


def simulation_work(data: object, caps: Caps) -> Outcome:
    """Replay a plan; runs in a worker."""

    def work() -> str:
        body = parse_simulation(data)
        prepared = _ready(body.request, caps, at="/request")
        choice = SimulationChoice(
            start=Start(body.start), order=Order(body.order), gantt_rounds=body.gantt_rounds
        )
        return simulated(prepared, body.request, body.plan, choice).model_dump_json()

    return _outcome(work)


def export_work(data: object, caps: Caps) -> Outcome:
    """Say what launches a plan; runs in a worker."""

    def work() -> str:
        body = parse_export(data)
        prepared = _ready(body.request, caps, at="/request")
        engine = ExportEngine(body.engine)
        return exported(prepared, body.request, body.plan, engine).model_dump_json()

    return _outcome(work)


def pareto_work(data: object, caps: Caps) -> Outcome:
    """Find a Pareto set; runs in a worker."""

    def work() -> str:
        body = parse_pareto(data)
        prepared = _ready(for_objectives(body.request, body.objectives), caps, at="/request")
        return pareto_answer(prepared, body.objectives, body.points).model_dump_json()

    return _outcome(work)


def _outcome(work: Callable[[], str]) -> Outcome:
    try:
        return Outcome(answer=work())
    except InvalidRequestError as error:
        return Outcome(problems=error.problems)
    except InputError as error:
        return Outcome(problems=(Problem(error.pointer, str(error)),))
    except BackendError as error:
        _log.warning("The solver failed: %s", error)
        return Outcome(failure=Failure(title=SOLVER_FAILED, detail=str(error)))
    except Exception:
        # Not every exception survives the way between processes; one that does not would take
        # the worker with it.
        _log.exception("Unexpected failure in a worker")
        return Outcome(failure=Failure(title=BUG, detail=LOGGED))


def _ready(request: PlanRequest | CoefficientsRequest, caps: Caps, at: str = "") -> Prepared:
    try:
        prepared = prepare(request, max_size=caps.max_problem_size)
    except InvalidRequestError as error:
        moved = [Problem(at + problem.pointer, problem.detail) for problem in error.problems]
        raise InvalidRequestError(moved) from error
    prepared = replace(prepared, regret=_capped(prepared.regret, caps))
    if prepared.stop.time_limit_s <= caps.max_time_limit_s:
        return prepared
    warning = (
        f"This service searches for {caps.max_time_limit_s:g} s at most; "
        f"{prepared.stop.time_limit_s:g} s were asked for."
    )
    background = replace(prepared.background, warnings=(*prepared.background.warnings, warning))
    stop = replace(prepared.stop, time_limit_s=caps.max_time_limit_s)
    return replace(prepared, stop=stop, background=background)


def _capped(asked: AskedRegret | None, caps: Caps) -> AskedRegret | None:
    """No longer than the service allows; the answer says how many samples were judged."""
    if asked is None:
        return None
    time_limit_s = min(asked.rule.time_limit_s, caps.max_time_limit_s)
    return replace(asked, rule=replace(asked.rule, time_limit_s=time_limit_s))
