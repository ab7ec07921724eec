"""LLM-PQ's own problem, as published and corrected, and two searches that solve it."""

from solver.llmpq.cases import (
    LlmPqCase,
    case_fits,
    case_value,
    enumerate_cases,
    llmpq_value,
    prefill_sizes,
)
from solver.llmpq.fast import solve_fast
from solver.llmpq.naive import MILP_TIME_S, NAIVE_GAP, NaiveModel, naive_model, solve_naive
from solver.llmpq.pipeline import from_pipeline, to_plan
from solver.llmpq.problem import LlmPqPlan, LlmPqProblem, LlmPqRules
from solver.llmpq.result import CaseReport, LlmPqReport

__all__ = [
    "MILP_TIME_S",
    "NAIVE_GAP",
    "CaseReport",
    "LlmPqCase",
    "LlmPqPlan",
    "LlmPqProblem",
    "LlmPqReport",
    "LlmPqRules",
    "NaiveModel",
    "case_fits",
    "case_value",
    "enumerate_cases",
    "from_pipeline",
    "llmpq_value",
    "naive_model",
    "prefill_sizes",
    "solve_fast",
    "solve_naive",
    "to_plan",
]
