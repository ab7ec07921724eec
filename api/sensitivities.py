"""From a checkpoint, a configuration or scores to the file of its layers' losses."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from api.omegas import omega_file
from api.schemas.omega import MethodName, OmegaBasis, OmegaFile
from api.version import hetplan_version
from cost_model.llama_forward import LlamaDecoder
from cost_model.omega import Omega
from cost_model.sensitivity import (
    SensitivityChoice,
    calibrated_omega,
    config_omega,
    scores_omega,
    weights_omega,
)
from profiles.checkpoint import Checkpoint, read_checkpoint, read_config
from profiles.errors import InputError
from profiles.models import Model, find_model, load_models, model_aliases, model_from_config
from profiles.scores import read_scores
from profiles.token_ids import random_tokens, read_tokens

__all__ = ["SensitivityRequest", "sensitivities"]

OnLayer = Callable[[int, int], None]
CONFIG = "config.json"
_NO_NAME = re.compile(r"[^\w .:+()/\-]")
_MOST_LETTERS = 100
_RANDOM = (
    "Random tokens rank widths, but layers badly; give tokens of text like that which will be "
    "served with --tokens."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRequest:
    """
    Whose losses are wanted, and how they are to be found.

    Parameters
    ----------
    source
        A folder or file of a checkpoint, a config.json, or a model of the catalogue.
    choice
        What losses are wanted.
    model
        Name of the model; None takes that of the folder.
    scores
        File of another tool's scores, or None.
    noise_percentile, in_nats
        See `cost_model.sensitivity.scores_omega`.
    calibrate
        Whether to run the model.
    tokens
        File of the tokens to run it on; None draws them at random.
    """

    source: str
    choice: SensitivityChoice
    model: str | None = None
    scores: Path | None = None
    noise_percentile: float | None = None
    in_nats: bool = False
    calibrate: bool = False
    tokens: Path | None = None

    def __post_init__(self) -> None:
        """Refuse options that do not go together."""
        if self.calibrate and self.scores is not None:
            raise InputError("--calibrate and --scores exclude each other; keep one of them.")
        if self.tokens is not None and not self.calibrate:
            raise InputError("--tokens is what --calibrate runs on; add --calibrate.")
        if self.scores is None and (self.in_nats or self.noise_percentile is not None):
            raise InputError("--in-nats and --noise-percentile are about scores; add --scores.")


def sensitivities(request: SensitivityRequest, on_layer: OnLayer | None = None) -> OmegaFile:
    """
    The losses of a model's layers.

    Parameters
    ----------
    request
        Whose losses, and how.
    on_layer
        Told the layers done and all layers.

    Raises
    ------
    InputError
        When something in the files or options cannot be used.
    """
    if request.scores is not None:
        return _from_scores(request, request.scores)
    if _has_weights(request.source):
        checkpoint = _checkpoint(request)
        if request.calibrate:
            return _calibrated(request, checkpoint, on_layer)
        omega = weights_omega(checkpoint, request.choice, on_layer)
        return _file(omega, "weights", request, checkpoint.model, checkpoint)
    if request.calibrate:
        raise InputError(f"{request.source} has no weights to run; give a checkpoint's folder.")
    model = _model(request)
    return _file(config_omega(model, request.choice), "config", request, model)


def _from_scores(request: SensitivityRequest, path: Path) -> OmegaFile:
    model, table = _model(request), read_scores(path)
    omega = scores_omega(
        model,
        table,
        request.choice,
        noise_percentile=request.noise_percentile,
        in_nats=request.in_nats,
    )
    file = _file(omega, "scores", request, model)
    if not table.left_out:
        return file
    left_out = f"Scores outside the layers are left out: {', '.join(table.left_out)}."
    return file.model_copy(update={"warnings": [*file.warnings, left_out]})


def _calibrated(
    request: SensitivityRequest, checkpoint: Checkpoint, on_layer: OnLayer | None
) -> OmegaFile:
    model, choice = checkpoint.model, request.choice
    if request.tokens is None:
        batches = random_tokens(model.vocab, model.max_positions, choice.sampling.seed)
        text = "random tokens"
    else:
        batches, text = read_tokens(request.tokens, model.vocab), f"tokens of {request.tokens.name}"
    omega = calibrated_omega(
        checkpoint,
        LlamaDecoder(checkpoint, choice.rounding),
        batches,
        choice,
        tokens_text=text,
        on_layer=on_layer,
    )
    file = _file(omega, "calibrated", request, model, checkpoint)
    if request.tokens is not None:
        return file
    return file.model_copy(update={"warnings": [*file.warnings, _RANDOM]})


def _file(
    omega: Omega,
    method: MethodName,
    request: SensitivityRequest,
    model: Model,
    checkpoint: Checkpoint | None = None,
) -> OmegaFile:
    choice = request.choice
    has_factor = method in ("weights", "config")
    basis = OmegaBasis(
        checkpoint=None if checkpoint is None else checkpoint.name,
        headers_sha256=None if checkpoint is None else checkpoint.headers_sha256,
        rows=None if checkpoint is None else choice.sampling.rows,
        seed=None if checkpoint is None else choice.sampling.seed,
        last_layer=choice.last_layer_of(model) if has_factor else None,
        scores=_named(request.scores),
        noise_percentile=request.noise_percentile,
        tokens=_named(request.tokens) or ("random" if method == "calibrated" else None),
        hetplan=hetplan_version(),
    )
    return omega_file(omega, method, basis)


def _named(path: Path | None) -> str | None:
    """A file's name and the SHA-256 of its content."""
    if path is None:
        return None
    return f"{path.name} (sha256 {sha256(path.read_bytes()).hexdigest()})"


# -- models -------------------------------------------------------------------------------------


def _has_weights(source: str) -> bool:
    path = Path(source)
    return path.suffix == ".safetensors" or (path.is_dir() and any(path.glob("*.safetensors")))


def _checkpoint(request: SensitivityRequest) -> Checkpoint:
    path = Path(request.source)
    checkpoint = read_checkpoint(path, _name(request, path if path.is_dir() else path.parent))
    _check_shape(checkpoint.model)
    return checkpoint


def _model(request: SensitivityRequest) -> Model:
    """The model alone, from its config.json or from the catalogue."""
    path = Path(request.source)
    if path.is_file():
        path = path.parent
        if Path(request.source).suffix not in (".json", ".safetensors"):
            raise InputError(f"{request.source} is no checkpoint; give its folder or config.json.")
    elif not path.is_dir():
        return find_model(request.source)
    model = model_from_config(read_config(path), _name(request, path))
    _check_shape(model)
    return model


def _name(request: SensitivityRequest, folder: Path) -> str:
    """The name given or that of the folder; the catalogue's where it knows it."""
    given = request.model or _NO_NAME.sub("-", folder.resolve().name)[:_MOST_LETTERS] or "model"
    by_lower = {name.lower(): name for name in load_models()} | dict(model_aliases())
    return by_lower.get(given.lower(), given)


def _check_shape(model: Model) -> None:
    """Refuse a model under the name of another of the catalogue, whose anchor it would get."""
    known = load_models().get(model.name)
    if known is not None and (known.num_layers, known.hidden) != (model.num_layers, model.hidden):
        raise InputError(
            f"It is called {model.name}, but has {model.num_layers} layers of width "
            f"{model.hidden}, and {model.name} has {known.num_layers} of {known.hidden}; give it "
            "another name with --model."
        )
