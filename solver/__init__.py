"""Plans for serving a model on given GPUs, with proof."""

from solver.backends.registry import BackendName
from solver.baselines import BASELINES, Baseline, even_split
from solver.build import BuiltProblem, ModelError, QualityChoice, build_problem
from solver.calibrate import (
    FittedFactors,
    Observation,
    fit_factors,
    mean_ttft_s,
    observable,
)
from solver.changes import (
    Change,
    ChangeKind,
    Question,
    allow_format,
    carry_over,
    device_keys,
    one_more_gpu,
    possible_changes,
)
from solver.check import TOLERANCE, Violation, evaluate, score, violations
from solver.compare import Comparison, ComparisonRow, compare
from solver.explain import FreeGpus, Pace, WhyFree, binding_limits, free_gpus, pace_of
from solver.intervals import plan_intervals
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
from solver.regret import Regret, RegretRule, Rival, regret
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
from solver.what_if import Effect, what_if

__all__ = [
    "BASELINES",
    "OPTIMAL_GAP",
    "PARETO_GOALS",
    "TOLERANCE",
    "BackendName",
    "Baseline",
    "BatchOption",
    "BuiltProblem",
    "Change",
    "ChangeKind",
    "Comparison",
    "ComparisonRow",
    "DeviceClass",
    "Effect",
    "Evaluation",
    "FittedFactors",
    "FormatChoice",
    "FreeGpus",
    "Goal",
    "Limits",
    "Memory",
    "ModelError",
    "Objective",
    "Observation",
    "Pace",
    "ParetoAxis",
    "ParetoPoint",
    "ParetoProgress",
    "ParetoSet",
    "PipelineProblem",
    "Plan",
    "PlanSimulation",
    "Progress",
    "QualityChoice",
    "Question",
    "Regret",
    "RegretRule",
    "Remedy",
    "Rival",
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
    "WhyFree",
    "allow_format",
    "batch_lengths",
    "binding_limits",
    "build_problem",
    "carry_over",
    "compare",
    "default_micro_batches",
    "device_keys",
    "evaluate",
    "even_split",
    "fit_factors",
    "free_gpus",
    "mean_ttft_s",
    "observable",
    "one_more_gpu",
    "pace_of",
    "pareto",
    "plan_intervals",
    "possible_changes",
    "regret",
    "relative_gap",
    "score",
    "simulate_plan",
    "simulated_pipeline",
    "solve",
    "status_of",
    "sweep",
    "violations",
    "what_if",
]
