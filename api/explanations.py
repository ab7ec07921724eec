"""Why GPUs stay free, in words that say no more than is proven."""

from api.prepared import Prepared
from api.schemas import answer as out
from solver import Evaluation, FreeGpus, WhyFree, free_gpus

__all__ = ["unused_gpus"]

_TEXTS = {
    WhyFree.NO_FORMAT: "they run no format that a layer may take",
    WhyFree.TOO_SMALL: "not even one layer fits them",
    WhyFree.GPU_LIMIT: "limits.gpus is reached",
    WhyFree.PRICE_LIMIT: "limits.usd_per_hour leaves no room for one more",
    WhyFree.OPTIMAL: "no plan is better, with them or without",
    WhyFree.BOUND: "no plan is more than {gap:.2g} % better, with them or without",
    WhyFree.UNKNOWN: "nothing is proven about them",
}
_IDLE = "no kernel of the engine runs the formats allowed, or none of them may be used"


def unused_gpus(
    prepared: Prepared, evaluation: Evaluation | None, gap: float | None
) -> list[out.UnusedGpus]:
    """
    GPUs that a plan leaves free.

    Parameters
    ----------
    prepared, evaluation
        What is asked, and the plan's values.
    gap
        Of the plan; None where nothing is proven.
    """
    if evaluation is None:
        return []
    free = free_gpus(prepared.problem, prepared.limits, evaluation, gap)
    idle = [
        out.UnusedGpus(node=gpus.node, gpu=gpus.gpu, count=gpus.count, why="no_format", text=_IDLE)
        for gpus in prepared.background.idle
    ]
    return [_unused(prepared, gpus, gap) for gpus in free] + idle


def _unused(prepared: Prepared, gpus: FreeGpus, gap: float | None) -> out.UnusedGpus:
    device = prepared.problem.devices[gpus.device]
    return out.UnusedGpus(
        node=prepared.problem.node_names[device.node],
        gpu=prepared.background.gpu_names[gpus.device],
        count=gpus.count,
        why=gpus.why.value,
        text=_TEXTS[gpus.why].format(gap=100 * (gap or 0.0)),
    )
