"""The integer program of one pair of micro-batch sizes, for other solvers to read."""

from dataclasses import dataclass, replace
from pathlib import Path

from profiles.errors import HetplanError, InputError
from solver.formulation import formulate
from solver.instance import Instance
from solver.linear import LinearModel
from solver.model_names import column_names, row_names
from solver.objective import Goal, Limits, Objective, StopRule
from solver.problem import BatchOption, PipelineProblem
from solver.result import Status
from solver.solve import solve
from solver.target import Target

__all__ = ["NoPairError", "Pair", "PairModel", "choose_pair", "pair_model", "write_pair_model"]

# The pair of a plan within this gap of the best is good enough to be looked at.
_CHOICE_GAP = 0.01


class NoPairError(HetplanError):
    """
    There is no plan to choose a pair by.

    Parameters
    ----------
    message
        What to do.
    status
        Whether no plan exists, or none was found within the limits of the search.
    """

    def __init__(self, message: str, *, status: Status) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    What one integer program is about.

    Parameters
    ----------
    batch_size, prefill_micro_batch, decode_micro_batch
        The sizes.
    price_usd_per_hour
        The price of the plan, for the cost goal, which is linear at one price only; else None.
    """

    batch_size: int
    prefill_micro_batch: int
    decode_micro_batch: int
    price_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairModel:
    """The integer program with its names; its objective is in the unit of the goal."""

    model: LinearModel
    columns: tuple[str, ...]
    rows: tuple[str, ...]


def choose_pair(
    problem: PipelineProblem,
    objective: Objective,
    limits: Limits,
    stop: StopRule,
    *,
    batch_size: int | None = None,
    prefill_micro_batch: int | None = None,
    decode_micro_batch: int | None = None,
) -> Pair:
    """
    The pair asked for; what is left open is that of the best plan, found to one percent.

    Parameters
    ----------
    problem, objective, limits, stop
        As for `solver.solve`.
    batch_size, prefill_micro_batch, decode_micro_batch
        What the pair must have; None leaves it open.

    Raises
    ------
    InputError
        Where a size is no candidate, or the problem does not have such a pair; the pointer of a
        size is its name here.
    NoPairError
        Where no plan was found to choose one by.
    """
    _check_sizes(problem, batch_size, prefill_micro_batch, decode_micro_batch)
    batches = _matching(problem, batch_size, prefill_micro_batch, decode_micro_batch)
    only = batches[0]
    is_open = len(batches) > 1 or len(only.prefill) > 1 or len(only.decode) > 1
    if not is_open and objective.goal is not Goal.COST:
        sizes = problem.micro_batches
        return Pair(
            batch_size=only.size,
            prefill_micro_batch=int(sizes[only.prefill[0]]),
            decode_micro_batch=int(sizes[only.decode[0]]),
        )
    report = solve(
        replace(problem, batches=batches),
        objective=objective,
        limits=limits,
        stop=replace(stop, gap=max(stop.gap, _CHOICE_GAP)),
    )
    if report.plan is None or report.evaluation is None:
        raise NoPairError(
            _no_plan(report.status, is_open=is_open, goal=objective.goal), status=report.status
        )
    price = report.evaluation.price_usd_per_hour
    return Pair(
        batch_size=report.plan.batch_size,
        prefill_micro_batch=report.plan.prefill_micro_batch,
        decode_micro_batch=report.plan.decode_micro_batch,
        price_usd_per_hour=price if objective.goal is Goal.COST else None,
    )


def _no_plan(status: Status, *, is_open: bool, goal: Goal) -> str:
    what = "No plan exists" if status is Status.INFEASIBLE else "No plan was found in time"
    needs = ["a pair of micro-batch sizes"] * is_open
    remedies = ["give the batch size and both micro-batch sizes"] * is_open
    if goal is Goal.COST:
        needs.append("the price at which cost is linear")
        remedies.append("choose another goal than cost")
    return f"{what} from which to take {' and '.join(needs)}; {' and '.join(remedies)}."


def _check_sizes(
    problem: PipelineProblem, size: int | None, prefill: int | None, decode: int | None
) -> None:
    """Each size by itself must be a candidate of some batch."""
    micro = problem.micro_batches
    candidates = {
        "batch_size": (size, {batch.size for batch in problem.batches}),
        "prefill_micro_batch": (
            prefill,
            {int(micro[i]) for batch in problem.batches for i in batch.prefill},
        ),
        "decode_micro_batch": (
            decode,
            {int(micro[i]) for batch in problem.batches for i in batch.decode},
        ),
    }
    for name, (given, known) in candidates.items():
        if given is not None and given not in known:
            raise InputError(
                f"{name} is {given}, which is not among the candidates: "
                f"{', '.join(map(str, sorted(known)))}.",
                pointer=f"/{name}",
            )


def _matching(
    problem: PipelineProblem, size: int | None, prefill: int | None, decode: int | None
) -> tuple[BatchOption, ...]:
    def kept(indices: tuple[int, ...], wanted: int | None) -> tuple[int, ...]:
        return tuple(i for i in indices if wanted in (None, int(problem.micro_batches[i])))

    options = [
        replace(batch, prefill=kept(batch.prefill, prefill), decode=kept(batch.decode, decode))
        for batch in problem.batches
        if size in (None, batch.size)
        and kept(batch.prefill, prefill)
        and kept(batch.decode, decode)
    ]
    if options:
        return tuple(options)
    known = "; ".join(
        f"batch {batch.size} with prefill {_list(problem, batch.prefill)} and decode "
        f"{_list(problem, batch.decode)}"
        for batch in problem.batches
    )
    asked = f"batch {size or 'any'}, prefill {prefill or 'any'}, decode {decode or 'any'}"
    raise InputError(f"There is no pair of micro-batch sizes with {asked}. There are: {known}.")


def _list(problem: PipelineProblem, indices: tuple[int, ...]) -> str:
    return ", ".join(str(problem.micro_batches[i]) for i in indices)


def pair_model(
    problem: PipelineProblem, objective: Objective, limits: Limits, pair: Pair
) -> PairModel:
    """
    State the integer program of a pair.

    Parameters
    ----------
    problem, objective, limits
        As for `solver.solve`. Throughput becomes seconds per token, to be minimised.
    pair
        As `choose_pair` returns it.
    """
    sizes = [int(size) for size in problem.micro_batches]
    price = pair.price_usd_per_hour
    instance = Instance(
        problem=problem,
        batch=next(batch for batch in problem.batches if batch.size == pair.batch_size),
        prefill=sizes.index(pair.prefill_micro_batch),
        decode=sizes.index(pair.decode_micro_batch),
    )
    if price is not None:
        instance = replace(instance, price_low=price, price_high=price)
    form = formulate(instance, limits)
    goal = Target(objective=objective).linear(form, 0.0)
    model = form.model({column: goal.scale * c for column, c in goal.expression.items()})
    columns = column_names(form)
    return PairModel(model=model, columns=tuple(columns), rows=tuple(row_names(model, columns)))


def write_pair_model(pair_model: PairModel, path: Path, remarks: tuple[str, ...] = ()) -> None:
    """
    Write the model as an LP or MPS file, by its suffix.

    Raises
    ------
    InputError, OSError
        As `solver.backends.pulp_model.write_model`.
    """
    from solver.backends.pulp_model import pulp_problem, write_model

    problem = pulp_problem(
        pair_model.model, column_names=pair_model.columns, row_names=pair_model.rows
    )
    write_model(problem, path, remarks)
