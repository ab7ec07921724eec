"""Model, workload, tables and quality figures of a request, checked and in base units."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from api.names import found
from api.plain_words import in_plain_words
from api.problems import ProblemList, pointer_to
from api.reading import read_text
from api.request_cluster import own_gpus_of
from api.schemas.calibration import CalibrationSpec, EngineFactorSpec, FactorSpec
from api.schemas.request import PlanRequest
from api.schemas.serving import (
    BatchSpec,
    ModelSpec,
    WorkloadChoice,
    WorkloadSpec,
)
from profiles.calibration import Calibration, CalibrationOrigin, Factor, FactorKey
from profiles.cluster import Workload
from profiles.errors import InputError, TableError
from profiles.formats import find_format
from profiles.gpus import OwnGpus, find_gpu
from profiles.lengths import LengthBucket, group_lengths, read_lengths
from profiles.models import Model, find_model, load_models, model_from_config
from profiles.tables import CostTable, cost_table_from_rows, read_cost_table

Key = TypeVar("Key")

__all__ = [
    "calibration_of",
    "calibration_spec_of",
    "model_of",
    "path_of",
    "tables_of",
    "text_of",
    "workload_of",
]

MAX_FILE_BYTES = 256 * 1024**2
FIRST_ROW = 2
_CALIBRATION = "/calibration"
_OTHER_MODELS = "Give any other decoder by its config.json: {name: ..., config_file: ...}."


def model_of(choice: str | ModelSpec, folder: Path | None) -> Model:
    """The model, from the catalogue or from a Hugging Face configuration."""
    if isinstance(choice, str):
        return found(find_model, choice, "/model", load_models(), _OTHER_MODELS)
    if choice.config is not None:
        return model_from_config(choice.config, choice.name, "/model/config")
    path = path_of(choice.config_file or "", folder, "/model/config_file")
    config, _ = read_text(text_of(path, "/model/config_file"))
    if not isinstance(config, dict):
        raise InputError(
            f"{path.name} does not hold an object; give the model's config.json.",
            pointer="/model/config_file",
        )
    return model_from_config(config, choice.name, "/model/config_file")


def path_of(text: str, folder: Path | None, pointer: str) -> Path:
    """
    A file that a request names.

    Raises
    ------
    InputError
        When paths are not read here, there is no such file, or it is too large.
    """
    if folder is None:
        raise InputError(
            f"{text[:60]!r} is a path, which only the command line reads; "
            "send the content instead (model.config, cost_table, workload.lengths, quality.omega).",
            pointer=pointer,
        )
    path = folder / text
    if "\0" in text or not path.is_file():
        raise InputError(f"There is no file {str(path)!r}.", pointer=pointer)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(
            f"{path.name} has more than {MAX_FILE_BYTES} bytes; split it.", pointer=pointer
        )
    return path


def text_of(path: Path, pointer: str) -> str:
    """The text of such a file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path.name} cannot be read as UTF-8: {error}.", pointer=pointer
        ) from error


def tables_of(request: PlanRequest, folder: Path | None) -> tuple[CostTable, ...]:
    """The cost tables of a request: files first, rows after them."""
    tables, own = [], own_gpus_of(request.cluster)
    for position, text in enumerate(request.tables):
        pointer = pointer_to("tables", position)
        path = path_of(text, folder, pointer)
        try:
            tables.append(read_cost_table(path, own))
        except TableError as error:
            raise InputError(str(error), pointer=pointer) from error
    if request.cost_table:
        tables.append(_inline_table(request.cost_table, own))
    return tuple(tables)


def _inline_table(rows: Sequence[Mapping[str, object]], own: OwnGpus) -> CostTable:
    try:
        return cost_table_from_rows(rows, "cost_table", own)
    except TableError as error:
        # Line 1 is the header that the rows do not have.
        at = () if error.line is None or error.line < FIRST_ROW else (error.line - FIRST_ROW,)
        raise InputError(str(error), pointer=pointer_to("cost_table", *at)) from error


def calibration_spec_of(request: PlanRequest, folder: Path | None) -> CalibrationSpec | None:
    """The calibration of a request, from its file where it names one."""
    choice = request.calibration
    if choice is None or isinstance(choice, CalibrationSpec):
        return choice
    path = path_of(choice, folder, _CALIBRATION)
    data, _ = read_text(text_of(path, _CALIBRATION))
    try:
        return CalibrationSpec.model_validate(data)
    except ValidationError as error:
        problems = in_plain_words(error, data, CalibrationSpec)
        told = "; ".join(f"{each.pointer} {each.detail}".strip() for each in problems)
        raise InputError(
            f"{path.name} is not a calibration: {told}. `hetplan calibrate` writes one.",
            pointer=_CALIBRATION,
        ) from error


def calibration_of(
    request: PlanRequest, spec: CalibrationSpec | None, engine: str
) -> Calibration | None:
    """
    Factors on the times of a request's engine.

    Raises
    ------
    InvalidRequestError, InputError
        When they are another engine's, are out of order, or occur twice.
    """
    if spec is None:
        return None
    if spec.engine != engine:
        raise InputError(
            f"The calibration is of engine {spec.engine!r}, the request's is {engine!r}; calibrate "
            "this engine, or leave the calibration out.",
            pointer=_CALIBRATION,
        )
    problems = ProblemList()
    of_engine: dict[str, Factor] = {}
    factors: dict[FactorKey, Factor] = {}
    is_file = not isinstance(request.calibration, CalibrationSpec)
    for position, rest in enumerate(spec.engine_factors):
        at = _CALIBRATION if is_file else f"{_CALIBRATION}/engine_factors/{position}"
        with problems.catching(at):
            _add(of_engine, rest.phase, rest)
    for position, each in enumerate(spec.factors):
        at = _CALIBRATION if is_file else f"{_CALIBRATION}/factors/{position}"
        with problems.catching(at):
            find_gpu(each.gpu, own=own_gpus_of(request.cluster))
            find_format(each.format)
            _add(factors, FactorKey(each.gpu, each.kernel, each.format, each.phase), each)
    problems.raise_if_any()
    return Calibration(
        engine=engine,
        of_engine=of_engine,
        factors=factors,
        origin=CalibrationOrigin(
            made_by=spec.made_by,
            made_at=spec.made_at,
            plans=tuple(plan.plan_hash for plan in spec.plans),
            num_rows=sum(plan.rows for plan in spec.plans),
        ),
    )


def _add(factors: dict[Key, Factor], key: Key, spec: FactorSpec | EngineFactorSpec) -> None:
    if key in factors:
        raise InputError(f"The factor of {key} occurs twice; keep one.")
    factors[key] = Factor(
        factor=spec.factor, low=spec.low, high=spec.high, is_identified=spec.identified
    )


def workload_of(spec: WorkloadChoice, folder: Path | None) -> Workload:
    """The workload, with micro-batches that fit its batches; a long list of lengths grouped."""
    sizes = spec.batch_size if isinstance(spec.batch_size, list) else [spec.batch_size]
    problems = ProblemList()
    _check_micro_batches(spec, sizes, problems)
    lengths: tuple[LengthBucket, ...] = ()
    with problems.catching("/workload"):
        lengths = _lengths(spec, folder)
    problems.raise_if_any()
    return Workload.mixed(
        group_lengths(lengths),
        batch_sizes=tuple(sorted(set(sizes))),
        num_requests=spec.num_requests,
        prefill_micro_batches=_sizes(spec.prefill_micro_batches),
        decode_micro_batches=_sizes(spec.decode_micro_batches),
    )


def _check_micro_batches(spec: BatchSpec, sizes: Sequence[int], problems: ProblemList) -> None:
    for field in ("prefill_micro_batches", "decode_micro_batches"):
        given = getattr(spec, field) or ()
        too_large = [position for position, size in enumerate(given) if size > max(sizes)]
        for position in too_large:
            problems.add(
                pointer_to("workload", field, position),
                f"Micro-batch {given[position]} exceeds the largest batch, {max(sizes)}; lower it.",
            )
        if given and not too_large and min(given) > min(sizes):
            problems.add(
                pointer_to("workload", field),
                f"Batch {min(sizes)} is smaller than every micro-batch; add a smaller one.",
            )


def _lengths(spec: WorkloadChoice, folder: Path | None) -> tuple[LengthBucket, ...]:
    """The lengths of a request: one, those listed, or those of a file."""
    if isinstance(spec, WorkloadSpec):
        alike = LengthBucket(prompt_tokens=spec.prompt_tokens, output_tokens=spec.output_tokens)
        return (alike,)
    if spec.lengths is not None:
        return tuple(LengthBucket(**each.model_dump()) for each in spec.lengths)
    pointer = "/workload/lengths_file"
    path = path_of(spec.lengths_file or "", folder, pointer)
    try:
        return read_lengths(path)
    except TableError as error:
        raise InputError(str(error), pointer=pointer) from error


def _sizes(sizes: list[int] | None) -> tuple[int, ...] | None:
    return None if sizes is None else tuple(sorted(set(sizes)))
