"""The engines that plans are exported to, and the answer that says how."""

from collections.abc import Callable, Mapping
from pathlib import Path

from api import answer_parts as parts
from api.answer import versions
from api.exports.given import ExportInput, export_input
from api.exports.launch import Launch, NodeLaunch, script, script_name
from api.exports.vllm import vllm_launch
from api.prepared import Prepared
from api.schemas import export as out
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.names import ExportEngine
from api.schemas.plan import GivenPlan
from api.schemas.request import PlanRequest
from api.version import hetplan_version

__all__ = ["ENGINES", "exported"]

ENGINES: Mapping[ExportEngine, Callable[[ExportInput], Launch]] = {ExportEngine.VLLM: vllm_launch}
"""By engine: what turns a plan into a launch, or raises with the reasons why it cannot."""


def exported(
    prepared: Prepared,
    request: PlanRequest | CoefficientsRequest,
    spec: GivenPlan,
    engine: ExportEngine,
    *,
    folder: Path | None = None,
) -> out.ExportAnswer:
    """
    What launches a plan on an engine.

    Parameters
    ----------
    prepared, request
        The request, made ready and as it was read.
    spec
        The plan.
    engine
        One of `ENGINES`.
    folder
        Where paths in the request start; None refuses them.

    Raises
    ------
    InvalidRequestError, InputError
        When the plan does not fit the request, or with every reason why the engine cannot run it.
    """
    given = export_input(prepared, request, spec, folder)
    launch = ENGINES[engine](given)
    checkpoint = launch.checkpoint
    return out.ExportAnswer(
        engine=engine.value,
        request=parts.summary(prepared),
        plan=given.spec,
        settings=dict(launch.settings),
        nodes=[_node(node) for node in launch.nodes],
        checkpoint=out.CheckpointReport(
            kind=checkpoint.kind, folder=checkpoint.folder, text=checkpoint.text
        ),
        kv_cache=out.KvCacheReport(
            stage=launch.kv_cache.stage,
            fits_requests=launch.kv_cache.fits,
            needed_requests=launch.kv_cache.needed,
        ),
        files=_files(launch, given, engine),
        versions=versions(),
        warnings=[*launch.warnings, *prepared.background.warnings],
    )


def _node(node: NodeLaunch) -> out.NodeLaunchReport:
    places = [
        out.GpuPlace(stage=stage.number, gpu=stage.gpu.name, gpu_number=number, device=device)
        for stage in node.stages
        for number, device in zip(stage.gpu_numbers, stage.devices, strict=True)
    ]
    return out.NodeLaunchReport(
        node=node.name,
        gpus=places,
        environment=dict(node.environment),
        commands=[list(command) for command in node.commands],
    )


def _files(launch: Launch, given: ExportInput, engine: ExportEngine) -> dict[str, str]:
    """Text by file name: a script per node, and the recipe of the checkpoint."""
    title = (
        f"hetplan {hetplan_version()}: {given.model.name} on {engine.value}, batch "
        f"{given.plan.batch_size}."
    )
    files = {
        script_name(position, launch): script(launch, position, title)
        for position in range(len(launch.nodes))
    }
    if launch.checkpoint.file:
        files[launch.checkpoint.file] = launch.checkpoint.recipe
    return files
