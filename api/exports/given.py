"""What an exporter gets: the plan stage by stage, with the model, engine and workload asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from api.given_plans import plan_from_spec
from api.limit_words import violation_report
from api.plans import spec_from_plan
from api.prepared import Prepared
from api.problems import ProblemList
from api.request_cluster import cluster_of, own_gpus_of
from api.request_formats import engine_of
from api.request_serving import model_of, workload_of
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.plan import GivenPlan, PlanSpec
from api.schemas.request import PlanRequest
from profiles.architecture import Model
from profiles.cluster import Cluster, EngineSettings, Workload
from profiles.errors import InputError
from profiles.gpus import Gpu
from solver import Evaluation, Memory, Plan, StageReport, evaluate, violations

__all__ = ["ExportInput", "LaunchStage", "export_input"]

_NO_CATALOGUE = (
    "The request states coefficients alone; an export needs to know model, engine and GPUs. Give "
    "a request that names them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchStage:
    """
    A stage and where it runs.

    Parameters
    ----------
    number
        In pipeline order, from 1.
    node, gpu
        Name of the node, type of the GPUs.
    gpu_numbers
        Which GPUs of that type on the node, from 0.
    devices
        The same by their numbers among all GPUs of the node, in the order of the request.
    first_layer, formats
        Number of its first layer, format of each of its layers.
    memory
        Of each of its GPUs.
    """

    number: int
    node: str
    gpu: Gpu
    gpu_numbers: tuple[int, ...]
    devices: tuple[int, ...]
    first_layer: int
    formats: tuple[str, ...]
    memory: Memory

    @property
    def pointer(self) -> str:
        """JSON pointer to it."""
        return f"/plan/stages/{self.number - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportInput:
    """
    A plan to export.

    Parameters
    ----------
    prepared, model, engine, cluster, workload
        The request, made ready, and its nouns.
    plan, spec
        The plan, and its written form.
    stages
        Its stages in pipeline order.
    warnings
        Limits that it breaks, memory aside.
    """

    prepared: Prepared
    model: Model
    engine: EngineSettings
    cluster: Cluster
    workload: Workload
    plan: Plan
    spec: PlanSpec
    stages: tuple[LaunchStage, ...]
    warnings: tuple[str, ...]

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The types in use, each once, in pipeline order."""
        return tuple({stage.gpu.name: stage.gpu for stage in self.stages}.values())


def export_input(
    prepared: Prepared,
    request: PlanRequest | CoefficientsRequest,
    given: GivenPlan,
    folder: Path | None = None,
) -> ExportInput:
    """
    The plan with all that an exporter asks for.

    Parameters
    ----------
    prepared, request
        The request, made ready and as it was read.
    given
        The plan.
    folder
        Where paths in the request start; None refuses them.

    Raises
    ------
    InvalidRequestError, InputError
        When the plan does not fit the request, needs more memory than there is, or the request
        names no model.
    """
    if isinstance(request, CoefficientsRequest):
        raise InputError(_NO_CATALOGUE, pointer="/request")
    plan = plan_from_spec(given, prepared)
    evaluation = evaluate(prepared.problem, plan)
    warnings = _check_limits(prepared, evaluation)
    cluster = cluster_of(request.cluster)
    return ExportInput(
        prepared=prepared,
        model=model_of(request.model, folder),
        engine=engine_of(request.engine, own_gpus_of(request.cluster)),
        cluster=cluster,
        workload=workload_of(request.workload, folder),
        plan=plan,
        spec=spec_from_plan(plan, evaluation.stages, prepared),
        stages=_stages(prepared, cluster, given, plan, evaluation),
        warnings=warnings,
    )


def _check_limits(prepared: Prepared, evaluation: Evaluation) -> tuple[str, ...]:
    """Sentences on the limits that the plan breaks; it is refused where memory does not suffice."""
    problems = ProblemList()
    warnings = []
    for violation in violations(prepared.problem, evaluation, prepared.limits):
        text = violation_report(prepared, violation).text
        if violation.limit == "memory":
            problems.add("/plan/stages", f"{text} It would not start; give the stage fewer layers.")
        else:
            warnings.append(text)
    problems.raise_if_any()
    return tuple(warnings)


def _stages(
    prepared: Prepared, cluster: Cluster, given: GivenPlan, plan: Plan, evaluation: Evaluation
) -> tuple[LaunchStage, ...]:
    first = _first_devices(cluster)
    types = {group.gpu.name: group.gpu for at in cluster.nodes for group in at.groups}
    names_all = all(stage.gpu_numbers for stage in given.stages)
    stages = []
    for number, (chosen, stage, report) in enumerate(
        zip(given.stages, plan.stages, evaluation.stages, strict=True), start=1
    ):
        node, gpu = _place(prepared, report)
        numbers = tuple(chosen.gpu_numbers) if names_all else report.gpus
        stages.append(
            LaunchStage(
                number=number,
                node=node,
                gpu=types[gpu],
                gpu_numbers=numbers,
                devices=tuple(first[node, gpu] + each for each in numbers),
                first_layer=stage.first_layer,
                formats=tuple(prepared.problem.format_names[index] for index in stage.formats),
                memory=report.memory,
            )
        )
    return tuple(stages)


def _place(prepared: Prepared, report: StageReport) -> tuple[str, str]:
    """Names of node and GPU type."""
    node = prepared.problem.node_names[report.node]
    return node, prepared.background.gpu_names[report.device]


def _first_devices(cluster: Cluster) -> Mapping[tuple[str, str], int]:
    """By node and GPU type: the number of its first GPU, counted as the request lists them."""
    found: dict[tuple[str, str], int] = {}
    for node in cluster.nodes:
        starts = accumulate((group.count for group in node.groups), initial=0)
        found |= {
            (node.name, group.gpu.name): start
            for group, start in zip(node.groups, starts, strict=False)
        }
    return found
