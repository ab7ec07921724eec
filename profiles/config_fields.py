"""Reading single fields of a parsed configuration file, with errors that name them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from profiles.errors import InputError

__all__ = ["ConfigFields"]

_LARGEST = 10**9


@dataclass(frozen=True, slots=True)
class ConfigFields:
    """
    A configuration and where it stood in the request.

    A field that is absent and one that is null count the same. Where several names are given,
    the first one present answers.

    Parameters
    ----------
    values
        The parsed file.
    pointer
        JSON pointer to it.
    """

    values: Mapping[str, object]
    pointer: str = ""

    def __post_init__(self) -> None:
        """Refuse a file that is no object."""
        if not isinstance(self.values, Mapping):
            raise InputError(
                f"A config must be a JSON object, not {type(self.values).__name__}.",
                pointer=self.pointer,
            )

    def wrong(self, name: str, what: str) -> InputError:
        """An error about a field."""
        return InputError(f"config field `{name}`: {what}.", pointer=f"{self.pointer}/{name}")

    def missing(self, *names: str) -> InputError:
        """An error about a field that is needed and absent."""
        others = f" (or {', '.join(names[1:])})" if names[1:] else ""
        return InputError(
            f"config field `{names[0]}`{others} is missing; add it.", pointer=self.pointer
        )

    def has(self, name: str) -> bool:
        """Whether a field is present and not null."""
        return self.values.get(name) is not None

    def with_defaults(self, defaults: Mapping[str, object]) -> "ConfigFields":
        """The same configuration with absent fields filled in."""
        present = {key: value for key, value in self.values.items() if value is not None}
        return ConfigFields({**defaults, **present}, self.pointer)

    def nested(self, name: str) -> "ConfigFields | None":
        """An object within the configuration; None if it is absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.wrong(name, f"{value!r} must be an object")
        return ConfigFields(value, f"{self.pointer}/{name}")

    def optional_integer(
        self, *names: str, at_least: int = 1, at_most: int = _LARGEST
    ) -> int | None:
        """A whole number within bounds; None if it is absent."""
        name = next((each for each in names if self.has(each)), None)
        if name is None:
            return None
        value = self.values[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, f"{value!r} must be a whole number")
        if not at_least <= value <= at_most:
            raise self.wrong(name, f"{value} must lie between {at_least} and {at_most}")
        return value

    def integer(
        self,
        *names: str,
        default: int | None = None,
        at_least: int = 1,
        at_most: int = _LARGEST,
    ) -> int:
        """A whole number within bounds; needed unless there is a default."""
        value = self.optional_integer(*names, at_least=at_least, at_most=at_most)
        if value is not None:
            return value
        if default is None:
            raise self.missing(*names)
        return default

    def number(self, name: str, default: float | None = None) -> float:
        """A finite positive number; needed unless there is a default."""
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise self.missing(name)
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
            raise self.wrong(name, f"{value!r} must be a positive number")
        return float(value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of whole numbers; None if it is absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(type(each) is int for each in value):
            raise self.wrong(name, f"{value!r} must be a list of whole numbers")
        return tuple(value)

    def optional_flag(self, *names: str) -> bool | None:
        """True or false; None if it is absent."""
        name = next((each for each in names if self.has(each)), None)
        if name is None:
            return None
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.wrong(name, f"{value!r} must be true or false")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.optional_flag(name)
        return default if value is None else value

    def text(self, name: str, default: str | None = None) -> str:
        """A text; needed unless there is a default."""
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise self.missing(name)
            return default
        if not isinstance(value, str):
            raise self.wrong(name, f"{value!r} must be a text")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of texts; None if it is absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise self.wrong(name, f"{value!r} must be a list of texts")
        return tuple(value)
