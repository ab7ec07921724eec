"""The catalogue of models, each kept as the config.json that its authors published."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from profiles.architecture import LayerKind, Model
from profiles.catalogue import look_up, read_text
from profiles.model_config import model_from_config

__all__ = [
    "LayerKind",
    "Model",
    "find_model",
    "load_models",
    "model_aliases",
    "model_from_config",
    "model_repository",
]


def _entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(read_text("models.json"))
    return entries


@cache
def load_models() -> Mapping[str, Model]:
    """All models of the catalogue by name."""
    return {
        entry["name"]: replace(
            model_from_config(entry["config"], entry["name"]), source=entry["source"]
        )
        for entry in _entries()
    }


@cache
def model_aliases() -> Mapping[str, str]:
    """Other usual names, in lower case, to names of the catalogue; repository names too."""
    return {alias.lower(): entry["name"] for entry in _entries() for alias in entry["aliases"]}


def model_repository(name: str) -> str | None:
    """The Hugging Face repository of a model of the catalogue; None where it has none."""
    aliases = (alias for entry in _entries() if entry["name"] == name for alias in entry["aliases"])
    return next((alias for alias in aliases if "/" in alias), None)


def find_model(name: str, pointer: str = "") -> Model:
    """
    The model of this name, alias or Hugging Face repository, whatever its case.

    Raises
    ------
    InputError
        When the catalogue has no such model; ``pointer`` says where the name stood.
    """
    return look_up(load_models(), model_aliases(), name, kind="model", pointer=pointer)
