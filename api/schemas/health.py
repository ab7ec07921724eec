"""Health of the service."""

from typing import Literal

from pydantic import Field

from api.schemas.base import Schema

__all__ = ["Health"]


class Health(Schema):
    """All is well; anything else is an error."""

    status: Literal["ok"] = Field(description="Always ok.")
