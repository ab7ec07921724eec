"""Pieces of an answer: base units to the field's, indices to names."""

from collections import Counter
from math import expm1

from api.plans import spec_from_plan
from api.prepared import Prepared
from api.schemas import answer as out
from profiles.units import GIB, MS
from solver import Evaluation, Memory, Plan, Remedy, StageReport, Violation, score
from solver.check import TOLERANCE

__all__ = [
    "comparison",
    "limit_reports",
    "metrics",
    "remedy_report",
    "sources",
    "stage_reports",
    "summary",
    "unused_gpus",
    "violation_report",
]

PERCENT = 100.0
_UNITS = {
    "memory": ("memory", "GiB", GIB),
    "ttft_s": ("ttft_ms", "ms", MS),
    "tpot_s": ("tpot_ms", "ms", MS),
    "latency_s": ("latency_s", "s", 1.0),
    "loss_nats": ("quality_loss_nats", "nats", 1.0),
    "price_usd_per_hour": ("usd_per_hour", "USD/h", 1.0),
    "gpus": ("gpus", "GPUs", 1.0),
    "stages": ("stages", "stages", 1.0),
    "min_stages": ("min_stages", "stages", 1.0),
    "min_used": ("min_used", "GPUs", 1.0),
}
"""By limit of the solver: name outside, unit outside, and that unit in base units."""


def _outside(limit: str) -> tuple[str, str, float]:
    return _UNITS.get(limit, (limit, "", 1.0))


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
        perplexity_increase_percent=expm1(evaluation.loss_nats) * PERCENT,
        gpus=evaluation.gpus,
        stages=len(evaluation.stages),
    )


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
    )


def limit_reports(prepared: Prepared, evaluation: Evaluation | None) -> list[out.LimitReport]:
    """Every limit in force, with the plan's value and slack."""
    limits = prepared.limits
    values = _limited_values(evaluation)
    asked = {name: getattr(limits, name) for name in _UNITS if hasattr(limits, name)}
    if limits.min_stages <= 1:
        del asked["min_stages"]
    return [
        _limit_report(name, allowed, values.get(name), _basis(prepared, name))
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


def _limit_report(limit: str, allowed: float, value: float | None, basis: str) -> out.LimitReport:
    name, unit, factor = _outside(limit)
    slack = (
        None if value is None else (value - allowed if limit == "min_stages" else allowed - value)
    )
    if slack is not None and abs(slack) <= TOLERANCE * max(abs(allowed), 1e-3):
        slack = 0.0  # what the judge lets pass
    return out.LimitReport(
        limit=name,
        unit=unit,
        allowed=allowed / factor,
        value=None if value is None else value / factor,
        slack=None if slack is None else slack / factor,
        basis=basis,
    )


def unused_gpus(prepared: Prepared, evaluation: Evaluation | None) -> list[out.UnusedGpus]:
    """GPUs that the plan leaves free."""
    if evaluation is None:
        return []
    used: Counter[int] = Counter()
    for stage in evaluation.stages:
        used[stage.device] += stage.tensor_parallel
    problem, background = prepared.problem, prepared.background
    free = [
        out.UnusedGpus(
            node=problem.node_names[device.node],
            gpu=background.gpu_names[index],
            count=device.count - used[index],
        )
        for index, device in enumerate(problem.devices)
        if used[index] < device.count
    ]
    idle = [
        out.UnusedGpus(node=gpus.node, gpu=gpus.gpu, count=gpus.count) for gpus in background.idle
    ]
    return free + idle


def sources(prepared: Prepared) -> out.Sources:
    """Where the numbers come from."""
    background = prepared.background
    return out.Sources(
        times=background.source,
        quality=background.quality_source,
        kernels=[
            out.KernelReport(
                gpu=use.gpu,
                format=use.format,
                kernel=use.kernel,
                decode_error=use.decode_error,
                prefill_error=use.prefill_error,
                basis=use.basis,
            )
            for use in background.kernels
        ],
        prices=[
            out.PriceReport(what=use.what, usd_per_hour=use.usd_per_hour, basis=use.basis)
            for use in background.prices
        ],
    )


def remedy_report(remedy: Remedy) -> out.RemedyReport:
    """What would help, in the field's units."""
    name, unit, factor = _outside(remedy.limit)
    return out.RemedyReport(
        limit=name,
        unit=unit,
        asked=remedy.asked / factor,
        needed=remedy.needed / factor,
        text=remedy.text,
    )


def violation_report(violation: Violation) -> out.ViolationReport:
    """What a plan breaks, in the field's units."""
    name, unit, factor = _outside(violation.limit)
    return out.ViolationReport(
        limit=name,
        unit=unit,
        allowed=violation.allowed / factor,
        value=violation.value / factor,
        text=violation.text,
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
