"""What a solve returns: plans, their values, and how far they are proven."""

from dataclasses import dataclass
from enum import StrEnum

from solver.objective import Goal

__all__ = [
    "OPTIMAL_GAP",
    "Evaluation",
    "Memory",
    "Plan",
    "Progress",
    "Remedy",
    "SolveReport",
    "Stage",
    "StageReport",
    "Status",
    "StopReason",
    "relative_gap",
    "status_of",
]

OPTIMAL_GAP = 1e-6


class Status(StrEnum):
    """What is known about the answer; why the search ended is `StopReason`."""

    OPTIMAL = "optimal"  # a plan, proven within OPTIMAL_GAP
    FEASIBLE = "feasible"  # a plan, with its gap
    INFEASIBLE = "infeasible"  # proven that there is none
    UNKNOWN = "unknown"  # neither a plan nor a proof


class StopReason(StrEnum):
    """Why the search ended."""

    PROVEN = "proven"
    GAP_REACHED = "gap_reached"
    TIME_LIMIT = "time_limit"
    CANCELLED = "cancelled"
    MEMORY = "memory"
    NUMERICS = "numerics"  # no further step could be trusted; the gap says how far it came


def relative_gap(objective: float, bound: float) -> float:
    """|objective - bound| / max(|objective|, 1e-9)."""
    return abs(objective - bound) / max(abs(objective), 1e-9)


def status_of(gap: float | None) -> Status:
    """Status of a plan by its gap; None where nothing bounds it."""
    return Status.OPTIMAL if gap is not None and gap <= OPTIMAL_GAP else Status.FEASIBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """
    Consecutive layers on one tensor-parallel group.

    Parameters
    ----------
    group
        Index of the stage group.
    first_layer
        Index of its first layer, from 0.
    formats
        Format index of each of its layers, in order; at least one.
    """

    group: int
    first_layer: int
    formats: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Stages in pipeline order, with the batch and micro-batch sizes they run."""

    batch_size: int
    prefill_micro_batch: int
    decode_micro_batch: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on each GPU of a stage, by what fills them, and what there is."""

    weights_bytes: float
    kv_bytes: float
    embedding_and_head_bytes: float
    work_bytes: float
    available_bytes: float

    @property
    def used_bytes(self) -> float:
        """Sum of all parts."""
        return self.weights_bytes + self.kv_bytes + self.embedding_and_head_bytes + self.work_bytes

    @property
    def free_bytes(self) -> float:
        """What is left; negative when the stage does not fit."""
        return self.available_bytes - self.used_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """
    One stage as the check sees it.

    Parameters
    ----------
    device, node, tensor_parallel
        Device class index, node index and GPUs of the stage.
    gpus
        Numbers of its GPUs within the device class, counted in pipeline order.
    prefill_s, decode_s
        Seconds for one micro-batch through all layers (with embedding or head).
    prefill_link_s, decode_link_s
        Seconds to hand a micro-batch to the next stage; 0 on the last.
    prefill_busy, decode_busy
        Share of the phase that the stage computes, 0 to 1.
    """

    device: int
    node: int
    tensor_parallel: int
    gpus: tuple[int, ...]
    first_layer: int
    num_layers: int
    prefill_s: float
    decode_s: float
    prefill_link_s: float
    decode_link_s: float
    prefill_busy: float
    decode_busy: float
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """
    Values of a plan, recomputed from the problem alone.

    Parameters
    ----------
    ttft_s, tpot_s
        Prefill time of the batch; steady time between tokens (0 when one token is produced).
    batch_latency_s, latency_s
        Seconds for one batch; for all requests (equal when there is one wave).
    throughput_tokens_per_s
        Output tokens per second.
    price_usd_per_hour, cost_usd_per_million_tokens
        Of everything rented; per million output tokens.
    loss_nats, perplexity
        Predicted increase of ln(perplexity); predicted perplexity or None when unknown.
    gpus
        GPUs used.
    bottleneck_prefill, bottleneck_decode
        What sets the pace: ``stage 2``, or the link that is shared most.
    stages
        One report per stage.
    """

    ttft_s: float
    tpot_s: float
    batch_latency_s: float
    latency_s: float
    throughput_tokens_per_s: float
    price_usd_per_hour: float
    cost_usd_per_million_tokens: float
    loss_nats: float
    perplexity: float | None
    gpus: int
    bottleneck_prefill: str
    bottleneck_decode: str
    stages: tuple[StageReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    State of a running search; what is not known yet is None.

    Incumbent and bound are values of ``goal``: that of the request, or latency in the phase
    ``tie-break``, which looks for the fastest of equally good plans.
    """

    elapsed_s: float
    goal: Goal
    incumbent: float | None
    bound: float | None
    gap: float | None
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """
    Why no plan exists, and the least relaxation that would help.

    Parameters
    ----------
    limit
        What binds: ``memory``, or the name of a limit.
    asked, needed
        The limit's value and the value at which a plan exists, in base units.
    text
        One sentence for people.
    others_kept
        Whether a plan exists with all other limits kept; else ``needed`` is the best value
        without them, because no single limit can be relaxed alone.
    """

    limit: str
    asked: float
    needed: float
    text: str
    others_kept: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveReport:
    """
    Answer of a search.

    Parameters
    ----------
    status, stop_reason
        What is known; why it ended.
    objective, bound, gap
        In the unit of the goal; None without a plan (``bound`` may be known all the same).
        The bound is never better than the objective.
    plan, evaluation
        The best plan and its checked values, or None.
    remedies
        For an infeasible problem: what would help.
    even_split
        The even split at the best uniform format with its values, for comparison; None where it
        breaks a limit.
    secondary_gap
        Gap of latency as tie-breaker, for goals on which many plans tie; else None.
    runtime_s
        Seconds by the clock.
    num_bounds, num_milps
        Relaxations and integer programs solved.
    """

    status: Status
    stop_reason: StopReason
    objective: float | None
    bound: float | None
    gap: float | None
    plan: Plan | None
    evaluation: Evaluation | None
    remedies: tuple[Remedy, ...] = ()
    even_split: tuple[Plan, Evaluation] | None = None
    secondary_gap: float | None = None
    runtime_s: float
    num_bounds: int
    num_milps: int
