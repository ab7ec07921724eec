"""What all schemas share: strictness, names, and unions that give one clear error."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LIST", "NAME", "OBJECT", "SCALAR", "Name", "Schema", "Title", "form_of"]

NAME, OBJECT, LIST, SCALAR = "<name>", "<object>", "<list>", "<scalar>"
"""Tags of union members; the angle brackets keep them apart from field names."""

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\w[\w .:+()/\-]*$")]
"""A name of something: begins with a letter or digit, no control characters."""

Title = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text."""


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
