"""
The checkpoint that a plan needs, with a format per layer, and the recipe that makes it.

compressed-tensors holds every format of vLLM's, also several in one model; llm-compressor makes it.
Rules name whole layers by regular expressions, because engines fuse the matrices of a layer; layers
at 16 bits are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import yaml

from api.exports.given import ExportInput
from profiles.formats import Format, find_format
from profiles.models import model_repository

__all__ = ["COMPRESSED", "PUBLISHED", "Checkpoint", "checkpoint_of"]

PUBLISHED, COMPRESSED = "published", "compressed-tensors"
_FULL_BITS = 16
_MATRICES = r"(?:\w*_proj|fc[12]|w[123]|query_key_value|dense\w*)"
_IGNORED = ("lm_head", r"re:.*\.gate$", "re:.*vision.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """
    The weights that an engine loads.

    Parameters
    ----------
    kind
        `PUBLISHED` or `COMPRESSED`.
    folder
        Where it is: the model's repository, empty where none is known, or the folder that the
        recipe is to write.
    text
        What it is and how it is made, in a sentence or two.
    file, recipe
        Name and text of the recipe; empty where the model is used as published.
    """

    kind: str
    folder: str
    text: str
    file: str = ""
    recipe: str = ""


def checkpoint_of(given: ExportInput) -> Checkpoint:
    """The checkpoint of a plan."""
    names = [name for stage in given.stages for name in stage.formats]
    formats = {name: find_format(name) for name in dict.fromkeys(names)}
    repository = model_repository(given.model.name)
    weights = repository or f"the weights of {given.model.name}"
    if all(each.weight_bits == _FULL_BITS for each in formats.values()):
        text = f"Serves {weights} as published."
        return Checkpoint(kind=PUBLISHED, folder=repository or "", text=text)
    width = names[0] if len(formats) == 1 else "mixed"
    return Checkpoint(
        kind=COMPRESSED,
        folder=f"./{given.model.name}-{width}",
        text=(
            f"Needs a compressed-tensors checkpoint ({_ranges(names)}; 16 bits for embedding and "
            f"head): llm-compressor makes it from {weights} with oneshot(model, dataset=..., "
            "recipe='recipe.yaml', output_dir=...)."
        ),
        file="recipe.yaml",
        recipe=_recipe(names, formats),
    )


def _ranges(names: Sequence[str]) -> str:
    """Such as ``layers 0-5 w4a16, 6-15 w8a16``."""
    parts = []
    for name, run in groupby(range(len(names)), key=lambda layer: names[layer]):
        first, *more = run
        parts.append(f"{first}-{more[-1]} {name}" if more else f"{first} {name}")
    return "layers " + ", ".join(parts)


# -- the recipe -----------------------------------------------------------------------------------


def _recipe(names: Sequence[str], formats: Mapping[str, Format]) -> str:
    """YAML for llm-compressor."""
    low = [each for each in formats.values() if each.weight_bits < _FULL_BITS]
    kept = [_pattern(names, name) for name, each in formats.items() if each not in low]
    modifier = {
        "config_groups": {each.name: _group(each, _target(names, each.name)) for each in low},
        "ignore": [*_IGNORED, *(f"re:{pattern}.*" for pattern in kept)],
    }
    recipe = {"quant_stage": {"quant_modifiers": {"GPTQModifier": modifier}}}
    return yaml.safe_dump(recipe, sort_keys=False, width=1000)


def _pattern(names: Sequence[str], name: str) -> str:
    """Matches the layers that have a format and no others: layer 1 is not layer 10."""
    layers = "|".join(str(layer) for layer, each in enumerate(names) if each == name)
    return rf".*\.(?:layers|h)\.(?:{layers})\."


def _target(names: Sequence[str], name: str) -> str:
    """Which matrices have a format; where all layers have it, by their type."""
    if set(names) == {name}:
        return "Linear"
    return f"re:{_pattern(names, name)}.*{_MATRICES}$"


def _group(layer_format: Format, target: str) -> dict[str, Any]:
    weights: dict[str, Any] = {
        "num_bits": layer_format.weight_bits,
        "type": "int",
        "symmetric": True,
    }
    if layer_format.group_size is None:
        weights["strategy"] = "channel"
    else:
        weights |= {"strategy": "group", "group_size": layer_format.group_size}
    group = {"targets": [target], "weights": weights}
    if layer_format.act_bits < _FULL_BITS:
        group["input_activations"] = {
            "num_bits": layer_format.act_bits,
            "type": "int",
            "symmetric": True,
            "strategy": "token",
            "dynamic": True,
        }
    return group
