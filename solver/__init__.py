"""Plans for serving a model on given GPUs, with proof."""

from solver.baselines import even_split
from solver.check import Violation, evaluate, score, violations
from solver.objective import Goal, Limits, Objective, StopRule
from solver.problem import (
    BatchOption,
    DeviceClass,
    PipelineProblem,
    StageGroup,
    default_micro_batches,
)
from solver.result import (
    Evaluation,
    Memory,
    Plan,
    Progress,
    Remedy,
    SolveReport,
    Stage,
    StageReport,
    Status,
    StopReason,
    relative_gap,
)
from solver.solve import solve

__all__ = [
    "BatchOption",
    "DeviceClass",
    "Evaluation",
    "Goal",
    "Limits",
    "Memory",
    "Objective",
    "PipelineProblem",
    "Plan",
    "Progress",
    "Remedy",
    "SolveReport",
    "Stage",
    "StageGroup",
    "StageReport",
    "Status",
    "StopReason",
    "StopRule",
    "Violation",
    "default_micro_batches",
    "evaluate",
    "even_split",
    "relative_gap",
    "score",
    "solve",
    "violations",
]
