"""Plans between their written form and the solver's."""

from collections.abc import Sequence
from itertools import groupby

from api.prepared import Prepared
from api.problems import ProblemList, pointer_to
from api.schemas.plan import FormatRun, PlanSpec, StageSpec
from profiles.errors import InputError
from solver import PipelineProblem, Plan, Stage, StageReport

__all__ = ["plan_from_spec", "spec_from_plan"]


def spec_from_plan(plan: Plan, reports: Sequence[StageReport], prepared: Prepared) -> PlanSpec:
    """The written form of a plan."""
    return PlanSpec(
        batch_size=plan.batch_size,
        prefill_micro_batch=plan.prefill_micro_batch,
        decode_micro_batch=plan.decode_micro_batch,
        stages=[
            _stage_spec(stage, report, prepared)
            for stage, report in zip(plan.stages, reports, strict=True)
        ],
    )


def _stage_spec(stage: Stage, report: StageReport, prepared: Prepared) -> StageSpec:
    problem = prepared.problem
    return StageSpec(
        node=problem.node_names[report.node],
        gpu=prepared.background.gpu_names[report.device],
        gpu_numbers=list(report.gpus),
        tensor_parallel=report.tensor_parallel,
        first_layer=stage.first_layer,
        last_layer=stage.first_layer + len(stage.formats) - 1,
        formats=_runs(stage, prepared),
        layer_formats=[problem.format_names[index] for index in stage.formats],
    )


def _runs(stage: Stage, prepared: Prepared) -> list[FormatRun]:
    runs, layer = [], stage.first_layer
    for index, group in groupby(stage.formats):
        length = len(list(group))
        runs.append(
            FormatRun(
                first_layer=layer,
                last_layer=layer + length - 1,
                format=prepared.problem.format_names[index],
                bits=prepared.background.format_bits[index],
            )
        )
        layer += length
    return runs


def plan_from_spec(spec: PlanSpec, prepared: Prepared) -> Plan:
    """
    The plan that was written down.

    Raises
    ------
    InvalidRequestError
        When it names GPUs, formats or layers that the request does not have; all are listed.
    """
    problems = ProblemList()
    stages = []
    for position, stage in enumerate(spec.stages):
        pointer = pointer_to("plan", "stages", position)
        with problems.catching(pointer):
            group = _group_of(stage, prepared, pointer)
            formats = _formats_of(stage, prepared.problem, pointer)
            stages.append(Stage(group=group, first_layer=stage.first_layer, formats=formats))
    problems.raise_if_any()
    return Plan(
        batch_size=spec.batch_size,
        prefill_micro_batch=spec.prefill_micro_batch,
        decode_micro_batch=spec.decode_micro_batch,
        stages=tuple(stages),
    )


def _group_of(stage: StageSpec, prepared: Prepared, pointer: str) -> int:
    problem, names = prepared.problem, prepared.background.gpu_names
    places = {
        (problem.node_names[device.node], name): index
        for index, (device, name) in enumerate(zip(problem.devices, names, strict=True))
    }
    device = places.get((stage.node, stage.gpu))
    if device is None:
        known = ", ".join(f"{gpu} on {node}" for node, gpu in places)
        raise InputError(
            f"There is no {stage.gpu} on node {stage.node!r}. There are: {known}.",
            pointer=f"{pointer}/gpu",
        )
    sizes = {g.tensor_parallel: i for i, g in enumerate(problem.groups) if g.device == device}
    if stage.tensor_parallel not in sizes:
        raise InputError(
            f"tensor_parallel is {stage.tensor_parallel}; on {stage.gpu} of {stage.node!r} it may "
            f"be {', '.join(map(str, sorted(sizes))) or 'nothing: no format runs there'}.",
            pointer=f"{pointer}/tensor_parallel",
        )
    return sizes[stage.tensor_parallel]


def _formats_of(stage: StageSpec, problem: PipelineProblem, pointer: str) -> tuple[int, ...]:
    if stage.last_layer < stage.first_layer or stage.last_layer >= problem.num_layers:
        raise InputError(
            f"Layers {stage.first_layer} to {stage.last_layer} are not within the model's, "
            f"0 to {problem.num_layers - 1}.",
            pointer=f"{pointer}/last_layer",
        )
    names: list[str] = []
    for position, run in enumerate(stage.formats):
        if run.first_layer != stage.first_layer + len(names) or run.last_layer < run.first_layer:
            raise InputError(
                f"Layers {run.first_layer} to {run.last_layer} do not follow layer "
                f"{stage.first_layer + len(names) - 1}; list every layer of the stage once, "
                "in order.",
                pointer=f"{pointer}/formats/{position}",
            )
        names += [run.format] * min(run.last_layer - run.first_layer + 1, problem.num_layers)
    _check_complete(stage, names, pointer)
    for position, name in enumerate(names):
        if name not in problem.format_names:
            raise InputError(
                f"Layer {stage.first_layer + position} has format {name!r}, which the request "
                f"does not have. It has: {', '.join(problem.format_names)}.",
                pointer=f"{pointer}/formats",
            )
    return tuple(problem.format_names.index(name) for name in names)


def _check_complete(stage: StageSpec, names: list[str], pointer: str) -> None:
    num_layers = stage.last_layer - stage.first_layer + 1
    if len(names) != num_layers:
        raise InputError(
            f"formats cover {len(names)} layers, but the stage has {num_layers}.",
            pointer=f"{pointer}/formats",
        )
    if stage.layer_formats and stage.layer_formats != names:
        raise InputError(
            "layer_formats and formats disagree; correct one or leave layer_formats out.",
            pointer=f"{pointer}/layer_formats",
        )
