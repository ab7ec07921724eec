"""The baselines, one row each: name, rule, source, what the rule leaves open, and the planner."""

from collections.abc import Callable
from dataclasses import dataclass

from solver.baselines.budget import Budget
from solver.baselines.even import even_plans
from solver.baselines.even_tp import even_split_tp
from solver.baselines.judging import Proposal, best_of
from solver.baselines.layouts import single_gpus
from solver.baselines.llmpq_search import adabits, llmpq_search
from solver.baselines.per_type import pipeline_per_type
from solver.baselines.proportional import memory_proportional, speed_proportional
from solver.baselines.published import pipeedge, uniform
from solver.baselines.transfer import bit_width_transfer
from solver.objective import Limits, Objective
from solver.problem import PipelineProblem

__all__ = ["BASELINES", "Baseline"]

LLM_PQ = "LLM-PQ (arXiv 2403.01136) and the code released with it"
BEST = "the best uniform format and micro-batch sizes"
SIZE = (
    "one tensor-parallel size for all stages, where nodes differ the largest of the request's that "
    "divides each node's GPUs of a type and the attention heads, a smaller one where no plan of it "
    "keeps the limits"
)
VLLM_GUIDE = "https://docs.vllm.ai/en/latest/serving/parallelism_scaling/"
THETA = "the least theta of a few whose plans keep the quality limit"
ROOM = "room for the head on every GPU where that is needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """
    A planner that people use or have published.

    Parameters
    ----------
    name, title
        For programs and for people.
    rule, source
        One sentence on what it does, and where that is said.
    chosen
        What its rule leaves open and how it was chosen here, in the baseline's favour.
    propose
        Its plan for a problem, limits and objective, in this time.
    in_space
        Whether its plans are single pipelines, which the bound of a search covers.
    """

    name: str
    title: str
    rule: str
    source: str
    chosen: str
    propose: Callable[[PipelineProblem, Limits, Objective, Budget], Proposal]
    in_space: bool = True


def _even(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    plans = budget.while_left(even_plans(problem, single_gpus(problem)))
    found = best_of(problem, plans, limits, objective)
    reason = budget.no_plan("no format is run by all GPUs, each a stage by itself")
    return Proposal(judged=found, reason="" if found else reason)


BASELINES = (
    Baseline(
        name="even-split",
        title="even split",
        rule="Equal layer counts over all GPUs in the order given, extra layers before the last.",
        source="vLLM's default pipeline partition (get_pp_indices)",
        chosen=BEST,
        propose=_even,
    ),
    Baseline(
        name="even-split-tp",
        title="even split with TP",
        rule="Tensor parallelism over the GPUs of a node, equal layer counts over nodes in the "
        "order given, extra layers before the last.",
        source=f"vLLM's recommendation ({VLLM_GUIDE}); get_pp_indices",
        chosen=f"{BEST}; {SIZE}",
        propose=even_split_tp,
    ),
    Baseline(
        name="memory-proportional",
        title="memory-proportional",
        rule="Layers in proportion to each GPU's memory, by largest remainders.",
        source="llama.cpp's default split by free memory; exo's ring memory-weighted partitioning",
        chosen=BEST,
        propose=memory_proportional,
    ),
    Baseline(
        name="speed-proportional",
        title="speed-proportional",
        rule="Layers in proportion to each GPU's speed on one layer over prefill and decode.",
        source="asked for in exo's issues 701 and 957",
        chosen=f"{BEST}; speeds at micro-batches of batch / GPUs",
        propose=speed_proportional,
    ),
    Baseline(
        name="pipeline-per-type",
        title="pipeline per type",
        rule="An even split over the GPUs of each type by itself, the batch divided among them.",
        source="replicas of equal GPUs side by side, as engines are deployed today",
        chosen="the GPU types in use and the division of the batch, by the goal; per pipeline "
        + BEST,
        propose=pipeline_per_type,
        in_space=False,
    ),
    Baseline(
        name="uniform",
        title="Uniform",
        rule="Equal layer counts at the first of 16, 8, 4, 3 bits that fits; decode by batch / "
        "GPUs.",
        source=LLM_PQ,
        chosen="the best of the prefill sizes that its rule tries",
        propose=uniform,
    ),
    Baseline(
        name="pipeedge",
        title="PipeEdge",
        rule="The least slowest decode stage at the first of 16, 8, 4, 3 bits that fits, in the "
        "order given; both phases by batch / GPUs.",
        source=f"PipeEdge (arXiv 2110.14895) as {LLM_PQ} state it",
        chosen="nothing",
        propose=pipeedge,
    ),
    Baseline(
        name="adabits",
        title="adabits",
        rule="The least quality loss that memory allows in the order given, times ignored; both "
        "phases by batch / GPUs.",
        source=LLM_PQ,
        chosen=ROOM,
        propose=adabits,
    ),
    Baseline(
        name="bit-width-transfer",
        title="bit-width transfer",
        rule="From adabits, layers moved from the slowest GPU to others in exchange for bits, over "
        "all orders of GPU types and prefill sizes.",
        source=f"{LLM_PQ} (its heuristic)",
        chosen=f"{THETA}; {ROOM}",
        propose=bit_width_transfer,
    ),
    Baseline(
        name="llm-pq",
        title="LLM-PQ search",
        rule="LLM-PQ's integer program as published, over all orders of GPU types and prefill "
        "sizes; decode by batch / GPUs.",
        source=LLM_PQ,
        chosen=f"{THETA}; of all its plans the best feasible one; {ROOM}",
        propose=llmpq_search,
    ),
)
