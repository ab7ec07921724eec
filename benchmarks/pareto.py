"""A Pareto set against one solve, 48 layers on 6 GPUs: ``python -m benchmarks.pareto``."""

from time import process_time

from api.request import parse_request, prepare
from solver import Goal, Objective, StopRule, pareto, solve

REQUEST = {
    "model": "opt-30b",
    "cluster": {
        "nodes": [
            {"name": "t4-node", "gpus": [{"type": "T4", "count": 4}]},
            {"name": "v100-node", "gpus": [{"type": "V100-32G", "count": 2}]},
        ]
    },
    "workload": {"batch_size": 32, "prompt_tokens": 512, "output_tokens": 100},
}
STOP = StopRule(gap=1e-3, time_limit_s=3600)
GOALS = (Goal.LATENCY, Goal.QUALITY_LOSS)
POINTS = 28
"""Steps of 1/27 of the range: quality loss comes in steps too, so that the set has fewer points."""


def main() -> None:
    """Time one solve before and after the set, and print what came out."""
    prepared = prepare(parse_request(REQUEST))
    problem, limits = prepared.problem, prepared.limits

    def one() -> float:
        begun = process_time()
        solve(problem, objective=Objective(goal=GOALS[0]), limits=limits, stop=STOP)
        return process_time() - begun

    solves = [one(), one()]
    begun = process_time()
    found = pareto(problem, GOALS, limits=limits, stop=STOP, points=POINTS)
    whole = process_time() - begun
    solves += [one(), one()]
    mean = sum(solves) / len(solves)
    worst = max(point.gaps[0] for point in found.points)
    print(
        f"{len(found.points)} points, complete: {found.is_complete}, gap at most {worst:.2%}\n"
        f"one solve {mean:.2f} CPU s (mean of {len(solves)}), the set {whole:.2f} CPU s: "
        f"{whole / mean:.1f} times"
    )


if __name__ == "__main__":
    main()
