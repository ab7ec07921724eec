"""Plans of the solver in their written form; `api.given_plans` reads them."""

from collections.abc import Sequence
from itertools import groupby

from api.prepared import Prepared
from api.schemas.plan import FormatRun, PlanSpec, StageSpec
from solver import Plan, Stage, StageReport

__all__ = ["spec_from_plan"]


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
