"""Pieces of an answer: base units to the field's, indices to names."""

from collections import Counter
from typing import overload

from api.limit_words import Field, field_of, increase_percent
from api.plans import spec_from_plan
from api.prepared import Background, Prepared
from api.schemas import answer as out
from api.schemas.calibration import CalibrationUse, FactorSpec
from profiles.calibration import FactorKey
from profiles.units import GIB, MS
from solver import (
    Evaluation,
    Memory,
    Plan,
    StageReport,
    binding_limits,
    pace_of,
    plan_intervals,
    score,
)
from solver.check import TOLERANCE

__all__ = [
    "bottlenecks",
    "comparison",
    "intervals",
    "limit_reports",
    "metrics",
    "sources",
    "stage_reports",
    "summary",
]

_LIMITS = (
    "ttft_s",
    "tpot_s",
    "latency_s",
    "loss_nats",
    "price_usd_per_hour",
    "gpus",
    "stages",
    "min_stages",
)


def summary(prepared: Prepared) -> out.RequestSummary:
    """The request in brief."""
    problem, background = prepared.problem, prepared.background
    return out.RequestSummary(
        model=background.model,
        engine=background.engine,
        cluster=background.cluster,
        layers=problem.num_layers,
        prompt_tokens=problem.prompt_tokens,
        output_tokens=problem.output_tokens,
        num_lengths=background.num_lengths,
        num_requests=problem.num_requests,
    )


def metrics(prepared: Prepared, evaluation: Evaluation) -> out.Metrics:
    """Values of a plan; prices are null where a used GPU has none."""
    priced = not any(stage.device in prepared.background.unpriced for stage in evaluation.stages)
    return out.Metrics(
        ttft_ms=evaluation.ttft_s / MS,
        tpot_ms=evaluation.tpot_s / MS,
        batch_latency_s=evaluation.batch_latency_s,
        latency_s=evaluation.latency_s,
        throughput_tokens_per_s=evaluation.throughput_tokens_per_s,
        usd_per_hour=evaluation.price_usd_per_hour if priced else None,
        usd_per_million_tokens=evaluation.cost_usd_per_million_tokens if priced else None,
        quality_loss_nats=evaluation.loss_nats,
        perplexity=evaluation.perplexity,
        perplexity_increase_percent=increase_percent(evaluation.loss_nats),
        gpus=evaluation.gpus,
        stages=len(evaluation.stages),
    )


def intervals(prepared: Prepared, plan: Plan, evaluation: Evaluation) -> out.Intervals | None:
    """How far the values of a plan may be off; None where nothing says how far its times may."""
    groups = prepared.background.time_groups
    if not groups:
        return None
    found = plan_intervals(prepared.problem, plan, evaluation, groups)

    return out.Intervals(
        ttft_ms=_interval(found["ttft_s"], MS),
        tpot_ms=_interval(found["tpot_s"], MS),
        batch_latency_s=_interval(found["batch_latency_s"]),
        latency_s=_interval(found["latency_s"]),
        throughput_tokens_per_s=_interval(found["throughput_tokens_per_s"]),
    )


@overload
def _interval(ends: tuple[float, float], unit: float = 1.0) -> out.IntervalReport: ...
@overload
def _interval(ends: None) -> None: ...
def _interval(ends: tuple[float, float] | None, unit: float = 1.0) -> out.IntervalReport | None:
    return None if ends is None else out.IntervalReport(low=ends[0] / unit, high=ends[1] / unit)


def stage_reports(
    prepared: Prepared, plan: Plan, evaluation: Evaluation
) -> list[out.StageReportSpec]:
    """Values of every stage."""
    formats = [stage.formats for stage in plan.stages]
    return [
        _stage_report(prepared, number, report, chosen)
        for number, (report, chosen) in enumerate(
            zip(evaluation.stages, formats, strict=True), start=1
        )
    ]


def _stage_report(
    prepared: Prepared, number: int, report: StageReport, formats: tuple[int, ...]
) -> out.StageReportSpec:
    problem = prepared.problem
    return out.StageReportSpec(
        stage=number,
        node=problem.node_names[report.node],
        gpu=prepared.background.gpu_names[report.device],
        gpu_numbers=list(report.gpus),
        tensor_parallel=report.tensor_parallel,
        first_layer=report.first_layer,
        last_layer=report.first_layer + report.num_layers - 1,
        layers_per_format={
            problem.format_names[index]: count for index, count in sorted(Counter(formats).items())
        },
        prefill_ms=report.prefill_s / MS,
        decode_ms=report.decode_s / MS,
        prefill_link_ms=report.prefill_link_s / MS,
        decode_link_ms=report.decode_link_s / MS,
        prefill_busy=report.prefill_busy,
        decode_busy=report.decode_busy,
        memory=_memory(report.memory),
    )


def _memory(memory: Memory) -> out.MemoryReport:
    return out.MemoryReport(
        weights_gib=memory.weights_bytes / GIB,
        kv_cache_gib=memory.kv_bytes / GIB,
        embedding_and_head_gib=memory.embedding_and_head_bytes / GIB,
        work_gib=memory.work_bytes / GIB,
        used_gib=memory.used_bytes / GIB,
        available_gib=memory.available_bytes / GIB,
        free_gib=memory.free_bytes / GIB,
    )


def limit_reports(
    prepared: Prepared, plan: Plan | None, evaluation: Evaluation | None
) -> list[out.LimitReport]:
    """Every limit in force, with the plan's value and slack."""
    limits = prepared.limits
    binding = None
    if plan is not None and evaluation is not None:
        binding = binding_limits(prepared.problem, limits, plan, evaluation)
    values = _limited_values(evaluation)
    asked = {name: getattr(limits, name) for name in _LIMITS}
    if limits.min_stages <= 1:
        del asked["min_stages"]
    return [
        _limit_report(
            prepared, name, allowed, values.get(name), None if binding is None else name in binding
        )
        for name, allowed in asked.items()
        if allowed is not None
    ]


def _basis(prepared: Prepared, name: str) -> str:
    return prepared.background.quality_limit if name == "loss_nats" else "asked"


def _limited_values(evaluation: Evaluation | None) -> dict[str, float]:
    if evaluation is None:
        return {}
    stages = len(evaluation.stages)
    names = ("ttft_s", "tpot_s", "latency_s", "loss_nats", "price_usd_per_hour", "gpus")
    return {name: getattr(evaluation, name) for name in names} | {
        "stages": stages,
        "min_stages": stages,
    }


def _limit_report(
    prepared: Prepared, limit: str, allowed: float, value: float | None, binding: bool | None
) -> out.LimitReport:
    field = field_of(prepared, limit, allowed, 0.0 if value is None else value)
    return out.LimitReport(
        limit=field.name,
        unit=field.unit,
        allowed=field.shown(allowed),
        value=None if value is None else field.shown(value),
        slack=None if value is None else _slack(field, limit, allowed, value),
        basis=_basis(prepared, limit),
        binding=binding,
    )


def _slack(field: Field, limit: str, allowed: float, value: float) -> float:
    if abs(allowed - value) <= TOLERANCE * max(abs(allowed), 1e-3):
        return 0.0  # what the judge lets pass
    slack = field.slack(allowed, value)
    return -slack if limit == "min_stages" else slack


def bottlenecks(evaluation: Evaluation) -> out.Bottlenecks:
    """What sets the pace of each phase, and how the phases share the latency."""
    paces = pace_of(evaluation)
    return out.Bottlenecks(
        prefill=evaluation.bottleneck_prefill,
        decode=evaluation.bottleneck_decode,
        prefill_share=paces["prefill"].share,
        prefill_lead=paces["prefill"].lead,
        decode_lead=paces["decode"].lead,
    )


def sources(prepared: Prepared) -> out.Sources:
    """Where the numbers come from."""
    background = prepared.background
    return out.Sources(
        times=background.source,
        times_by_source=dict(background.times_by_source),
        calibrated=_calibrated(background),
        quality=background.quality_source,
        kernels=[
            out.KernelReport(
                gpu=use.gpu,
                format=use.format,
                kernel=use.kernel,
                decode_error=use.decode_error,
                prefill_error=use.prefill_error,
                decode_interval=_interval(use.decode_interval),
                prefill_interval=_interval(use.prefill_interval),
                interval_basis=use.interval_basis,
                basis=use.basis,
            )
            for use in background.kernels
        ],
        prices=[
            out.PriceReport(what=use.what, usd_per_hour=use.usd_per_hour, basis=use.basis)
            for use in background.prices
        ],
    )


def _calibrated(background: Background) -> CalibrationUse | None:
    """The calibration with the factors of kernels in play, others by the factor of the engine."""
    found = background.calibration
    if found is None:
        return None
    keys = [
        FactorKey(use.gpu, use.kernel, use.format, phase)
        for use in background.kernels
        for phase in ("prefill", "decode")
    ]
    factors = {key: found.factors.get(key) or found.of_engine.get(key.phase) for key in keys}
    return CalibrationUse(
        made_by=found.origin.made_by,
        made_at=found.origin.made_at,
        plans=list(found.origin.plans),
        rows=found.origin.num_rows,
        factors=[
            FactorSpec.model_validate(
                {
                    **key._asdict(),
                    "factor": factor.factor,
                    "low": factor.low,
                    "high": factor.high,
                    "identified": factor.is_identified and key in found.factors,
                }
            )
            for key, factor in factors.items()
            if factor is not None
        ],
    )


def comparison(
    prepared: Prepared, objective: float | None, other: tuple[Plan, Evaluation] | None
) -> out.Comparison | None:
    """The even split beside a plan of this objective."""
    if other is None or objective is None:
        return None
    plan, evaluation = other
    value = score(evaluation, prepared.objective)
    top, bottom = (objective, value) if prepared.objective.goal.maximise else (value, objective)
    return out.Comparison(
        name="even split at the best uniform format",
        objective=value,
        ratio=top / bottom if bottom > 0 else 1.0,
        plan=spec_from_plan(plan, evaluation.stages, prepared),
        metrics=metrics(prepared, evaluation),
    )
