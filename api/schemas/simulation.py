"""A simulation: the plan to replay, and what the replay showed."""

from typing import Literal

from pydantic import Field

from api.schemas.answer import Metrics, RequestSummary, Versions, ViolationReport
from api.schemas.base import Figure, Schema
from api.schemas.plan import GivenPlan, PlanSpec
from api.schemas.request import AnyRequest

__all__ = [
    "Differences",
    "DistributionReport",
    "GanttRowReport",
    "LastBatch",
    "LinkUseReport",
    "MemoryOverTime",
    "RequestTimes",
    "Simulated",
    "SimulationAnswer",
    "SimulationRequest",
    "StageUseReport",
]

MOST_GANTT_ROUNDS = 10_000
StartName = Literal["barrier", "overlapped"]
OrderName = Literal["first-come", "decode-first"]


class SimulationRequest(Schema):
    """A plan to be replayed for a request."""

    request: AnyRequest = Field(description="The request, as for a plan.")
    plan: GivenPlan = Field(description="The plan, as an answer gives it or as written by hand.")
    start: StartName = Field(
        default="barrier",
        description="When decode starts: once the whole batch is prefilled, or for every "
        "micro-batch as soon as its own requests are.",
    )
    order: OrderName = Field(
        default="first-come",
        description="What a stage takes next: what has waited longest, or decode before prefill.",
    )
    gantt_rounds: int = Field(
        default=0,
        ge=0,
        le=MOST_GANTT_ROUNDS,
        description="First and last decode rounds to give as rows of a Gantt chart, beside all of "
        "prefill; 0 gives no rows.",
    )


class Simulated(Schema):
    """What the replay showed, beside the same values by formula in `estimate`."""

    ttft_ms: float = Field(description="Until all first tokens of the batch are there.")
    tpot_ms: Figure = Field(
        description="Mean time between tokens from the second on; null where there is no third."
    )
    batch_latency_s: float = Field(description="Seconds for the first batch.")
    latency_s: float = Field(description="Seconds until the last of all requests is answered.")
    throughput_tokens_per_s: Figure = Field(description="Output tokens per second.")


class Differences(Schema):
    """(Simulated - formula) / formula, in percent; null where either is missing or zero."""

    ttft: Figure = Field(description="Of TTFT.")
    tpot: Figure = Field(description="Of TPOT.")
    batch_latency: Figure = Field(description="Of the latency of a batch.")
    latency: Figure = Field(description="Of the latency of all requests.")


class DistributionReport(Schema):
    """Milliseconds over the requests, or tokens, of the first batch."""

    count: int = Field(description="How many there are.")
    min_ms: float = Field(description="Least.")
    mean_ms: float = Field(description="Mean.")
    p50_ms: float = Field(description="Half of them take no longer.")
    p90_ms: float = Field(description="90 % take no longer.")
    p99_ms: float = Field(description="99 % take no longer.")
    max_ms: float = Field(description="Most.")


class RequestTimes(Schema):
    """Every request of the first batch, in the order of the micro-batches."""

    prompt_tokens: list[int] = Field(description="Tokens of its prompt.")
    output_tokens: list[int] = Field(description="Tokens of its answer.")
    ttft_ms: list[float] = Field(description="Until its first token.")
    tpot_ms: list[float] = Field(description="Mean time between its tokens; 0 for one token.")
    finish_s: list[float] = Field(description="Until its last token, seconds.")


class LastBatch(Schema):
    """The last batch, where it holds fewer requests than the others."""

    requests: int = Field(description="Requests in it.")
    latency_s: float = Field(description="Seconds that it takes.")


class StageUseReport(Schema):
    """What a stage did while the first batch ran; each of its GPUs was busy with it."""

    stage: int = Field(description="Number in pipeline order, from 1.")
    node: str = Field(description="Name of the node.")
    gpu: str = Field(description="GPU type.")
    gpu_numbers: list[int] = Field(description="Which GPUs of that type on the node, from 0.")
    prefill_busy_s: float = Field(description="Seconds that it computed prompts.")
    decode_busy_s: float = Field(description="Seconds that it computed decode steps.")
    prefill_idle_s: float = Field(
        description="Bubbles: seconds that it waited until the last first token of the batch."
    )
    decode_idle_s: float = Field(description="Bubbles: seconds that it waited after that.")
    prefill_busy: float = Field(
        description="Share of the time until the last first token that it computed, 0 to 1."
    )
    decode_busy: float = Field(description="Share of the time after that, 0 to 1.")
    peak_gib: float = Field(description="Most memory that each of its GPUs held.")
    available_gib: float = Field(description="What the engine may fill.")


class LinkUseReport(Schema):
    """What a link or network card carried while the first batch ran."""

    name: str = Field(description="The link inside a node, or the way out of or into one.")
    prefill_busy_s: float = Field(description="Seconds that prefill kept it busy.")
    decode_busy_s: float = Field(description="Seconds that decode kept it busy.")
    busy: float = Field(description="Share of the batch's latency that it was busy, 0 to 1.")
    waited_s: float = Field(description="Seconds that its transfers waited for it or its peer.")
    transfers: int = Field(description="How many it carried.")


class MemoryOverTime(Schema):
    """Memory of the stages at about a hundred moments of the first batch."""

    time_s: list[float] = Field(description="The moments.")
    used_gib: list[list[float]] = Field(description="By moment: each stage's GPUs hold so much.")


class GanttRowReport(Schema):
    """One micro-batch on one stage or link."""

    machine: str = Field(description="`stage 1`, or the name of the link.")
    kind: Literal["stage", "link"] = Field(description="Which of the two.")
    phase: Literal["prefill", "decode"] = Field(description="Phase of the micro-batch.")
    micro_batch: int = Field(description="Its number within the phase, from 1.")
    round: int = Field(description="0 in prefill; the decode step, from 1.")
    start_s: float = Field(description="Seconds from the start of the batch.")
    end_s: float = Field(description="The same.")


class SimulationAnswer(Schema):
    """The answer to a request for a simulation."""

    kind: Literal["simulation"] = Field(default="simulation", description="Marks this form.")
    request: RequestSummary = Field(description="What was asked.")
    plan: PlanSpec = Field(description="The plan.")
    start: StartName = Field(description="When decode started.")
    order: OrderName = Field(description="What a stage took next.")
    feasible: bool = Field(description="Whether the plan keeps memory and every limit, by formula.")
    violations: list[ViolationReport] = Field(description="What it breaks.")
    estimate: Metrics = Field(description="The plan's values by formula.")
    simulated: Simulated = Field(description="The same by the replay.")
    difference_percent: Differences = Field(description="How far the two are apart.")
    waves: int = Field(description="Batches, one after the other; the first is reported.")
    last_batch: LastBatch | None = Field(description="The last, if smaller; else null.")
    ttft: DistributionReport = Field(description="TTFT over requests.")
    tpot: DistributionReport | None = Field(description="Mean TPOT over requests; null for one.")
    token_gaps: DistributionReport | None = Field(
        description="Times between tokens, over all tokens of all requests; null for one token."
    )
    requests: RequestTimes = Field(description="Every request of the batch.")
    stages: list[StageUseReport] = Field(description="What the stages did.")
    links: list[LinkUseReport] = Field(description="What the links carried.")
    memory: MemoryOverTime = Field(description="Memory over time.")
    gantt: list[GanttRowReport] = Field(description="Rows of a chart, where asked for.")
    versions: Versions = Field(description="Versions behind the answer.")
    problem_hash: str = Field(
        description="SHA-256 of the problem, the objective and the limits, as in the plan's answer."
    )
    warnings: list[str] = Field(description="What to know before trusting it.")
