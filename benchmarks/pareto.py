"""Pareto sets against one solve, 48 layers on 6 GPUs: ``python -m benchmarks.pareto``."""

from time import process_time

from api.request import parse_request, prepare
from solver import Goal, Objective, PipelineProblem, StopRule, pareto, solve

REQUEST = {
    "model": "opt-30b",
    "cluster": {
        "nodes": [
            {"name": "t4-node", "gpus": [{"type": "T4", "count": 4}]},
            {"name": "v100-node", "gpus": [{"type": "V100-32G", "count": 2}]},
        ]
    },
    "workload": {"batch_size": 32, "prompt_tokens": 512, "output_tokens": 100},
    "objective": "cost",  # asks for prices
}
STOP = StopRule(gap=1e-3, time_limit_s=300)
POINTS = 28
"""Steps of 1/27 of the range: quality loss comes in steps too, so that the set has fewer points."""
PAIRS = (
    (Goal.LATENCY, Goal.QUALITY_LOSS),
    (Goal.LATENCY, Goal.COST),
    (Goal.LATENCY, Goal.GPUS),
    (Goal.TTFT, Goal.TPOT),
    (Goal.TPOT, Goal.QUALITY_LOSS),
    (Goal.COST, Goal.QUALITY_LOSS),
)


def main() -> None:
    """Time every pair, with a solve of either goal before and after it."""
    prepared = prepare(parse_request(REQUEST))
    print("objectives               points  complete  gap      solves         set   ratio")
    for goals in PAIRS:
        solves = [_solve_s(prepared.problem, goal) for goal in goals]
        begun = process_time()
        found = pareto(prepared.problem, goals, limits=prepared.limits, stop=STOP, points=POINTS)
        whole = process_time() - begun
        solves += [_solve_s(prepared.problem, goal) for goal in goals]
        mean = [(first + last) / 2 for first, last in zip(solves[:2], solves[2:], strict=True)]
        exact = min(max(p.gaps[i] for p in found.points) for i in range(len(goals)))
        print(
            f"{goals[0]} and {goals[1]}".ljust(25)
            + f"{len(found.points):6}  {'yes' if found.is_complete else 'no':8}  {exact:.2%}"
            f"{mean[0]:7.2f} {mean[1]:5.2f} s {whole:7.1f} s {whole / max(mean):6.1f}",
            flush=True,
        )


def _solve_s(problem: PipelineProblem, goal: Goal) -> float:
    """CPU seconds of one solve."""
    begun = process_time()
    solve(problem, objective=Objective(goal=goal), stop=STOP)
    return process_time() - begun


if __name__ == "__main__":
    main()
