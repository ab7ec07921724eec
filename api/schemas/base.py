"""What all schemas share: strictness, names, and unions that give one clear error."""

from math import isfinite
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "LIST",
    "NAME",
    "OBJECT",
    "SCALAR",
    "WORD",
    "Figure",
    "Name",
    "Schema",
    "Title",
    "form_of",
]

NAME, OBJECT, LIST, SCALAR, WORD = "<name>", "<object>", "<list>", "<scalar>", "<word>"
"""Tags of union members; the angle brackets keep them apart from field names."""

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\w[\w .:+()/\-]*$")]
"""A name of something: begins with a letter or digit, no control characters."""

Title = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text."""


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_finite)]
"""A number of an answer; null where it is not known or beyond any number."""


class Schema(BaseModel):
    """Base of every schema: frozen, no unknown fields, no guessing of types, no NaN."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


def form_of(value: object) -> str:
    """Tag of the union member that a raw value is meant for."""
    if isinstance(value, dict | BaseModel):
        return OBJECT
    return LIST if isinstance(value, list | tuple) else NAME
