"""A checkpoint in a folder: its model, and the matrices of every layer where they lie."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from profiles.architecture import LayerKind, Model
from profiles.config_fields import ConfigFields
from profiles.errors import InputError
from profiles.matrix_names import MatrixName, matrix_name
from profiles.model_config import model_from_config
from profiles.safetensors_file import Tensor, read_safetensors

__all__ = ["Checkpoint", "Matrix", "read_checkpoint", "read_config"]

_INDEX = "model.safetensors.index.json"
_SINGLE_FILE = "model.safetensors"
_TRANSPOSED_TYPES = ("gpt2",)  # its matrices have the inputs first
_QUANTISED_ENDINGS = (".qweight", ".qzeros", ".weight_scale", ".weight_packed", ".SCB", ".absmax")
_REMEDY = "give the checkpoint at 16 or 32 bits that it was made from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """
    A matrix of a layer within a tensor.

    Parameters
    ----------
    layer, module
        Decoder layer from 0; ``q``, ``k``, ``v``, ``o``, ``gate``, ``up`` or ``down``.
    tensor
        Where it lies.
    rows
        Its outputs among those of the tensor.
    is_transposed
        Whether the tensor has inputs as rows and outputs as columns.
    """

    layer: int
    module: str
    tensor: Tensor
    rows: Sequence[int]
    is_transposed: bool

    @property
    def num_inputs(self) -> int:
        """Numbers in a row."""
        return self.tensor.shape[0] if self.is_transposed else self.tensor.shape[-1]

    @property
    def size(self) -> int:
        """Numbers in the matrix."""
        return len(self.rows) * self.num_inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """
    The weights of a model.

    Parameters
    ----------
    name
        Of the folder or file.
    model, config
        The model, and the config.json that describes it.
    tensors
        All tensors by name.
    layers
        The matrices of every layer that a format stores.
    headers_sha256
        SHA-256 of the headers' own, in the order of the files' names: which tensors of which shape
        lie where, not their numbers.
    """

    name: str
    model: Model
    config: Mapping[str, object]
    tensors: Mapping[str, Tensor]
    layers: tuple[tuple[Matrix, ...], ...]
    headers_sha256: str


def read_config(folder: Path) -> Mapping[str, object]:
    """
    The config.json of a folder.

    Raises
    ------
    InputError
        When there is none, or it holds no JSON object.
    """
    return _json_object(folder / "config.json", "the config.json of the model")


def read_checkpoint(path: Path, name: str) -> Checkpoint:
    """
    A checkpoint, its tensors left where they are.

    Parameters
    ----------
    path
        A folder with config.json and safetensors, or one safetensors file beside its config.json.
    name
        What to call the model.

    Raises
    ------
    InputError
        When files are missing or cut off, the weights are quantised already, or the matrices are
        not those of the model that config.json describes.
    """
    folder = path if path.is_dir() else path.parent
    config = read_config(folder)
    _refuse_quantised_config(config)
    model = model_from_config(config, name)
    tensors, digest = _tensors(_files(path))
    _refuse_quantised(tensors.values())
    is_transposed = model.model_type in _TRANSPOSED_TYPES
    return Checkpoint(
        name=path.resolve().name,
        model=model,
        config=config,
        tensors=tensors,
        layers=_layers(model, tensors.values(), is_transposed=is_transposed),
        headers_sha256=digest,
    )


def _json_object(path: Path, what: str) -> Mapping[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no {path.name} in {path.parent}; put {what} there.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no JSON object; it must be {what}.")
    return data


def _files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sorted by name."""
    if not path.is_dir():
        return [path]
    if (path / _INDEX).is_file():
        weight_map = _json_object(path / _INDEX, "the index of the shards").get("weight_map")
        if not isinstance(weight_map, dict):
            raise InputError(f"{path / _INDEX} has no `weight_map`; download it again.")
        files = [path / str(name) for name in sorted(set(weight_map.values()))]
    elif (path / _SINGLE_FILE).is_file():
        files = [path / _SINGLE_FILE]
    else:
        files = sorted(path.glob("*.safetensors"))
    missing = [each.name for each in files if not each.is_file()]
    if missing or not files:
        what = ", ".join(missing) or "*.safetensors"
        raise InputError(f"{path} lacks {what}; download the whole checkpoint as safetensors.")
    return files


def _tensors(files: Sequence[Path]) -> tuple[dict[str, Tensor], str]:
    tensors: dict[str, Tensor] = {}
    digest = sha256()
    for path in files:
        read = read_safetensors(path)
        tensors |= read.tensors
        digest.update(f"{path.name} {read.header_sha256}\n".encode())
    return tensors, digest.hexdigest()


# -- quantised already --------------------------------------------------------------------------


def _refuse_quantised_config(config: Mapping[str, object]) -> None:
    quantised = ConfigFields(config).nested("quantization_config")
    if quantised is not None:
        method = quantised.text("quant_method", default="method not named")
        raise InputError(
            f"This checkpoint is quantised already ({method}); {_REMEDY}.",
            pointer="/quantization_config",
        )


def _refuse_quantised(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        in_layer = matrix_name(tensor.name) is not None
        if tensor.name.endswith(_QUANTISED_ENDINGS) or (in_layer and not tensor.is_float):
            raise InputError(
                f"This checkpoint is quantised already ({tensor.name}, {tensor.dtype}); {_REMEDY}."
            )


# -- layers -------------------------------------------------------------------------------------


def _layers(
    model: Model, tensors: Iterable[Tensor], *, is_transposed: bool
) -> tuple[tuple[Matrix, ...], ...]:
    layers: list[list[Matrix]] = [[] for _ in model.layers]
    for tensor in tensors:
        named = matrix_name(tensor.name)
        if named is not None and named.layer < len(layers) and len(tensor.shape) == 2:
            kind = model.layers[named.layer]
            layers[named.layer] += _matrices(named, tensor, kind, is_transposed=is_transposed)
    for layer, (kind, matrices) in enumerate(zip(model.layers, layers, strict=True)):
        _check_layer(layer, kind, matrices)
    return tuple(tuple(sorted(each, key=lambda matrix: matrix.tensor.name)) for each in layers)


def _matrices(
    named: MatrixName, tensor: Tensor, kind: LayerKind, *, is_transposed: bool
) -> Iterator[Matrix]:
    outputs = tensor.shape[1] if is_transposed else tensor.shape[0]
    for module, rows in zip(named.modules, _rows(named, outputs, kind), strict=True):
        yield Matrix(
            layer=named.layer,
            module=module,
            tensor=tensor,
            rows=rows,
            is_transposed=is_transposed,
        )


def _rows(named: MatrixName, outputs: int, kind: LayerKind) -> list[Sequence[int]]:
    """The outputs of each matrix in a tensor."""
    if named.packing == "whole":
        return [range(outputs)]
    if named.modules == ("gate", "up"):
        return [range(outputs // 2), range(outputs // 2, outputs)]
    queries, keys = kind.heads * kind.head_dim, kind.kv_heads * kind.head_dim
    # Where every head has its keys, GPT-BigCode's blocks and turns differ, too, but only in which
    # row is whose; all matrices of a layer are of one width, so its loss is nearly the same.
    if named.packing == "blocks":
        ends = (0, queries, queries + keys, outputs)
        return [range(first, last) for first, last in itertools.pairwise(ends)]
    return _by_turns(kind)


def _by_turns(kind: LayerKind) -> list[Sequence[int]]:
    """For each head of keys: its queries, the keys, the values (BLOOM, GPT-NeoX, Falcon)."""
    per_turn = kind.heads // kind.kv_heads + 2
    widths = ((0, per_turn - 2), (per_turn - 2, per_turn - 1), (per_turn - 1, per_turn))
    return [
        [
            row
            for head in range(kind.kv_heads)
            for row in range(
                (head * per_turn + first) * kind.head_dim, (head * per_turn + last) * kind.head_dim
            )
        ]
        for first, last in widths
    ]


def _check_layer(layer: int, kind: LayerKind, matrices: Sequence[Matrix]) -> None:
    """Refuse a layer that is not as config.json describes it."""
    needed = ("q", "k", "v", "o", "up", "down", *(("gate",) if kind.gated else ()))
    missing = [each for each in needed if each not in {m.module for m in matrices}]
    if missing:
        raise InputError(
            f"Layer {layer} has no {', '.join(missing)} matrix under a known name; such a "
            "checkpoint is not read yet. `hetplan sensitivity config.json` needs no weights."
        )
    found = sum(matrix.size for matrix in matrices)
    if found != kind.weights:
        raise InputError(
            f"Layer {layer} has {found} weights in its matrices, but config.json describes "
            f"{kind.weights}; give the config.json of this checkpoint."
        )
