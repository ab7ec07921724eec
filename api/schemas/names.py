"""Names that requests and commands share, without any of the weight of the schemas."""

from enum import StrEnum

__all__ = ["SCHEMA_NAMES", "GoalChoice"]


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


SCHEMA_NAMES = ("request", "answer", "plan", "evaluation-request", "evaluation-answer")
"""Names under which the JSON Schemas are published."""
