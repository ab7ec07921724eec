"""What-if against one solve, 48 layers on 6 GPUs: ``python -m benchmarks.what_if``."""

from collections.abc import Mapping
from time import process_time

from api.request import parse_request, prepare
from api.service import plan

CLUSTERS: tuple[Mapping[str, int], ...] = (
    {"T4": 4, "V100-32G": 2},
    {"T4": 4, "A10": 2},
    {"T4": 2, "A10": 2, "A100-40G-SXM": 2},
    {"V100-32G": 3, "A100-40G-SXM": 3},
)
"""A node per type."""


def request(cluster: Mapping[str, int]) -> dict[str, object]:
    """OPT-30b on a cluster, gap 0.1 %."""
    nodes = [
        {"name": f"node-{number}", "gpus": [{"type": gpu, "count": count}]}
        for number, (gpu, count) in enumerate(cluster.items())
    ]
    return {
        "model": "opt-30b",
        "cluster": {"nodes": nodes},
        "workload": {"batch_size": 32, "prompt_tokens": 512, "output_tokens": 100},
        "solver": {"gap": 1e-3, "time_limit_s": 600},
    }


def seconds(cluster: Mapping[str, int], *, what_if: bool) -> tuple[float, int]:
    """CPU seconds of a solve, with or without what-if, and how many effects it confirmed."""
    prepared = prepare(parse_request({**request(cluster), "what_if": what_if}))
    begun = process_time()
    answer = plan(prepared)
    taken = process_time() - begun
    return taken, sum(effect.confirmed for effect in answer.what_if or ())


def main() -> None:
    """Time one solve without and one with what-if on each cluster."""
    print(
        "| 6 GPUs, a node per type | solve | what-if | ratio | confirmed |\n|---|--:|--:|--:|--:|"
    )
    for cluster in CLUSTERS:
        alone, _ = seconds(cluster, what_if=False)
        both, confirmed = seconds(cluster, what_if=True)
        name = " + ".join(f"{count}x {gpu}" for gpu, count in cluster.items())
        more = both - alone
        print(
            f"| {name} | {alone:.2f} | {more:.2f} | {more / alone:.1f} | {confirmed} |", flush=True
        )


if __name__ == "__main__":
    main()
