"""Planners that people use or have published, under the judge that all plans have."""

from solver.baselines.budget import Budget
from solver.baselines.even import even_split
from solver.baselines.judging import Judged, Proposal
from solver.baselines.per_type import gpu_types, pipeline_per_type
from solver.baselines.table import BASELINES, Baseline

__all__ = [
    "BASELINES",
    "Baseline",
    "Budget",
    "Judged",
    "Proposal",
    "even_split",
    "gpu_types",
    "pipeline_per_type",
]
