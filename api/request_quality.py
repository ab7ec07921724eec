"""Quality figures of a request, checked."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from api.omegas import omega_of
from api.plain_words import in_plain_words
from api.problems import ProblemList, pointer_to
from api.reading import read_text
from api.request_serving import path_of, text_of
from api.schemas.omega import OmegaFile
from api.schemas.serving import QualitySpec
from cost_model.omega import Omega, omega_loss_nats
from profiles.architecture import Model
from profiles.errors import InputError
from profiles.formats import find_format, load_formats
from solver.build import FormatChoice, QualityChoice

__all__ = ["known_formats", "quality_cautions", "quality_of", "with_omega_read"]

_OMEGA = "/quality/omega"
_OMEGA_FILE = "/quality/omega_file"


def with_omega_read(spec: QualitySpec, folder: Path | None) -> QualitySpec:
    """
    The figures with the content of their file in its place.

    Raises
    ------
    InputError
        When the file cannot be read or holds no losses.
    """
    if spec.omega_file is None:
        return spec
    path = path_of(spec.omega_file, folder, _OMEGA_FILE)
    data, _ = read_text(text_of(path, _OMEGA_FILE))
    try:
        omega = TypeAdapter(OmegaFile).validate_python(data)
    except ValidationError as error:
        first, *_ = in_plain_words(error, data, OmegaFile)
        raise InputError(
            f"{path.name} holds no losses of layers: {first.detail} Write it with "
            "`hetplan sensitivity`.",
            pointer=_OMEGA_FILE,
        ) from error
    own = spec.model_dump(exclude_unset=True, exclude={"omega_file"})
    return QualitySpec.model_validate({**own, "omega": omega})


def quality_of(spec: QualitySpec, formats: FormatChoice, model: Model) -> QualityChoice:
    """Own figures on quality; own losses must cover every layer and format."""
    return QualityChoice(
        nats_at_4_bits=spec.nats_at_4_bits,
        perplexity_16=spec.perplexity_16,
        loss_nats=_rows(spec, formats, model.num_layers),
        omega=None if spec.omega is None else _omega(spec.omega, formats, model),
    )


def known_formats(spec: QualitySpec) -> frozenset[str] | None:
    """Formats whose loss these figures tell; None where that of any format is known."""
    if spec.loss_nats is not None:
        return frozenset(find_format(name).name for name in spec.loss_nats)
    if spec.omega is not None:
        omega = omega_of(spec.omega)
        return frozenset(name for name in load_formats() if _tells(omega, name))
    return None


def quality_cautions(spec: QualitySpec, model: Model) -> list[str]:
    """What to know about figures from a file: its own warnings, and that it is of another model."""
    if spec.omega is None:
        return []
    other = (
        f"The losses of layers are those of {spec.omega.model}, not of {model.name}; give the file "
        "of this model unless the two are the same."
    )
    return [other] if spec.omega.model.lower() != model.name.lower() else []


def _tells(omega: Omega, name: str) -> bool:
    try:
        omega_loss_nats(omega, [find_format(name)])
    except InputError:
        return False
    return True


def _omega(file: OmegaFile, formats: FormatChoice, model: Model) -> Omega:
    problems = ProblemList()
    with problems.catching(_OMEGA):
        omega = omega_of(file)
        if omega.num_layers != model.num_layers:
            raise InputError(
                f"There are losses of {omega.num_layers} layers; {model.name} has "
                f"{model.num_layers}. Give the file of this model."
            )
        omega_loss_nats(omega, [find_format(name) for name in formats.names])
    problems.raise_if_any()
    return omega


def _rows(
    spec: QualitySpec, formats: FormatChoice, num_layers: int
) -> tuple[tuple[float, ...], ...] | None:
    """Own losses by layer and format, shape (L, F)."""
    if spec.loss_nats is None:
        return None
    problems = ProblemList()
    given = {
        find_format(name, "/quality/loss_nats").name: row for name, row in spec.loss_nats.items()
    }
    for name, row in given.items():
        if len(row) != num_layers:
            problems.add(
                pointer_to("quality", "loss_nats", name),
                f"There are {len(row)} losses; the model has {num_layers} layers.",
            )
    missing = [name for name in formats.names if name not in given]
    if missing:
        problems.add(
            "/quality/loss_nats",
            f"Losses of {', '.join(missing)} are missing; add them or leave these formats out.",
        )
    problems.raise_if_any()
    rows = zip(*(given[name] for name in formats.names), strict=True)
    return tuple(rows)
