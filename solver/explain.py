"""Why a plan is as it is: which limits bind, what sets the pace, why GPUs stay free."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

import numpy as np

from solver.changes import gpus_used
from solver.check import TOLERANCE
from solver.objective import Limits
from solver.problem import FloatArray, PipelineProblem
from solver.result import OPTIMAL_GAP, Evaluation, Plan, Stage, StageReport

__all__ = [
    "FreeGpus",
    "Pace",
    "WhyFree",
    "binding_limits",
    "free_gpus",
    "pace_of",
]

# A limit on a time binds within this share of it.
_CLOSE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """
    What a phase takes, and how far its slowest stage is ahead of the next.

    Parameters
    ----------
    share
        Of the latency of one batch, 0 to 1.
    lead
        How much longer the slowest stage takes than the next one, as a share of its time; 0 with
        one stage.
    """

    share: float
    lead: float


class WhyFree(StrEnum):
    """What is proven about GPUs that a plan leaves free."""

    NO_FORMAT = "no_format"  # they run no format that a layer may take
    TOO_SMALL = "too_small"  # no layer fits them, beside the work space
    GPU_LIMIT = "gpu_limit"  # the limit on GPUs is reached
    PRICE_LIMIT = "price_limit"  # one more would break the limit on price
    OPTIMAL = "optimal"  # no plan is better, with them or without
    BOUND = "bound"  # no plan is better by more than the gap, with them or without
    UNKNOWN = "unknown"  # nothing is proven


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeGpus:
    """GPUs of a device class that a plan leaves free, and why."""

    device: int
    count: int
    why: WhyFree


def pace_of(evaluation: Evaluation) -> dict[str, Pace]:
    """What ``prefill`` and ``decode`` take."""
    whole = evaluation.batch_latency_s
    prefill = evaluation.ttft_s / whole if whole > 0 else 1.0
    shares = {"prefill": prefill, "decode": 1 - prefill}
    return {
        phase: Pace(share=share, lead=_lead(evaluation.stages, phase))
        for phase, share in shares.items()
    }


def _lead(stages: tuple[StageReport, ...], phase: str) -> float:
    *_, next_s, slowest_s = sorted([0.0, *(getattr(stage, f"{phase}_s") for stage in stages)])
    return 1 - next_s / slowest_s if len(stages) > 1 and slowest_s > 0 else 0.0


def binding_limits(
    problem: PipelineProblem, limits: Limits, plan: Plan, evaluation: Evaluation
) -> frozenset[str]:
    """
    Names of the limits that leave the plan no step further in their direction.

    Times bind within a thousandth; numbers of GPUs and stages where they are reached; quality
    where no layer can take another format that is faster on its stage; price where no GPU that is
    free could be rented beside the others.
    """
    left = {
        "ttft_s": (evaluation.ttft_s, None),
        "tpot_s": (evaluation.tpot_s, None),
        "latency_s": (evaluation.latency_s, None),
        "loss_nats": (evaluation.loss_nats, _least_loss_step(problem, plan)),
        "price_usd_per_hour": (
            evaluation.price_usd_per_hour,
            min(_prices_of_one_more(problem, evaluation).values(), default=inf),
        ),
        "gpus": (evaluation.gpus, 1.0),
        "stages": (len(evaluation.stages), 1.0),
    }
    found = set()
    for name, (value, step) in left.items():
        allowed = getattr(limits, name)
        if allowed is not None and _binds(value, allowed, step):
            found.add(name)
    if 1 < limits.min_stages == len(evaluation.stages):
        found.add("min_stages")
    return frozenset(found)


def _binds(value: float, allowed: float, step: float | None) -> bool:
    """Whether a limit leaves no room for the next step; of times the step is a share."""
    if step is None:
        return allowed - value <= _CLOSE * allowed
    return step < inf and allowed - value + TOLERANCE * max(abs(allowed), 1e-3) < step


def _least_loss_step(problem: PipelineProblem, plan: Plan) -> float:
    """Least quality loss by which one layer becomes faster where it is; inf where none can."""
    sizes = [int(size) for size in problem.micro_batches]
    prefill = problem.prefill_s[..., sizes.index(plan.prefill_micro_batch)]
    decode = problem.decode_s[..., sizes.index(plan.decode_micro_batch)]
    return min(
        (
            _step_of_layer(problem, stage, layer, chosen, prefill + decode * problem.output_tokens)
            for stage in plan.stages
            for layer, chosen in enumerate(stage.formats, start=stage.first_layer)
        ),
        default=inf,
    )


def _step_of_layer(
    problem: PipelineProblem, stage: Stage, layer: int, chosen: int, layer_s: FloatArray
) -> float:
    """``layer_s`` has shape (G, F, K)."""
    times = layer_s[stage.group, :, problem.layer_kinds[layer]]
    rise = problem.loss_nats[layer] - problem.loss_nats[layer, chosen]
    faster = problem.allowed(stage.group, layer) & (times < times[chosen]) & (rise > 0)
    return float(rise[faster].min(initial=inf))


def _prices_of_one_more(problem: PipelineProblem, evaluation: Evaluation) -> dict[int, float]:
    """What one more GPU of each class that has free ones would add to the price."""
    used = gpus_used(problem, evaluation)
    rented = {stage.node for stage in evaluation.stages}
    return {
        index: device.price_usd_per_hour
        + (0.0 if device.node in rented else float(problem.node_price_usd_per_hour[device.node]))
        for index, device in enumerate(problem.devices)
        if used[index] < device.count
    }


def free_gpus(
    problem: PipelineProblem, limits: Limits, evaluation: Evaluation, gap: float | None
) -> tuple[FreeGpus, ...]:
    """
    GPUs that a plan leaves free, with what is proven about them.

    Parameters
    ----------
    problem, limits, evaluation
        What was solved, and the plan's values.
    gap
        Proven gap of the plan; None where nothing is.
    """
    used = gpus_used(problem, evaluation)
    prices = _prices_of_one_more(problem, evaluation)
    return tuple(
        FreeGpus(
            device=index,
            count=device.count - used[index],
            why=_why(problem, limits, evaluation, gap, index, prices.get(index, 0.0)),
        )
        for index, device in enumerate(problem.devices)
        if used[index] < device.count
    )


def _why(
    problem: PipelineProblem,
    limits: Limits,
    evaluation: Evaluation,
    gap: float | None,
    device: int,
    price: float,
) -> WhyFree:
    """The first of the reasons that is proven."""
    most_usd = limits.price_usd_per_hour
    if not _runs_any(problem, device):
        return WhyFree.NO_FORMAT
    if not _holds_a_layer(problem, device):
        return WhyFree.TOO_SMALL
    if gap is not None and gap <= OPTIMAL_GAP:
        return WhyFree.OPTIMAL
    if limits.gpus is not None and evaluation.gpus >= limits.gpus:
        return WhyFree.GPU_LIMIT
    if most_usd is not None and evaluation.price_usd_per_hour + price > most_usd * (1 + TOLERANCE):
        return WhyFree.PRICE_LIMIT
    return WhyFree.UNKNOWN if gap is None else WhyFree.BOUND


def _groups_of(problem: PipelineProblem, device: int) -> list[int]:
    return [index for index, group in enumerate(problem.groups) if group.device == device]


def _runs_any(problem: PipelineProblem, device: int) -> bool:
    formats = problem.group_formats[_groups_of(problem, device)].any(axis=0)
    return bool((formats & problem.layer_formats).any())


def _holds_a_layer(problem: PipelineProblem, device: int) -> bool:
    """Whether one layer at its smallest fits a stage, at the smallest batch and micro-batches."""
    batch = min(option.size for option in problem.batches)
    for group in _groups_of(problem, device):
        weights = np.where(
            problem.group_formats[group][:, None], problem.weight_bytes[group], np.inf
        )
        layers = (weights + batch * problem.kv_bytes[group]).min(initial=np.inf)
        work = max(problem.prefill_work_bytes[group].min(), problem.decode_work_bytes[group].min())
        if layers + work <= problem.devices[device].memory_bytes * (1 + TOLERANCE):
            return True
    return False
