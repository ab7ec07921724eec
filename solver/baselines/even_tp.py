"""
The even split with tensor parallelism inside nodes, as vLLM recommends it.

References
----------
vLLM, Parallelism and Scaling, https://docs.vllm.ai/en/latest/serving/parallelism_scaling/: the
tensor-parallel size is the number of GPUs of a node, the pipeline-parallel size that of nodes; one
size for all, and 1 where GPUs do not divide evenly.
"""

from solver.baselines.budget import Budget
from solver.baselines.even import even_plans
from solver.baselines.judging import Judged, Proposal, best_of, better
from solver.baselines.layouts import equal_stages
from solver.objective import Limits, Objective
from solver.problem import PipelineProblem, StageGroup

__all__ = ["even_split_tp", "shared_sizes"]

NO_SIZE = "no tensor-parallel size is allowed on every node and divides its GPUs"
NO_FORMAT = "no format is run by all stages of one tensor-parallel size"


def even_split_tp(
    problem: PipelineProblem, limits: Limits, objective: Objective, budget: Budget
) -> Proposal:
    """
    Even layer counts over stages of one tensor-parallel size, with all GPUs.

    The size is the largest of `shared_sizes`; the next one is tried where no plan of it keeps the
    limits, for want of memory or of a kernel that can be split so far.
    """
    sizes = shared_sizes(problem)
    if not sizes:
        return Proposal(reason=NO_SIZE)
    found: Judged | None = None
    for size in sizes:
        plans = budget.while_left(even_plans(problem, equal_stages(problem, size)))
        found = better(found, best_of(problem, plans, limits, objective), objective)
        if found is not None and not found.violations:
            break
    return Proposal(judged=found, reason="" if found else budget.no_plan(NO_FORMAT))


def shared_sizes(problem: PipelineProblem) -> list[int]:
    """
    Tensor-parallel sizes that divide the GPUs of every device class, largest first.

    Those that do not divide the attention heads are no groups of the problem, or have no format.
    """
    devices = {group.device for group in problem.groups}
    sizes = sorted({group.tensor_parallel for group in problem.groups}, reverse=True)
    return [
        size
        for size in sizes
        if all(
            StageGroup(device=device, tensor_parallel=size) in problem.groups
            and problem.devices[device].count % size == 0
            for device in devices
        )
    ]
