"""What comes back: the plan, its values, and how far it is proven."""

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Figure, Schema
from api.schemas.calibration import CalibrationUse
from api.schemas.plan import PlanSpec
from api.schemas.regret import RegretReport
from api.schemas.what_if import EffectReport

__all__ = [
    "AnswerBase",
    "BestKnown",
    "Bottlenecks",
    "Comparison",
    "EvaluationAnswer",
    "IntervalReport",
    "Intervals",
    "KernelReport",
    "LimitReport",
    "MemoryReport",
    "Metrics",
    "PlanAnswer",
    "PriceReport",
    "RemedyReport",
    "RequestSummary",
    "SolverReport",
    "Sources",
    "StageReportSpec",
    "StatusName",
    "StopName",
    "UnusedGpus",
    "Versions",
    "ViolationReport",
]

StatusName = Literal["optimal", "feasible", "infeasible", "unknown"]
WhyName = Literal[
    "no_format",
    "too_small",
    "gpu_limit",
    "price_limit",
    "optimal",
    "bound",
    "unknown",
]
StopName = Literal["proven", "gap_reached", "time_limit", "cancelled", "memory", "numerics"]


class Metrics(Schema):
    """Predicted values of a plan."""

    ttft_ms: float = Field(description="Prefill time of the batch, milliseconds.")
    tpot_ms: float = Field(description="Steady time between tokens, milliseconds; 0 for one token.")
    batch_latency_s: float = Field(description="Seconds for one batch.")
    latency_s: float = Field(description="Seconds until the last of all requests is answered.")
    throughput_tokens_per_s: Figure = Field(description="Output tokens per second.")
    usd_per_hour: Figure = Field(description="Price of everything rented; null if unknown.")
    usd_per_million_tokens: Figure = Field(
        description="Price of a million output tokens; null if unknown."
    )
    quality_loss_nats: float = Field(description="Predicted increase of ln(perplexity).")
    perplexity: Figure = Field(description="Predicted perplexity; null if unknown.")
    perplexity_increase_percent: Figure = Field(
        description="Against 16 bits, percent; null beyond any number."
    )
    gpus: int = Field(description="GPUs used.")
    stages: int = Field(description="Pipeline stages.")


class IntervalReport(Schema):
    """A 90 % prediction interval."""

    low: Figure = Field(description="Lower end; null beyond any number.")
    high: Figure = Field(description="Upper end; null beyond any number.")


class Intervals(Schema):
    """
    Between which values measured ones are expected to lie, with a probability of 90 %.

    Errors of times are common to a GPU type, kernel, format and phase, and independent otherwise.
    """

    ttft_ms: IntervalReport = Field(description="Of `metrics.ttft_ms`.")
    tpot_ms: IntervalReport = Field(description="Of `metrics.tpot_ms`.")
    batch_latency_s: IntervalReport = Field(description="Of `metrics.batch_latency_s`.")
    latency_s: IntervalReport = Field(description="Of `metrics.latency_s`.")
    throughput_tokens_per_s: IntervalReport = Field(
        description="Of `metrics.throughput_tokens_per_s`."
    )


class MemoryReport(Schema):
    """GiB on each GPU of a stage."""

    weights_gib: float = Field(description="Weights of the layers.")
    kv_cache_gib: float = Field(description="KV cache of the whole batch at full length.")
    embedding_and_head_gib: float = Field(description="Embedding and LM head where they sit.")
    work_gib: float = Field(description="Activations, logits and transfer buffers.")
    used_gib: float = Field(description="Sum of the four.")
    available_gib: float = Field(description="What the engine may fill.")
    free_gib: float = Field(description="What is left; negative where it does not fit.")


class StageReportSpec(Schema):
    """Predicted values of one stage."""

    stage: int = Field(description="Number in pipeline order, from 1.")
    node: str = Field(description="Name of the node.")
    gpu: str = Field(description="GPU type.")
    gpu_numbers: list[int] = Field(description="Which GPUs of that type on the node, from 0.")
    tensor_parallel: int = Field(description="GPUs that share each layer.")
    first_layer: int = Field(description="Number of the first layer, from 0.")
    last_layer: int = Field(description="Number of the last layer.")
    layers_per_format: dict[str, int] = Field(description="How many layers in each format.")
    prefill_ms: float = Field(description="One micro-batch of prompts through the stage.")
    decode_ms: float = Field(description="One decode step of a micro-batch through the stage.")
    prefill_link_ms: float = Field(description="Hand-over to the next stage in prefill.")
    decode_link_ms: float = Field(description="Hand-over to the next stage in decode.")
    prefill_busy: float = Field(description="Share of the prefill that the stage computes, 0 to 1.")
    decode_busy: float = Field(description="Share of the decode that the stage computes, 0 to 1.")
    memory: MemoryReport = Field(description="Memory of each of its GPUs.")


class Bottlenecks(Schema):
    """What sets the pace of each phase."""

    prefill: str = Field(description="Slowest stage or link in prefill.")
    decode: str = Field(description="Slowest stage or link in decode.")
    prefill_share: float = Field(description="Share of the latency of a batch that prefill takes.")
    prefill_lead: float = Field(
        description="How much longer the slowest stage of prefill takes than the next one, as a "
        "share of its time; 0 with one stage."
    )
    decode_lead: float = Field(description="The same in decode.")


class LimitReport(Schema):
    """A limit and how the plan keeps to it."""

    limit: str = Field(description="Name of the limit, as in the request.")
    unit: str = Field(description="Unit of the three values.")
    allowed: Figure = Field(description="The limit.")
    value: Figure = Field(description="Value of the plan; null without one.")
    slack: Figure = Field(description="What is left; negative where the limit is broken.")
    basis: str = Field(description="`asked`, or `uniform 4 bits` for the default quality limit.")
    binding: bool | None = Field(
        description="Whether the plan has no room left for its next step in this direction: a "
        "faster format, one more GPU or stage, a thousandth of a time; null without a plan."
    )


class UnusedGpus(Schema):
    """GPUs that the plan leaves free, and what is proven about them."""

    node: str = Field(description="Name of the node.")
    gpu: str = Field(description="GPU type.")
    count: int = Field(description="How many are left.")
    why: WhyName = Field(
        description="no_format: they run no format allowed; too_small: no layer fits them; "
        "gpu_limit, price_limit: no room for one more; optimal, bound: no plan is better (by more "
        "than the gap), with them or without; unknown: nothing is proven."
    )
    text: str = Field(
        description="The same as a sentence, with what forcing one in loses where what_if is asked."
    )


class KernelReport(Schema):
    """The kernel by which a GPU type runs a format."""

    gpu: str = Field(description="GPU type.")
    format: str = Field(description="Format.")
    kernel: str = Field(description="Kernel of the engine.")
    decode_error: float | None = Field(
        description="Mean relative error of the latency model in decode, on points kept out of "
        "its fit; null where it is not known."
    )
    prefill_error: float | None = Field(description="The same in prefill.")
    decode_interval: IntervalReport | None = Field(
        description="Factors of a decode time that hold the measured one with a probability of "
        "90 %, where no table answers; null where the model does not know the kernel."
    )
    prefill_interval: IntervalReport | None = Field(description="The same in prefill.")
    interval_basis: str = Field(description="What the intervals rest on.")
    basis: str = Field(description="`fit`, or what the latency model was carried over from.")


class PriceReport(Schema):
    """A price in play."""

    what: str = Field(description="GPU type or node.")
    usd_per_hour: Figure = Field(description="US dollars per hour; null if unknown.")
    basis: str = Field(description="Where the price comes from.")


class Sources(Schema):
    """Where the numbers come from."""

    times: str = Field(
        description="Weakest provenance of the times: measured, interpolated or analytic; or `as "
        "given` in the coefficient form."
    )
    times_by_source: dict[str, int] = Field(
        description="How many times of layers and ends have each provenance; empty in the "
        "coefficient form."
    )
    calibrated: CalibrationUse | None = Field(
        default=None, description="The measurements that corrected the times; null without."
    )
    quality: str = Field(description="Where the quality figures come from.")
    kernels: list[KernelReport] = Field(description="Kernels of the formats in play.")
    prices: list[PriceReport] = Field(description="Prices in play.")


class RemedyReport(Schema):
    """Why no plan exists, and what would help."""

    limit: str = Field(description="What binds.")
    unit: str = Field(description="Unit of the two values.")
    asked: Figure = Field(description="The limit's value.")
    needed: Figure = Field(description="Value at which a plan exists, others kept.")
    text: str = Field(description="One sentence.")
    others_kept: bool = Field(
        description="Whether `needed` holds with all other limits kept; else it is the best "
        "value without them."
    )


class ViolationReport(Schema):
    """A limit that a plan breaks."""

    limit: str = Field(description="Name of the limit.")
    unit: str = Field(description="Unit of the two values.")
    allowed: Figure = Field(description="The limit's value.")
    value: Figure = Field(description="Value of the plan.")
    text: str = Field(description="One sentence.")


class Comparison(Schema):
    """Another plan for the same request, under the same judge."""

    name: str = Field(description="What it is compared with.")
    objective: Figure = Field(description="Its objective, in the answer's unit.")
    ratio: Figure = Field(description="Its objective over the plan's; throughput the other way.")
    plan: PlanSpec = Field(description="The other plan.")
    metrics: Metrics = Field(description="Its values.")


class SolverReport(Schema):
    """The settings that were in force, and the work done."""

    time_limit_s: float = Field(description="Seconds by the clock.")
    gap: float = Field(description="Relative gap that was good enough.")
    seed: int = Field(description="Seed.")
    backend: str = Field(description="What proved: highs, cbc or cp-sat.")
    runtime_s: float = Field(description="Seconds that the search took.")
    num_bounds: int = Field(description="Relaxations solved.")
    num_milps: int = Field(description="Integer programs solved.")


class Versions(Schema):
    """Versions behind the answer."""

    hetplan: str = Field(description="This program.")
    highspy: str = Field(description="The solver.")
    python: str = Field(description="The interpreter.")


class RequestSummary(Schema):
    """The request in brief."""

    model: str = Field(description="Model, or title of the coefficient form.")
    engine: str = Field(description="Engine; empty in the coefficient form.")
    cluster: str = Field(description="The GPUs, as `4x T4 + 2x A100-40G-SXM`.")
    layers: int = Field(description="Layers of the model.")
    prompt_tokens: int = Field(description="Tokens of every prompt; of several lengths the mean.")
    output_tokens: int = Field(description="Tokens of every answer; of several lengths the mean.")
    num_lengths: int = Field(description="Lengths of requests that the two are means over, or 1.")
    num_requests: int | None = Field(description="Requests in all; null for one batch.")


class AnswerBase(Schema):
    """What answers to plans and to evaluations have in common."""

    status: StatusName = Field(
        description="optimal: proven within 1e-6; feasible: a plan with its gap; infeasible: "
        "proven that there is none (evaluation: the plan breaks a limit); unknown."
    )
    stop_reason: StopName | None = Field(description="Why the search ended; null without a search.")
    objective: Figure = Field(description="Value of the plan; null without one.")
    bound: Figure = Field(
        description="Proven: no plan is better than this; null while nothing is proven."
    )
    gap: Figure = Field(description="|objective - bound| / max(|objective|, 1e-9).")
    goal: str = Field(description="What was optimised.")
    theta_s_per_nat: float = Field(description="Weight of quality in the goal; 0 if not in it.")
    unit: str = Field(description="Unit of objective and bound.")
    request: RequestSummary = Field(description="What was asked.")
    request_body: dict[str, Any] | None = Field(
        description="The whole request, files included, as it may be sent again; null if large."
    )
    plan: PlanSpec | None = Field(description="The plan; null if there is none.")
    metrics: Metrics | None = Field(description="Predicted values of the plan.")
    intervals: Intervals | None = Field(
        description="90 % intervals of the predicted values; null in the coefficient form."
    )
    stages: list[StageReportSpec] = Field(description="Predicted values of every stage.")
    bottlenecks: Bottlenecks | None = Field(description="What sets the pace.")
    limits: list[LimitReport] = Field(description="Limits, and how the plan keeps to them.")
    unused_gpus: list[UnusedGpus] = Field(description="GPUs left free.")
    sources: Sources = Field(description="Where the numbers come from.")
    solver: SolverReport | None = Field(description="Settings in force; null without a search.")
    versions: Versions = Field(description="Versions behind the answer.")
    problem_hash: str = Field(
        description="SHA-256 of the problem, the objective and the limits: equal for equal ones."
    )
    warnings: list[str] = Field(description="What to know before trusting the plan.")


class PlanAnswer(AnswerBase):
    """The answer to a request for a plan."""

    kind: Literal["plan"] = Field(default="plan", description="Marks this form.")
    secondary_gap: Figure = Field(
        description="Gap of latency as tie-breaker, for goals on which many plans tie."
    )
    remedies: list[RemedyReport] = Field(description="If infeasible: what would help.")
    comparison: Comparison | None = Field(description="The even split; null if it cannot run.")
    what_if: list[EffectReport] | None = Field(
        description="What changes would gain, then what giving GPUs back or forcing them in would "
        "lose; null where it was not asked."
    )
    regret: RegretReport | None = Field(
        description="Whether the plan stays best in tables drawn from their error; null where it "
        "was not asked, or there is no plan."
    )


class BestKnown(Schema):
    """What solving the request gives."""

    status: StatusName = Field(description="As in the answer to a plan.")
    objective: Figure = Field(description="Value of the best plan found.")
    bound: Figure = Field(
        description="Proven: no plan is better than this; null while nothing is proven."
    )
    gap: Figure = Field(description="Between the two.")
    plan: PlanSpec | None = Field(description="The best plan found.")
    metrics: Metrics | None = Field(description="Its values.")


class EvaluationAnswer(AnswerBase):
    """The answer to a request for an evaluation."""

    kind: Literal["evaluation"] = Field(default="evaluation", description="Marks this form.")
    feasible: bool = Field(description="Whether the plan keeps memory and every limit.")
    violations: list[ViolationReport] = Field(description="What it breaks.")
    best: BestKnown | None = Field(description="The best plan; null without a search.")
