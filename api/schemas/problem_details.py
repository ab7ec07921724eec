"""Errors over HTTP: problem details as in RFC 9457."""

from pydantic import Field

from api.schemas.base import Schema

__all__ = ["ProblemDetails", "ProblemEntry"]


class ProblemEntry(Schema):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer to the value; empty for the whole body.")
    detail: str = Field(description="What was found, what is allowed, what to do.")


class ProblemDetails(Schema):
    """Why a request was not answered."""

    type: str = Field(default="about:blank", description="Kind of problem, as a URI.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="HTTP status code.")
    detail: str = Field(description="What happened, and what to do.")
    instance: str = Field(description="Path of the request.")
    errors: list[ProblemEntry] = Field(default=[], description="Every error found, for 422.")
