"""A sweep: a request, and what varies in it."""

from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import Schema, Title

__all__ = ["NamedValue", "SweepSpec"]

MOST_VALUES = 1000
Pointer = Annotated[str, Field(min_length=2, max_length=200, pattern=r"^/")]


class NamedValue(Schema):
    """A value with a name for the table; needed where the value is a list or an object."""

    label: Title = Field(description="Its name in the table.")
    value: Any = Field(description="The value.")


class SweepSpec(Schema):
    """A request and a grid of variations of it."""

    base: dict[str, Any] | Title = Field(
        description="The request that varies, or the path of its file, relative to this one."
    )
    grid: dict[Pointer, Annotated[list[Any], Field(min_length=1, max_length=MOST_VALUES)]] = Field(
        min_length=1,
        max_length=16,
        description="By JSON pointer into the request: the values to try, in all combinations; "
        "each as it is, or as {label, value}.",
    )
