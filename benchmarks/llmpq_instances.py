"""
Instances on which LLM-PQ's problem is solved: the examples of its clusters, and drawn ones.

The drawn ones stand in ``llmpq_instances.csv``, one a row, so that they never change: real GPUs,
each type a node, real models, random lengths and batch sizes. ``four_bit_share`` fixes theta: all
layers at 4 bits cost this share of the latency of an even split. Where ``spread`` is not 0, no two
layers lose alike: layer i loses 1 + spread sin(7 i + phase) times what the catalogue says.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from api.example_files import example_names, example_path
from api.reading import read_text
from api.request import parse_request, prepare
from solver import Limits, Objective, PipelineProblem, evaluate, even_split
from solver.llmpq import LlmPqRules, from_pipeline, solve_fast, to_plan

__all__ = ["LlmPqInstance", "drawn", "examples", "load_rows"]

ROWS = Path(__file__).with_suffix(".csv")
SHARE_IN_EXAMPLES = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmPqInstance:
    """A problem with the weight of quality, in seconds per nat."""

    name: str
    problem: PipelineProblem
    theta_s_per_nat: float


def examples() -> Iterator[LlmPqInstance]:
    """The clusters of LLM-PQ that ship as examples."""
    for name in example_names():
        if name.startswith("llmpq-"):
            path = example_path(name)
            body, _ = read_text(path.read_text(encoding="utf-8"))
            problem = prepare(parse_request(body), folder=path.parent).problem
            yield _weighed(name, problem, SHARE_IN_EXAMPLES)


def load_rows() -> list[dict[str, str]]:
    """The rows of the drawn instances."""
    with ROWS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def drawn() -> Iterator[LlmPqInstance]:
    """The drawn instances: 50 of at most 6 GPUs and 48 layers, and two of 10 GPUs."""
    for row in load_rows():
        problem = prepare(parse_request(_body(row))).problem
        factor = 1 + float(row["spread"]) * np.sin(
            7 * np.arange(problem.num_layers) + float(row["phase"])
        )
        varied = replace(problem, loss_nats=problem.loss_nats * factor[:, None])
        yield _weighed(row["name"], varied, float(row["four_bit_share"]))


def _weighed(name: str, problem: PipelineProblem, four_bit_share: float) -> LlmPqInstance:
    """The instance in which all layers at 4 bits cost this share of an even split's latency."""
    four = [f for f, fmt in enumerate(problem.format_names) if fmt.startswith("w4")]
    loss = float(problem.loss_nats[:, four].sum(axis=0).max())
    theta = four_bit_share * _usual_latency_s(problem) / loss
    return LlmPqInstance(name=name, problem=problem, theta_s_per_nat=theta)


def _usual_latency_s(problem: PipelineProblem) -> float:
    """Latency of the even split or, where that does not fit, of LLM-PQ's fastest plan."""
    even = even_split(problem, Limits(), Objective())
    if even is not None:
        return even[1].latency_s
    report = solve_fast(from_pipeline(problem, theta_s_per_nat=0.0), LlmPqRules.corrected())
    if report.plan is None:
        return 1.0
    return evaluate(problem, to_plan(problem, report.plan)).latency_s


def _body(row: dict[str, str]) -> dict[str, object]:
    """The request of a row."""
    groups = [group.split("x", 1) for group in row["gpus"].split("+")]
    nodes = [
        {"name": f"{gpu.lower()}-node", "gpus": [{"type": gpu, "count": int(count)}]}
        for count, gpu in groups
    ]
    return {
        "model": row["model"],
        "engine": row["engine"],
        "cluster": {"nodes": nodes, "nic": row["nic"]},
        "workload": {
            "batch_size": int(row["batch_size"]),
            "prompt_tokens": int(row["prompt_tokens"]),
            "output_tokens": int(row["output_tokens"]),
        },
    }
