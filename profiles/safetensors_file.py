"""
Reading tensors of safetensors files, a few rows at a time.

A file is eight bytes with the length of a JSON header, the header, and the tensors row by row
(https://github.com/huggingface/safetensors). Rows are read where they lie: a checkpoint of any
size needs the memory of the rows asked for.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError

__all__ = ["SafetensorsFile", "Tensor", "read_rows", "read_safetensors"]

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """
    Where a tensor lies.

    Parameters
    ----------
    name
        Unique within the checkpoint.
    dtype
        As the file names it: ``BF16``, ``F16``, ``F32``, ``I32`` ...
    shape
        Outputs first for the weight of a linear layer.
    path, offset
        The file, and the byte at which the tensor starts.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    @property
    def is_float(self) -> bool:
        """Whether its numbers are of 16 bits or more, so not quantised."""
        return self.dtype in _FLOATS

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """The tensors of a file by name, and the SHA-256 of its header."""

    tensors: Mapping[str, Tensor]
    header_sha256: str


def read_safetensors(path: Path) -> SafetensorsFile:
    """
    What the header of a file says.

    Raises
    ------
    InputError
        When it is no safetensors file, or is shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            header = _header(file, path)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error
    entries = _parsed(header, path)
    start = _LENGTH_BYTES + len(header)
    size = path.stat().st_size
    tensors = {
        name: _tensor(name, entry, path, start, size)
        for name, entry in entries.items()
        if name != _METADATA
    }
    return SafetensorsFile(tensors, sha256(header).hexdigest())


def _wrong(path: Path, what: str) -> InputError:
    return InputError(f"{path.name} is no whole safetensors file: {what}. Download it again.")


def _header(file: BinaryIO, path: Path) -> bytes:
    length = file.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        raise _wrong(path, "it is shorter than 8 bytes")
    (num_bytes,) = struct.unpack("<Q", length)
    if num_bytes > _MAX_HEADER_BYTES:
        raise _wrong(path, f"its header would have {num_bytes} bytes")
    header = file.read(num_bytes)
    if len(header) < num_bytes:
        raise _wrong(path, f"it ends within its header of {num_bytes} bytes")
    return header


def _parsed(header: bytes, path: Path) -> Mapping[str, object]:
    try:
        entries = json.loads(header)
    except ValueError:
        raise _wrong(path, "its header is not JSON") from None
    if not isinstance(entries, dict):
        raise _wrong(path, "its header is no JSON object")
    return entries


def _tensor(name: str, entry: object, path: Path, start: int, file_size: int) -> Tensor:
    try:
        shape = tuple(int(each) for each in entry["shape"])  # type: ignore[index]
        dtype = str(entry["dtype"])  # type: ignore[index]
        first, last = (int(each) for each in entry["data_offsets"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise _wrong(path, f"its header says nothing sensible of {name!r}") from None
    needed = prod(shape) * _FLOATS.get(dtype, 0)
    is_consistent = 0 <= first <= last and (dtype not in _FLOATS or last - first == needed)
    if not is_consistent or min(shape, default=0) < 0:
        raise _wrong(path, f"shape and place of {name!r} do not agree")
    if start + last > file_size:
        raise _wrong(path, f"it ends before {name!r} does")
    return Tensor(name=name, dtype=dtype, shape=shape, path=path, offset=start + first)


def read_rows(tensor: Tensor, rows: Sequence[int] | None = None) -> NDArray[np.float32]:
    """
    Rows of a tensor as 32-bit numbers.

    Parameters
    ----------
    tensor
        One whose `Tensor.is_float`; dimensions before the last one are rows.
    rows
        Which ones, from 0; None reads all.

    Returns
    -------
    NDArray
        Shape (len(rows), columns).

    Raises
    ------
    InputError
        When the file cannot be read any more, or a number is not finite.
    """
    columns = tensor.shape[-1]
    width = columns * _FLOATS[tensor.dtype]
    try:
        with tensor.path.open("rb", buffering=0) as file:
            if rows is None:
                rows = range(tensor.size // columns)
                raw = _read_at(file, tensor.offset, width * len(rows))
            else:
                raw = b"".join(_read_at(file, tensor.offset + row * width, width) for row in rows)
    except OSError as error:
        raise InputError(f"{tensor.path.name} cannot be read: {error.strerror}.") from error
    numbers = _as_float32(raw, tensor.dtype).reshape(len(rows), columns)
    if not np.isfinite(numbers).all():
        raise InputError(f"{tensor.name} in {tensor.path.name} holds numbers that are not finite.")
    return numbers


def _read_at(file: BinaryIO, offset: int, num_bytes: int) -> bytes:
    file.seek(offset)
    parts = []
    while num_bytes:
        part = file.read(num_bytes)
        if not part:
            raise OSError(0, "it ends too early")
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def _as_float32(raw: bytes, dtype: str) -> NDArray[np.float32]:
    """BF16 is the upper half of a 32-bit number, which NumPy has no type for."""
    if dtype == "BF16":
        halves = np.frombuffer(raw, dtype="<u2").astype(np.uint32)
        return (halves << np.uint32(16)).view(np.float32)
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    return np.frombuffer(raw, dtype=kind).astype(np.float32)
