"""The body of a request: its type, its size, its JSON or YAML."""

from typing import Any

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from api.reading import read_json, read_text

__all__ = ["read_body"]

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
MAX_YAML_BYTES = 1024**2  # YAML is slow to read


async def read_body(request: Request, max_bytes: int) -> Any:  # noqa: ANN401
    """
    Data of a JSON or YAML body.

    Raises
    ------
    HTTPException
        415 when it is neither by its content type, 413 when it is larger than ``max_bytes``.
    InvalidRequestError
        When the text cannot be read.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_yaml = content_type in YAML_TYPES or content_type.endswith("+yaml")
    if not is_yaml and content_type not in JSON_TYPES and not content_type.endswith("+json"):
        found = f"is {content_type!r}" if content_type else "is missing"
        raise HTTPException(
            415, f"Content-Type {found}; send application/json or application/yaml."
        )
    limit = min(max_bytes, MAX_YAML_BYTES) if is_yaml else max_bytes
    text = (await _content(request, limit)).decode("utf-8", errors="replace")
    if not is_yaml:
        return read_json(text)
    data, _ = await run_in_threadpool(read_text, text)
    return data


async def _content(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise HTTPException(413, f"The body has more than {max_bytes} bytes; send less.")
    return bytes(body)
