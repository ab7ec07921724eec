"""Tokens to run a model on: a file of their numbers, or numbers drawn at random."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError, TableError

__all__ = ["random_tokens", "read_tokens"]

Tokens = NDArray[np.int64]
_BATCH = 8  # sequences that run at a time
_RANDOM_TOKENS, _RANDOM_LENGTH = 10_240, 512


def random_tokens(vocab: int, max_length: int | None, seed: int) -> list[Tokens]:
    """
    About ten thousand tokens, each as likely as any other.

    Parameters
    ----------
    vocab
        Tokens of the vocabulary.
    max_length
        Longest sequence of the model; None where it is not known.
    seed
        Draws them.

    Returns
    -------
    list
        Batches of shape (sequences, length).
    """
    length = min(_RANDOM_LENGTH, max_length or _RANDOM_LENGTH)
    count = -(-_RANDOM_TOKENS // length)
    drawn = np.random.default_rng(seed).integers(0, vocab, (count, length))
    return list(_batches(drawn.tolist()))


def read_tokens(path: Path, vocab: int) -> list[Tokens]:
    """
    The sequences of a text file.

    Parameters
    ----------
    path
        A sequence a line: numbers of tokens with blanks between them.
    vocab
        Tokens of the vocabulary.

    Returns
    -------
    list
        Batches of sequences of one length, shape (sequences, length).

    Raises
    ------
    TableError
        Naming the line whose tokens are none of the vocabulary, or are fewer than two.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}.") from error
    sequences = [
        _sequence(line, vocab, path.name, number)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not sequences:
        raise TableError("It has no tokens; add a sequence a line.", file=path.name)
    return list(_batches(sequences))


def _sequence(line: str, vocab: int, name: str, number: int) -> list[int]:
    words = line.split()
    wrong = [word for word in words if not word.isdecimal() or int(word) >= vocab]
    if wrong:
        raise TableError(
            f"{wrong[0]!r} is no token; they are numbers from 0 to {vocab - 1}.",
            file=name,
            line=number,
        )
    if len(words) < 2:
        raise TableError("It has a single token; give at least two.", file=name, line=number)
    return [int(word) for word in words]


def _batches(sequences: Sequence[Sequence[int]]) -> Iterator[Tokens]:
    for _, alike in groupby(sequences, key=len):
        rows = list(alike)
        for start in range(0, len(rows), _BATCH):
            yield np.array(rows[start : start + _BATCH], dtype=np.int64)
