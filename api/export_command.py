"""The command that exports a plan: read, translate, write its files."""

from pathlib import Path

from api.cli_input import read_simulation
from api.exports.engines import exported
from api.render_export import show_export
from api.schemas.export import ExportAnswer
from api.schemas.names import ExportEngine
from api.telling import stop, telling
from api.writing import write_answer

__all__ = ["export_plan_to"]

_RUNNABLE = 0o755


def export_plan_to(
    plan_file: str,
    request_file: str | None,
    engine: ExportEngine,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """
    Export the plan in a file.

    Parameters
    ----------
    plan_file
        An answer with a plan, or a plan; - is standard input.
    request_file
        The request; None where the answer holds it.
    engine
        What is to run it.
    output
        Folder for the scripts and the recipe, made if it is not there; None shows them only.
    as_json
        Whether to print JSON, not text.
    """
    given = read_simulation(plan_file, request_file, {}, "export")
    with telling(plan_file):
        answer = exported(given.prepared, given.request, given.plan, engine, folder=given.folder)
    if output is not None:
        _write_files(answer, output)
    write_answer(
        answer, lambda console: show_export(answer, console, output), None, as_json=as_json
    )


def _write_files(answer: ExportAnswer, folder: Path) -> None:
    others = sorted(
        path.name
        for pattern in ("launch*.sh", "recipe.yaml")
        for path in folder.glob(pattern)
        if path.name not in answer.files
    )
    if others:
        stop(
            f"{folder} holds another export, of which {', '.join(others)} would stay; remove it "
            "or choose another --output."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in answer.files.items():
            path = folder / name
            path.write_text(text, encoding="utf-8", newline="")
            if path.suffix == ".sh":
                path.chmod(_RUNNABLE)
    except OSError as error:
        stop(f"{folder} cannot be written: {error.strerror}. Choose another --output.")
