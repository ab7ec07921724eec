"""Plans for serving a model on given GPUs, with proof."""

from solver.backends.registry import BackendName
from solver.baselines import BASELINES, Baseline, even_split
from solver.build import BuiltProblem, ModelError, QualityChoice, build_problem
from solver.check import TOLERANCE, Violation, evaluate, score, violations
from solver.compare import Comparison, ComparisonRow, compare
from solver.objective import Goal, Limits, Objective, StopRule
from solver.pareto import (
    PARETO_GOALS,
    ParetoAxis,
    ParetoPoint,
    ParetoProgress,
    ParetoSet,
    View,
    pareto,
)
from solver.places import FormatChoice
from solver.problem import (
    BatchOption,
    DeviceClass,
    PipelineProblem,
    StageGroup,
    default_micro_batches,
)
from solver.result import (
    OPTIMAL_GAP,
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
    status_of,
)
from solver.simulate import PlanSimulation, batch_lengths, simulate_plan, simulated_pipeline
from solver.solve import solve
from solver.sweep import SweepEvent, SweepPoint, SweepProblem, sweep

__all__ = [
    "BASELINES",
    "OPTIMAL_GAP",
    "PARETO_GOALS",
    "TOLERANCE",
    "BackendName",
    "Baseline",
    "BatchOption",
    "BuiltProblem",
    "Comparison",
    "ComparisonRow",
    "DeviceClass",
    "Evaluation",
    "FormatChoice",
    "Goal",
    "Limits",
    "Memory",
    "ModelError",
    "Objective",
    "ParetoAxis",
    "ParetoPoint",
    "ParetoProgress",
    "ParetoSet",
    "PipelineProblem",
    "Plan",
    "PlanSimulation",
    "Progress",
    "QualityChoice",
    "Remedy",
    "SolveReport",
    "Stage",
    "StageGroup",
    "StageReport",
    "Status",
    "StopReason",
    "StopRule",
    "SweepEvent",
    "SweepPoint",
    "SweepProblem",
    "View",
    "Violation",
    "batch_lengths",
    "build_problem",
    "compare",
    "default_micro_batches",
    "evaluate",
    "even_split",
    "pareto",
    "relative_gap",
    "score",
    "simulate_plan",
    "simulated_pipeline",
    "solve",
    "status_of",
    "sweep",
    "violations",
]
