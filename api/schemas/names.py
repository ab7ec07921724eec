"""Names that requests and commands share, without any of the weight of the schemas."""

from enum import StrEnum

__all__ = [
    "SCHEMA_NAMES",
    "BackendChoice",
    "ExportEngine",
    "GoalChoice",
    "OrderChoice",
    "StartChoice",
]


class BackendChoice(StrEnum):
    """What proves: HiGHS, CBC through PuLP, or CP-SAT of OR-Tools."""

    HIGHS = "highs"
    CBC = "cbc"
    CP_SAT = "cp-sat"


class GoalChoice(StrEnum):
    """What a plan can be optimised for."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    TTFT = "ttft"
    TPOT = "tpot"
    COST = "cost"
    PRICE = "price"
    QUALITY_LOSS = "quality_loss"
    GPUS = "gpus"
    STAGES = "stages"
    LATENCY_AND_QUALITY = "latency_and_quality"


class StartChoice(StrEnum):
    """When a simulated decode starts."""

    BARRIER = "barrier"
    OVERLAPPED = "overlapped"


class OrderChoice(StrEnum):
    """What a simulated stage takes next of what waits."""

    FIRST_COME = "first-come"
    DECODE_FIRST = "decode-first"


class ExportEngine(StrEnum):
    """An engine that plans can be exported to."""

    VLLM = "vllm"


SCHEMA_NAMES = (
    "request",
    "answer",
    "plan",
    "evaluation-request",
    "evaluation-answer",
    "simulation-request",
    "simulation-answer",
    "export-request",
    "export-answer",
    "sweep",
    "omega",
    "comparison-answer",
    "pareto-request",
    "pareto-answer",
)
"""Names under which the JSON Schemas are published."""
