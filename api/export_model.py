"""The command that writes an integer program for other solvers."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from api.cli_input import Overrides, read_request
from api.prepared import Prepared
from api.telling import NO_PLAN, stop, telling
from api.version import hetplan_version
from solver import Status
from solver.model_file import NoPairError, Pair, choose_pair, pair_model, write_pair_model
from solver.model_names import NAME_LEGEND

__all__ = ["Sizes", "export_to"]

_STANDARD_OUTPUT = "model.lp"
_INFEASIBLE = 3
_OPTIONS = {
    "/batch_size": "--batch-size",
    "/prefill_micro_batch": "--prefill-micro-batch",
    "/decode_micro_batch": "--decode-micro-batch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Batch and micro-batch sizes asked for; None leaves the choice to the best plan."""

    batch: int | None = None
    prefill: int | None = None
    decode: int | None = None


def export_to(request: str, overrides: Overrides, sizes: Sizes, output: Path | None) -> None:
    """
    Write the integer program of one pair; tells on standard error which pair it is.

    Parameters
    ----------
    request
        File of the request; - is standard input.
    overrides
        Options in place of what the request says.
    sizes
        What the pair must have.
    output
        File to write, ``.lp`` or ``.mps``; None writes LP to standard output.
    """
    prepared = read_request(request, overrides, {"--output": output})
    with telling(request, options=_OPTIONS):
        pair = _pair(prepared, sizes)
        remarks = _remarks(prepared, pair)
        if output is not None:
            _write(prepared, pair, output, remarks)
        else:
            with TemporaryDirectory() as folder:
                path = Path(folder) / _STANDARD_OUTPUT
                _write(prepared, pair, path, remarks)
                typer.echo(path.read_text(encoding="utf-8"), nl=False)
    typer.echo(f"The model is that of {_words(pair)}.", err=True)


def _pair(prepared: Prepared, sizes: Sizes) -> Pair:
    try:
        return choose_pair(
            prepared.problem,
            prepared.objective,
            prepared.limits,
            prepared.stop,
            batch_size=sizes.batch,
            prefill_micro_batch=sizes.prefill,
            decode_micro_batch=sizes.decode,
        )
    except NoPairError as error:
        stop(str(error), _INFEASIBLE if error.status is Status.INFEASIBLE else NO_PLAN)


def _write(prepared: Prepared, pair: Pair, path: Path, remarks: tuple[str, ...]) -> None:
    model = pair_model(prepared.problem, prepared.objective, prepared.limits, pair)
    try:
        write_pair_model(model, path, remarks)
    except OSError as error:
        stop(f"{path} cannot be written: {error.strerror}. Choose another --output.")


def _words(pair: Pair) -> str:
    words = (
        f"batch {pair.batch_size}, prefill micro-batch {pair.prefill_micro_batch}, decode "
        f"micro-batch {pair.decode_micro_batch}"
    )
    if pair.price_usd_per_hour is None:
        return words
    return f"{words}, plans of {pair.price_usd_per_hour:g} USD per hour"


def _remarks(prepared: Prepared, pair: Pair) -> tuple[str, ...]:
    goal = prepared.objective.goal
    what = f"{goal.value} in {goal.unit}"
    if goal.maximise:
        what = f"seconds per token, the inverse of {goal.value}"
    background = prepared.background
    return (
        f"hetplan {hetplan_version()}: {background.model} on {background.cluster}",
        f"{_words(pair)}; minimise {what}",
        *NAME_LEGEND,
    )
