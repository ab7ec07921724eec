"""What a plot of an answer says over it."""

from api.headline import headline
from api.render import micro_batch_line
from api.render_tables import metric_lines
from api.schemas.answer import EvaluationAnswer, PlanAnswer, RequestSummary
from api.schemas.comparison import ComparisonAnswer
from api.schemas.simulation import SimulationAnswer
from profiles.units import MS

__all__ = ["comparison_title", "plan_title", "replay_title"]

SHOWN = ("TTFT", "TPOT", "latency", "throughput")
MARKS = "✔✘? "
STARTS = {
    "barrier": "decode starts once the whole batch is prefilled",
    "overlapped": "decode starts before the whole batch is prefilled",
}


def plan_title(answer: PlanAnswer | EvaluationAnswer) -> str:
    """Model, cluster, workload; what was found and how far it is proven; the plan's values."""
    values = " · ".join(f"{name} {value}" for name, value in metric_lines(answer) if name in SHOWN)
    return "\n".join([*_found(answer), values, micro_batch_line(answer)])


def comparison_title(answer: ComparisonAnswer) -> str:
    """Model, cluster, workload; what was found and how far it is proven."""
    return "\n".join(_found(answer.best))


def replay_title(answer: SimulationAnswer) -> str:
    """Model, cluster and workload; when decode started; the first token and the last."""
    values = answer.simulated
    return (
        f"Replay of {_asked(answer.request, answer.plan.batch_size)}\n{STARTS[answer.start]}: "
        f"first tokens of all after {values.ttft_ms * MS:.3f} s, "
        f"the batch after {values.batch_latency_s:.3f} s"
    )


def _found(answer: PlanAnswer | EvaluationAnswer) -> list[str]:
    batch = None if answer.plan is None else answer.plan.batch_size
    return [_asked(answer.request, batch), next(headline(answer)).plain.lstrip(MARKS)]


def _asked(request: RequestSummary, batch: int | None) -> str:
    size = "" if batch is None else f"batch {batch}, "
    means = f" (means of {request.num_lengths} lengths)" if request.num_lengths > 1 else ""
    return (
        f"{request.model} on {request.cluster}: {size}prompt {request.prompt_tokens}, "
        f"output {request.output_tokens} tokens{means}"
    )
