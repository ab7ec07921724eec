"""From the data of a request to the problem that the solver gets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from api.coefficients import prepare_coefficients
from api.goals import limits_of, objective_of, quality_limit_of, quality_warnings, stop_of
from api.names import alias_warnings
from api.plain_words import in_plain_words
from api.prepared import Asked, AskedRegret, Background, IdleGpus, KernelUse, Prepared, PriceUse
from api.problems import InvalidRequestError, Problem, ProblemList
from api.request_body import catalogue_body
from api.request_checks import (
    MAX_PROBLEM_SIZE,
    check_prices,
    check_size,
    size_of_problem,
    size_of_request,
    unpriced_groups,
)
from api.request_cluster import cluster_of, own_gpus_of, prices_of
from api.request_formats import engine_of, formats_of_request
from api.request_quality import known_formats, quality_cautions, quality_of, with_omega_read
from api.request_serving import (
    calibration_of,
    calibration_spec_of,
    model_of,
    tables_of,
    workload_of,
)
from api.schemas.calibration import CalibrationSpec
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.regret import RegretSpec
from api.schemas.request import REQUEST_ADAPTER, PlanRequest
from api.what_if import Maker, catalogue_questions
from profiles.calibration import Calibration
from profiles.cluster import Cluster, EngineSettings, GpuGroup, Workload
from profiles.errors import HetplanError, InputError, MissingProfileError
from profiles.formats import find_format
from profiles.gpus import gpu_aliases, load_gpus
from profiles.models import Model, load_models, model_aliases
from profiles.tables import CostTable
from solver import (
    BackendName,
    BuiltProblem,
    FormatChoice,
    Limits,
    Objective,
    QualityChoice,
    RegretRule,
    build_problem,
)

__all__ = ["MAX_PROBLEM_SIZE", "check_data", "parse_request", "prepare"]

Parsed = TypeVar("Parsed")


_ANSWER_FIELDS = {"problem_hash", "sources"}
_NOT_A_REQUEST = (
    "This is an answer, not a request; give the request that it answers. To judge the answer's "
    "plan: hetplan evaluate REQUEST --plan ANSWER."
)


def check_data(data: object, adapter: TypeAdapter[Parsed], schema: object) -> Parsed:
    """
    Data that follow a schema.

    Raises
    ------
    InvalidRequestError
        With every error in plain words.
    """
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        raise InvalidRequestError(in_plain_words(error, data, schema)) from error


def parse_request(data: object) -> PlanRequest | CoefficientsRequest:
    """
    The request in these data, in either form.

    Raises
    ------
    InvalidRequestError
        With every error in plain words.
    """
    if isinstance(data, dict) and data.keys() >= _ANSWER_FIELDS:
        raise InvalidRequestError([Problem("", _NOT_A_REQUEST)])
    is_coefficients = isinstance(data, dict) and data.get("kind") == "coefficients"
    schema = CoefficientsRequest if is_coefficients else PlanRequest
    return check_data(data, REQUEST_ADAPTER, schema)


def prepare(
    request: PlanRequest | CoefficientsRequest,
    *,
    folder: Path | None = None,
    max_size: int = MAX_PROBLEM_SIZE,
) -> Prepared:
    """
    The problem that a request states.

    Parameters
    ----------
    request
        As `parse_request` returns it.
    folder
        Where paths in the request start; None refuses them.
    max_size
        Largest layers x GPUs x formats x micro-batch pairs.

    Raises
    ------
    InvalidRequestError
        With every error that can be told at once.
    """
    problems = ProblemList()
    prepared = None
    with problems.catching():
        try:
            if isinstance(request, CoefficientsRequest):
                prepared = prepare_coefficients(request)
                check_size(size_of_problem(prepared), max_size)
            else:
                prepared = _prepare_catalogue(request, folder, max_size)
        except MissingProfileError as error:
            raise InputError(str(error)) from error
    problems.raise_if_any()
    if prepared is None:
        raise HetplanError("The request could not be prepared.")
    return prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The nouns of a request, each checked by itself."""

    model: Model
    cluster: Cluster
    workload: Workload
    engine: EngineSettings
    tables: tuple[CostTable, ...]
    objective: Objective
    calibration_spec: CalibrationSpec | None
    calibration: Calibration | None


def _prepare_catalogue(request: PlanRequest, folder: Path | None, max_size: int) -> Prepared:
    spec = with_omega_read(request.quality, folder)
    request = request.model_copy(update={"quality": spec})
    parts = _parts(request, folder)
    prices = prices_of(request.cluster, parts.cluster)
    formats = formats_of_request(
        request.formats, parts.engine.name, parts.cluster, parts.model.num_layers
    )
    quality = quality_of(request.quality, formats, parts.model)
    check_prices(parts.cluster, parts.objective, is_limited=request.limits.usd_per_hour is not None)
    check_size(
        size_of_request(parts.model.num_layers, parts.cluster, formats, parts.workload), max_size
    )
    built = _build(parts, parts.cluster, formats, quality)
    loss_nats, how = quality_limit_of(request.limits, built.default_loss_limit_nats)
    limits = limits_of(request.limits, loss_nats)
    return Prepared(
        problem=built.problem,
        objective=parts.objective,
        limits=limits,
        stop=stop_of(request.solver),
        backend=BackendName(request.solver.backend),
        background=_background(request, parts, built, prices, how, loss_nats),
        request_body=catalogue_body(
            request, parts.workload, parts.tables, parts.calibration_spec, folder
        ),
        what_if=_asked(request, parts, formats, built, limits, max_size)
        if request.what_if
        else None,
        regret=_asked_regret(request.regret, built),
    )


def _asked_regret(choice: bool | RegretSpec, built: BuiltProblem) -> AskedRegret | None:
    if choice is False:
        return None
    spec = RegretSpec() if choice is True else choice
    return AskedRegret(
        terms=built.error_terms,
        rule=RegretRule(samples=spec.samples, seed=spec.seed, time_limit_s=spec.time_limit_s),
    )


def _build(
    parts: _Parts, cluster: Cluster, formats: FormatChoice, quality: QualityChoice
) -> BuiltProblem:
    return build_problem(
        model=parts.model,
        cluster=cluster,
        workload=parts.workload,
        engine=parts.engine,
        formats=formats,
        quality=quality,
        tables=parts.tables,
        calibration=parts.calibration,
    )


def _asked(
    request: PlanRequest,
    parts: _Parts,
    formats: FormatChoice,
    built: BuiltProblem,
    limits: Limits,
    max_size: int,
) -> Asked:
    """What-if questions, which may need the problem of another cluster and of other formats."""
    num_layers = parts.model.num_layers

    def build(cluster: Cluster, choice: FormatChoice) -> BuiltProblem:
        size = size_of_request(num_layers, cluster, choice, parts.workload)
        check_size(size, max_size, what_if=True)
        return _build(parts, cluster, choice, quality_of(request.quality, choice, parts.model))

    maker = Maker(
        engine=parts.engine.name,
        cluster=parts.cluster,
        formats=formats,
        known_formats=known_formats(request.quality),
        build=build,
    )
    return catalogue_questions(maker, built, limits)


def _parts(request: PlanRequest, folder: Path | None) -> _Parts:
    problems = ProblemList()

    def part(pointer: str, make: Callable[[], Parsed]) -> Parsed | None:
        with problems.catching(pointer):
            return make()
        return None

    model = part("/model", lambda: model_of(request.model, folder))
    cluster = part("/cluster", lambda: cluster_of(request.cluster))
    workload = part("/workload", lambda: workload_of(request.workload, folder))
    engine = part("/engine", lambda: engine_of(request.engine, own_gpus_of(request.cluster)))
    tables = part("/tables", lambda: tables_of(request, folder))
    objective = part("/objective", lambda: objective_of(request.objective))
    part("/limits", lambda: limits_of(request.limits, None))
    spec = part("/calibration", lambda: calibration_spec_of(request, folder))
    engine_name = "" if engine is None else engine.name
    calibration = part("/calibration", lambda: calibration_of(request, spec, engine_name))
    problems.raise_if_any()
    if not (model and cluster and workload and engine and objective) or tables is None:
        raise HetplanError("The request could not be read.")
    return _Parts(
        model=model,
        cluster=cluster,
        workload=workload,
        engine=engine,
        tables=tables,
        objective=objective,
        calibration_spec=spec,
        calibration=calibration,
    )


def _aliases(request: PlanRequest) -> Iterator[str]:
    types = [group.type for node in request.cluster.nodes for group in node.gpus]
    yield from alias_warnings(types, gpu_aliases(), list(load_gpus()))
    if isinstance(request.model, str):
        yield from alias_warnings([request.model], model_aliases(), list(load_models()))


def _background(
    request: PlanRequest,
    parts: _Parts,
    built: BuiltProblem,
    prices: tuple[PriceUse, ...],
    how: str,
    loss_nats: float | None,
) -> Background:
    warnings = [
        *_aliases(request),
        *built.warnings,
        *quality_cautions(request.quality, parts.model),
        *quality_warnings(how, loss_nats),
    ]
    return Background(
        model=parts.model.name,
        engine=parts.engine.name,
        cluster=_cluster_text(parts.cluster),
        gpu_names=built.gpu_names,
        format_bits=tuple(float(find_format(n).weight_bits) for n in built.problem.format_names),
        kernels=_kernels(built),
        prices=prices,
        unpriced=_unpriced_devices(parts.cluster, built),
        idle=tuple(
            IdleGpus(node=parts.cluster.nodes[at].name, gpu=group.gpu.name, count=group.count)
            for (at, _), group in _idle(parts.cluster, built).items()
        ),
        source=built.source.label,
        times_by_source=built.times_by_source,
        time_groups=built.time_groups,
        quality_source=built.quality_source,
        quality_limit=how,
        quality_in_percent=request.limits.quality_loss_nats is None,
        warnings=tuple(warnings),
        num_lengths=len(built.workload.buckets),
        calibration=parts.calibration,
    )


def _kernels(built: BuiltProblem) -> tuple[KernelUse, ...]:
    uses = []
    for (gpu, name), kernel in built.kernels.items():
        use = KernelUse(gpu=gpu, format=name, kernel=kernel)
        error = built.errors.get((gpu, name))
        if error is not None:
            use = replace(
                use,
                decode_error=error.decode,
                prefill_error=error.prefill,
                basis=error.basis,
                decode_interval=error.decode_interval,
                prefill_interval=error.prefill_interval,
                interval_basis=error.interval_basis,
            )
        uses.append(use)
    return tuple(uses)


def _idle(cluster: Cluster, built: BuiltProblem) -> dict[tuple[int, int], GpuGroup]:
    """Groups, by position of node and group, that a plan cannot use at all."""
    problem = built.problem
    usable = {
        (device.node, gpu) for device, gpu in zip(problem.devices, built.gpu_names, strict=True)
    }
    return {
        (node_at, group_at): group
        for node_at, node in enumerate(cluster.nodes)
        for group_at, group in enumerate(node.groups)
        if (node_at, group.gpu.name) not in usable
    }


def _unpriced_devices(cluster: Cluster, built: BuiltProblem) -> frozenset[int]:
    places = {
        (cluster.nodes[node].name, cluster.nodes[node].groups[group].gpu.name)
        for node, group in unpriced_groups(cluster)
    }
    problem = built.problem
    return frozenset(
        index
        for index, (device, gpu) in enumerate(zip(problem.devices, built.gpu_names, strict=True))
        if (problem.node_names[device.node], gpu) in places
    )


def _cluster_text(cluster: Cluster) -> str:
    counts: dict[str, int] = {}
    for node in cluster.nodes:
        for group in node.groups:
            counts[group.gpu.name] = counts.get(group.gpu.name, 0) + group.count
    return " + ".join(f"{count}x {name}" for name, count in counts.items())
