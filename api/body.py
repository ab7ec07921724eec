"""The body of a request: its type, its size, its JSON."""

from typing import Any

from fastapi import HTTPException, Request

from api.reading import read_json

__all__ = ["read_body"]

JSON_TYPES = ("application/json",)


async def read_body(request: Request, max_bytes: int) -> Any:  # noqa: ANN401
    """
    Data of a JSON body.

    Raises
    ------
    HTTPException
        415 when it is not JSON by its content type, 413 when it is larger than ``max_bytes``.
    InvalidRequestError
        When the JSON cannot be read.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in JSON_TYPES and not content_type.endswith("+json"):
        found = f"is {content_type!r}" if content_type else "is missing"
        raise HTTPException(415, f"Content-Type {found}; send application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise HTTPException(413, f"The body has more than {max_bytes} bytes; send less.")
    return read_json(body.decode("utf-8", errors="replace"))
