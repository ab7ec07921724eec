"""
Many problems to one table: a row per point, solved side by side in processes.

Nothing here knows what varies: a point brings its labels and its problem, or a function that makes
the problem where it is solved. Every process solves with one thread.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain

import pandas as pd

from profiles.errors import BackendError, HetplanError, InputError
from solver.backends.registry import BackendName
from solver.check import score
from solver.objective import Limits, Objective, StopRule
from solver.problem import PipelineProblem
from solver.result import Evaluation, Plan, SolveReport
from solver.solve import solve

__all__ = [
    "SWEEP_COLUMNS",
    "Label",
    "SweepEvent",
    "SweepPoint",
    "SweepProblem",
    "sweep",
]

Label = str | int | float | bool | None
Row = dict[str, Label]

_TEXTS, _FLOATS, _WHOLES = "string", "float64", "Int64"
SWEEP_COLUMNS: Mapping[str, str] = {
    "status": _TEXTS,
    "stop_reason": _TEXTS,
    "objective_value": _FLOATS,
    "bound": _FLOATS,
    "gap": _FLOATS,
    "ttft_s": _FLOATS,
    "tpot_s": _FLOATS,
    "latency_s": _FLOATS,
    "throughput_tokens_per_s": _FLOATS,
    "price_usd_per_hour": _FLOATS,
    "cost_usd_per_million_tokens": _FLOATS,
    "loss_nats": _FLOATS,
    "perplexity": _FLOATS,
    "gpus": _WHOLES,
    "stages": _WHOLES,
    "batch_size": _WHOLES,
    "prefill_micro_batch": _WHOLES,
    "decode_micro_batch": _WHOLES,
    "even_split_value": _FLOATS,
    "plan": _TEXTS,
    "reason": _TEXTS,
}
"""Columns after the labels, with their pandas types; ``status`` is ``failed`` where a point could
not be solved at all, and ``reason`` says why there is no plan."""

_OF_EVALUATION = (
    "ttft_s",
    "tpot_s",
    "latency_s",
    "throughput_tokens_per_s",
    "price_usd_per_hour",
    "cost_usd_per_million_tokens",
    "loss_nats",
    "perplexity",
    "gpus",
)
_OF_PRICES = ("price_usd_per_hour", "cost_usd_per_million_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepProblem:
    """
    What `solver.solve` asks for, with the same defaults.

    ``unpriced`` are the device classes whose price is not known, by index: plans that use one have
    neither price nor cost in the table.
    """

    problem: PipelineProblem
    objective: Objective = field(default_factory=Objective)
    limits: Limits = field(default_factory=Limits)
    stop: StopRule = field(default_factory=StopRule)
    backend: BackendName = BackendName.HIGHS
    unpriced: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """
    A point of a sweep.

    Parameters
    ----------
    labels
        What sets it apart, by column; never a name of `SWEEP_COLUMNS`.
    problem
        What is solved there, or what makes it: called in the process that solves it.
    """

    labels: Mapping[str, Label]
    problem: SweepProblem | Callable[[], SweepProblem]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEvent:
    """
    A point has been solved.

    Parameters
    ----------
    index, row
        Position of the point, and its row of the table.
    done, total
        Points solved so far, and in all.
    """

    index: int
    row: Mapping[str, Label]
    done: int
    total: int


def sweep(
    points: Sequence[SweepPoint],
    *,
    workers: int = 1,
    on_event: Callable[[SweepEvent], None] | None = None,
) -> pd.DataFrame:
    """
    Solve every point.

    Parameters
    ----------
    points
        In the order of the table.
    workers
        Processes that solve, one thread each; 1 solves in this one.
    on_event
        Called after every point, in whatever order they end.

    Returns
    -------
    DataFrame
        A row per point: its labels, then `SWEEP_COLUMNS`, in base units. The same for the same
        points, unless a clock limit ended a search (``stop_reason``).

    Raises
    ------
    InputError
        When there is no worker, or a label takes the name of a column.
    BackendError
        When a process died.
    """
    names = dict.fromkeys(chain.from_iterable(point.labels for point in points))
    _check(names, workers)
    rows: list[Row] = [{}] * len(points)
    for done, (index, row) in enumerate(_rows(points, workers), start=1):
        rows[index] = row
        if on_event is not None:
            on_event(SweepEvent(index=index, row=row, done=done, total=len(points)))
    table = pd.DataFrame(rows, columns=[*names, *SWEEP_COLUMNS])
    return table.astype(dict(SWEEP_COLUMNS))


def _check(names: Iterable[str], workers: int) -> None:
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more.")
    for name in names:
        if name in SWEEP_COLUMNS:
            raise InputError(f"Label {name!r} is the name of a column of results; choose another.")


def _rows(points: Sequence[SweepPoint], workers: int) -> Iterator[tuple[int, Row]]:
    """Position and row of every point, as soon as it is done."""
    from joblib import Parallel, delayed  # only a sweep pays for loading it

    jobs = (delayed(_solved)(index, point) for index, point in enumerate(points))
    with _one_thread_each(workers):
        pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        try:
            yield from pool(jobs)
        except BrokenProcessPool as error:
            raise BackendError(
                "A process of the sweep died, often for want of memory; use fewer workers."
            ) from error


def _one_thread_each(workers: int) -> AbstractContextManager[object]:
    """Processes whose numerical libraries have one thread; nothing to set in this process."""
    from joblib import parallel_config

    if workers == 1:
        return nullcontext()
    context: AbstractContextManager[object] = parallel_config("loky", inner_max_num_threads=1)
    return context


# -- one point ------------------------------------------------------------------------------------


def _solved(index: int, point: SweepPoint) -> tuple[int, Row]:
    """Position and row of a point; a failure of whatever kind is a row too."""
    row: Row = dict(point.labels)
    try:
        asked = point.problem if isinstance(point.problem, SweepProblem) else point.problem()
        row |= _results(asked, _report(asked))
    except HetplanError as error:
        row |= {"status": "failed", "reason": str(error)}
    except Exception as error:  # one bad point must not cost the table
        row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return index, row


def _report(asked: SweepProblem) -> SolveReport:
    return solve(
        asked.problem,
        objective=asked.objective,
        limits=asked.limits,
        stop=asked.stop,
        backend=asked.backend,
    )


def _results(asked: SweepProblem, report: SolveReport) -> Row:
    row: Row = {
        "status": report.status.value,
        "stop_reason": report.stop_reason.value,
        "objective_value": report.objective,
        "bound": report.bound,
        "gap": report.gap,
    }
    if report.even_split is not None:
        row["even_split_value"] = score(report.even_split[1], asked.objective)
    if report.plan is None or report.evaluation is None:
        return row | {"reason": " ".join(remedy.text for remedy in report.remedies) or None}
    return row | _values(asked, report.plan, report.evaluation)


def _values(asked: SweepProblem, plan: Plan, evaluation: Evaluation) -> Row:
    row: Row = {name: getattr(evaluation, name) for name in _OF_EVALUATION}
    if any(stage.device in asked.unpriced for stage in evaluation.stages):
        row |= dict.fromkeys(_OF_PRICES)
    return row | {
        "stages": len(plan.stages),
        "batch_size": plan.batch_size,
        "prefill_micro_batch": plan.prefill_micro_batch,
        "decode_micro_batch": plan.decode_micro_batch,
        "plan": _in_words(asked.problem, evaluation),
    }


def _in_words(problem: PipelineProblem, evaluation: Evaluation) -> str:
    """Layers and device of every stage, in order: ``20 a/T4 > 12 2x b/A10``."""
    return " > ".join(
        f"{stage.num_layers} {_times(stage.tensor_parallel)}{problem.devices[stage.device].name}"
        for stage in evaluation.stages
    )


def _times(count: int) -> str:
    return f"{count}x " if count > 1 else ""
