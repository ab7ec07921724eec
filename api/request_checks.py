"""What a request must keep to beyond its schema: known prices, and a size that can be solved."""

from api.goals import PRICED_GOALS
from api.prepared import Prepared
from api.problems import ProblemList, pointer_to
from profiles.cluster import Cluster, Workload
from profiles.errors import InputError
from solver import Objective, default_micro_batches
from solver.build import FormatChoice

__all__ = [
    "MAX_PROBLEM_SIZE",
    "check_prices",
    "check_size",
    "size_of_problem",
    "size_of_request",
    "unpriced_groups",
]

MAX_PROBLEM_SIZE = 1_000_000_000
"""Largest layers x GPUs x formats x micro-batch pairs that is taken on."""


def check_prices(cluster: Cluster, objective: Objective, *, is_limited: bool) -> None:
    """Refuse to optimise, or to limit, a price that is not known."""
    by_goal = objective.goal in PRICED_GOALS
    if not (by_goal or is_limited):
        return
    why = f"goal {objective.goal.value!r}" if by_goal else "limits.usd_per_hour"
    problems = ProblemList()
    for node_at, group_at in unpriced_groups(cluster):
        gpu = cluster.nodes[node_at].groups[group_at].gpu
        problems.add(
            pointer_to("cluster", "nodes", node_at, "gpus", group_at, "price_usd_per_hour"),
            f"No price of {gpu.name} is known, which {why} needs; "
            "give price_usd_per_hour for the GPU or for its node.",
        )
    problems.raise_if_any()


def unpriced_groups(cluster: Cluster) -> list[tuple[int, int]]:
    """Positions (node, group) of GPUs without a price."""
    return [
        (node_at, group_at)
        for node_at, node in enumerate(cluster.nodes)
        if node.price_usd_per_hour is None
        for group_at, group in enumerate(node.groups)
        if group.price_usd_per_hour is None
    ]


def size_of_request(
    num_layers: int, cluster: Cluster, formats: FormatChoice, workload: Workload
) -> dict[str, int]:
    """The numbers that make a problem large, before it is built."""
    pairs = 0
    for batch in workload.batch_sizes:
        every = default_micro_batches(batch)
        prefill = [size for size in workload.prefill_micro_batches or every if size <= batch]
        decode = [size for size in workload.decode_micro_batches or every if size <= batch]
        pairs += len(prefill) * len(decode)
    gpus = sum(group.usable for node in cluster.nodes for group in node.groups)
    return {
        "layers": num_layers,
        "GPUs": gpus,
        "formats": len(formats.names),
        "micro-batch pairs": pairs,
    }


def size_of_problem(prepared: Prepared) -> dict[str, int]:
    """The numbers that make a problem large."""
    problem = prepared.problem
    return {
        "layers": problem.num_layers,
        "GPUs": problem.num_gpus,
        "formats": len(problem.format_names),
        "micro-batch pairs": sum(len(b.prefill) * len(b.decode) for b in problem.batches),
    }


def check_size(numbers: dict[str, int], max_size: int, *, what_if: bool = False) -> None:
    """
    Refuse a problem whose numbers multiply to more than is allowed.

    With ``what_if`` it is the problem with all that what-if tries: more formats, one more GPU.
    """
    size = 1
    for number in numbers.values():
        size *= number
    if size > max_size:
        product = " x ".join(f"{number} {what}" for what, number in numbers.items())
        asked = " with what_if" if what_if else ""
        remedy = "Leave out what_if, or give" if what_if else "Give"
        raise InputError(
            f"The problem{asked} is too large: {product} = {size:.3g}, {max_size:.3g} are allowed. "
            f"{remedy} fewer micro-batch sizes (workload.prefill_micro_batches, "
            "decode_micro_batches), batch sizes, formats or GPUs.",
        )
