"""What is wrong with a request: one entry per error, gathered so that all are told at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from profiles.errors import HetplanError, InputError

__all__ = ["InvalidRequestError", "Problem", "ProblemList", "pointer_to"]


def pointer_to(*parts: str | int) -> str:
    """JSON pointer (RFC 6901) of these keys and indices, from the root."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One error.

    Parameters
    ----------
    pointer
        JSON pointer to the value; empty for the whole request.
    detail
        What was found, what is allowed, what to do.
    """

    pointer: str
    detail: str


class InvalidRequestError(HetplanError):
    """A request that cannot be used, with everything that is wrong in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = tuple(problems)


class ProblemList:
    """Collects errors while a request is read on, and raises them together."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, pointer: str, detail: str) -> None:
        """Note an error."""
        self._problems.append(Problem(pointer, detail))

    @contextmanager
    def catching(self, pointer: str = "") -> Iterator[None]:
        """Note an `InputError` of the block; ``pointer`` stands in where it has none."""
        try:
            yield
        except InputError as error:
            self.add(error.pointer or pointer, str(error))
        except InvalidRequestError as error:
            self._problems += error.problems

    def raise_if_any(self) -> None:
        """Raise `InvalidRequestError` when something was noted."""
        if self._problems:
            raise InvalidRequestError(list(dict.fromkeys(self._problems)))
