"""Replays to answers: base units to the field's, and how far formula and replay are apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from api import answer_parts as parts
from api.answer import problem_hash, versions
from api.limit_words import violation_report
from api.plans import spec_from_plan
from api.prepared import Prepared
from api.schemas import simulation as out
from cost_model.gantt import GanttRow
from cost_model.simulated_pipeline import Order, Start
from cost_model.simulation import Distribution, LinkUse, Simulation, StageUse
from profiles.units import GIB, MS
from solver import Evaluation, Plan, PlanSimulation, StageReport, violations

__all__ = ["SimulationChoice", "simulation_answer"]

PERCENT = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationChoice:
    """How to replay; see `cost_model.simulator.simulate`."""

    start: Start = Start.BARRIER
    order: Order = Order.FIRST_COME
    gantt_rounds: int = 0


def simulation_answer(
    prepared: Prepared,
    plan: Plan,
    estimate: Evaluation,
    replay: PlanSimulation,
    choice: SimulationChoice,
    lengths: Sequence[tuple[int, int]],
    warnings: Sequence[str],
) -> out.SimulationAnswer:
    """
    The answer to a request for a simulation.

    Parameters
    ----------
    prepared, plan, choice
        What was replayed, and how.
    estimate, replay
        The plan's values by formula and by replay.
    lengths
        Prompt and output tokens of every request of a batch.
    warnings
        What to add to the request's own.
    """
    batch, last = replay.batch, replay.last
    broken = violations(prepared.problem, estimate, prepared.limits)
    metrics = parts.metrics(prepared, estimate)
    values = _values(replay, lengths, prepared.problem.served_requests(plan.batch_size))
    return out.SimulationAnswer(
        request=parts.summary(prepared),
        plan=spec_from_plan(plan, estimate.stages, prepared),
        start=choice.start.value,
        order=choice.order.value,
        feasible=not broken,
        violations=[violation_report(prepared, violation) for violation in broken],
        estimate=metrics,
        simulated=values,
        difference_percent=out.Differences(
            ttft=_percent(values.ttft_ms, metrics.ttft_ms),
            tpot=_percent(values.tpot_ms, metrics.tpot_ms),
            batch_latency=_percent(values.batch_latency_s, metrics.batch_latency_s),
            latency=_percent(values.latency_s, metrics.latency_s),
        ),
        waves=replay.waves,
        last_batch=None
        if last is None
        else out.LastBatch(requests=len(last.ttft_s), latency_s=last.latency_s),
        ttft=_distribution(batch.ttft),
        tpot=None if batch.tpot is None else _distribution(batch.tpot),
        token_gaps=None if batch.gaps is None else _distribution(batch.gaps),
        requests=_requests(batch, lengths),
        stages=[
            _stage(prepared, number, use, report, batch)
            for number, (use, report) in enumerate(
                zip(batch.stages, estimate.stages, strict=True), start=1
            )
        ],
        links=[_link(link, batch.latency_s) for link in batch.links],
        memory=out.MemoryOverTime(
            time_s=batch.memory.time_s.tolist(),
            used_gib=(batch.memory.used_bytes / GIB).tolist(),
        ),
        gantt=[_row(row) for row in batch.gantt],
        versions=versions(),
        problem_hash=problem_hash(prepared),
        warnings=[*prepared.background.warnings, *warnings],
    )


def _values(
    replay: PlanSimulation, lengths: Sequence[tuple[int, int]], num_requests: int
) -> out.Simulated:
    batch = replay.batch
    whole, rest = divmod(num_requests, len(lengths))
    outputs = [output for _, output in lengths]
    tokens = whole * sum(outputs) + sum(outputs[:rest])
    steady_s = batch.steady_tpot_s
    return out.Simulated(
        ttft_ms=batch.prefill_end_s / MS,
        tpot_ms=None if steady_s is None else steady_s / MS,
        batch_latency_s=batch.latency_s,
        latency_s=replay.latency_s,
        throughput_tokens_per_s=tokens / replay.latency_s if replay.latency_s > 0 else None,
    )


def _percent(value: float | None, formula: float) -> float | None:
    return None if value is None or formula <= 0 else (value / formula - 1) * PERCENT


def _distribution(found: Distribution) -> out.DistributionReport:
    return out.DistributionReport(
        count=found.count,
        min_ms=found.min_s / MS,
        mean_ms=found.mean_s / MS,
        p50_ms=found.p50_s / MS,
        p90_ms=found.p90_s / MS,
        p99_ms=found.p99_s / MS,
        max_ms=found.max_s / MS,
    )


def _requests(batch: Simulation, lengths: Sequence[tuple[int, int]]) -> out.RequestTimes:
    served = lengths[: len(batch.ttft_s)]
    return out.RequestTimes(
        prompt_tokens=[prompt for prompt, _ in served],
        output_tokens=[output for _, output in served],
        ttft_ms=(batch.ttft_s / MS).tolist(),
        tpot_ms=(batch.tpot_s / MS).tolist(),
        finish_s=batch.finish_s.tolist(),
    )


def _stage(
    prepared: Prepared, number: int, use: StageUse, report: StageReport, batch: Simulation
) -> out.StageUseReport:
    before_s, after_s = batch.prefill_end_s, batch.latency_s - batch.prefill_end_s
    return out.StageUseReport(
        stage=number,
        node=prepared.problem.node_names[report.node],
        gpu=prepared.background.gpu_names[report.device],
        gpu_numbers=list(report.gpus),
        prefill_busy_s=use.prefill_busy_s,
        decode_busy_s=use.decode_busy_s,
        prefill_idle_s=use.prefill_idle_s,
        decode_idle_s=use.decode_idle_s,
        prefill_busy=_busy(use.prefill_idle_s, before_s),
        decode_busy=_busy(use.decode_idle_s, after_s),
        peak_gib=use.peak_bytes / GIB,
        available_gib=use.available_bytes / GIB,
    )


def _busy(idle_s: float, of_s: float) -> float:
    return max(0.0, 1 - idle_s / of_s) if of_s > 0 else 0.0


def _link(link: LinkUse, latency_s: float) -> out.LinkUseReport:
    busy_s = link.prefill_busy_s + link.decode_busy_s
    return out.LinkUseReport(
        name=link.name,
        prefill_busy_s=link.prefill_busy_s,
        decode_busy_s=link.decode_busy_s,
        busy=busy_s / latency_s if latency_s > 0 else 0.0,
        waited_s=link.waited_s,
        transfers=link.transfers,
    )


def _row(row: GanttRow) -> out.GanttRowReport:
    return out.GanttRowReport(
        machine=row.machine,
        kind=row.kind,
        phase=row.phase.value,
        micro_batch=row.micro_batch,
        round=row.round,
        start_s=row.start_s,
        end_s=row.end_s,
    )
