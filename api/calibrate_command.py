"""The command that corrects predicted times by what was measured: read, fit, write."""

from collections.abc import Sequence
from getpass import getuser
from pathlib import Path

import typer

from api.calibrations import Launched, calibrate
from api.cli_input import read_simulation
from api.measured import read_measured
from api.render_calibration import show_calibration
from api.schemas.coefficients import CoefficientsRequest
from api.telling import stop, telling
from api.writing import Outputs, keep_inputs, write_answer
from profiles.errors import InputError

__all__ = ["calibrate_to"]

UNKNOWN = "unknown"


def calibrate_to(
    files: Sequence[str],
    request_file: str | None,
    made_by: str | None,
    *,
    output: Path | None,
    as_json: bool,
) -> None:
    """
    Fit factors to measurements of plans and write them.

    Parameters
    ----------
    files
        Plan and measurements by turns, at least one pair.
    request_file
        The request of all plans; None where the answers hold it.
    made_by
        Who measured; None takes the user's name.
    output, as_json
        See `api.writing.write_answer`.
    """
    if len(files) % 2:
        stop(
            f"{len(files)} files are given; name pairs: PLAN MEASURED [PLAN MEASURED ...], each "
            "plan with its own measurements."
        )
    outputs = {"--output": output}
    pairs = zip(files[::2], files[1::2], strict=True)
    launched = [_launched(plan, measured, request_file, outputs) for plan, measured in pairs]
    if sum(len(each.rows) for each in launched) > 1:
        typer.echo(f"Fitting factors to {sum(len(each.rows) for each in launched)} loads", err=True)
    with telling(", ".join(files[1::2])):
        found = calibrate(launched, made_by or _user())
    write_answer(found, lambda console: show_calibration(found, console), output, as_json=as_json)


def _launched(plan: str, measured: str, request: str | None, outputs: Outputs) -> Launched:
    given = read_simulation(plan, request, outputs, command="calibrate")
    with telling(plan):
        if isinstance(given.request, CoefficientsRequest):
            raise InputError(
                "Its request is by coefficients, which name no GPU, engine or kernel to calibrate; "
                "use a request by catalogue."
            )
        catalogue = given.request
    path = Path(measured)
    with telling(measured):
        if "\0" in measured or not path.is_file():
            raise InputError(
                "There is no such file; give what was measured as CSV or JSON, or a result of "
                "`vllm bench serve --save-result`."
            )
        keep_inputs(outputs, [path])
        rows = read_measured(path)
    return Launched(given.plan, catalogue, given.prepared, given.folder, path.name, rows)


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return UNKNOWN
