"""Errors of pydantic in plain words: the value found, what is allowed, what to do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.problems import Problem, pointer_to
from api.schemas.base import NAME, WORD

__all__ = ["in_plain_words", "shown"]

MAX_SHOWN = 60
MAX_PROBLEMS = 50
Location = tuple[str | int, ...]


def in_plain_words(error: ValidationError, data: object, roots: object) -> list[Problem]:
    """
    Problems that a validation found.

    Parameters
    ----------
    error
        What pydantic raised.
    data
        The raw data it was given.
    roots
        The type it was validated against: a schema or a union of schemas.
    """
    details = error.errors(include_url=False)
    problems = [_problem(detail, data, roots) for detail in details[:MAX_PROBLEMS]]
    if len(details) > MAX_PROBLEMS:
        problems.append(Problem("", f"... and {len(details) - MAX_PROBLEMS} more like these."))
    return list(dict.fromkeys(problems))


def shown(value: object) -> str:
    """A value as a user would recognise it, cut to a readable length."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None:
        return "empty (null)"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _problem(detail: ErrorDetails, data: object, roots: object) -> Problem:
    kind, found = detail["type"], detail["input"]
    location = tuple(_without_tags(detail["loc"], data, kind))
    name = next((part for part in reversed(location) if isinstance(part, str)), "the request")
    if detail["loc"][-1:] == ("[key]",):
        return Problem(pointer_to(*location), f"Key {shown(found)} is not a name.")
    if kind == "missing":
        text = f"{name} is missing; it is needed{_meaning(roots, location)}."
    elif kind == "extra_forbidden":
        text = f"Unknown field {name!r}.{_known(roots, location)}"
    elif kind == "value_error":
        text = f"{_named(location)}{detail['ctx']['error']}."
    else:
        text = f"{_label(location)} is {shown(found)}; {_demand(detail)}{_hint(location, kind)}."
    return Problem(pointer_to(*location), text)


def _hint(location: Location, kind: str) -> str:
    """Where the value would have belonged."""
    is_figure = kind == "literal_error" and location[-2:] == ("limits", "quality")
    return "; for a figure use perplexity_increase_percent or quality_loss_nats" * is_figure


def _named(location: Location) -> str:
    return f"{_label(location)}: " if location else "The request "


def _label(location: Location) -> str:
    """The field as people call it: ``gpus[0].count`` for the last named parts."""
    if not location:
        return "The request"
    text = ""
    for part in location[-3:]:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _without_tags(loc: Location, data: object, kind: str) -> Iterator[str | int]:
    """The parts of a location that exist in the data: pydantic adds names of union members."""
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(part, int) and isinstance(data, list) and part < len(data):
            data = data[part]
            yield part
        elif isinstance(data, dict) and part in data:
            data = data[str(part)]
            yield part
        elif last and kind == "missing":
            yield part


def _demand(detail: ErrorDetails) -> str:
    demand = _DEMANDS.get(detail["type"])
    if demand is None:
        return str(detail["msg"])
    text = demand(detail.get("ctx", {}))
    return text + _OTHER_FORMS.get(str(detail["loc"][-1]) if detail["loc"] else "", "")


def _choice(context: Mapping[str, Any]) -> str:
    return f"must be one of {context['expected']}"


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _always(text: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: text


_OTHER_FORMS = {NAME: " (or an object)", WORD: " (or a list)"}
_DEMANDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **dict.fromkeys(
        ("int_type", "int_from_float", "int_parsing"), _always("must be a whole number")
    ),
    "int_parsing_size": _always("must be a smaller whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), _always("must be a number")),
    "finite_number": _always("must be a finite number"),
    "bool_type": _always("must be true or false"),
    "string_type": _always("must be text"),
    "list_type": _always("must be a list"),
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type"),
        _always("must be an object with named fields"),
    ),
    "greater_than": lambda c: f"must be more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be {c['ge']:g} or more",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "less_than_equal": lambda c: f"must be {c['le']:g} or less",
    "string_too_short": _always("must not be empty"),
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    "string_pattern_mismatch": _always(
        "must begin with a letter or digit and hold only letters, digits, spaces and . : + - / ( )"
    ),
    "too_short": lambda c: f"must have at least {_entries(c['min_length'])}",
    "too_long": lambda c: f"must have at most {_entries(c['max_length'])}",
    "literal_error": _choice,
    "enum": _choice,
}


def _schemas_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Schemas that an annotation mentions, through unions, lists and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _schemas_in(argument)


def _schemas_at(roots: object, location: Sequence[str | int]) -> list[type[BaseModel]]:
    """Schemas that the object at a location could follow."""
    schemas = list(_schemas_in(roots))
    for part in location:
        if isinstance(part, str):
            fields = [s.model_fields[part] for s in schemas if part in s.model_fields]
            schemas = [found for field in fields for found in _schemas_in(field.annotation)]
    return schemas


def _known(roots: object, location: Location) -> str:
    known = [name for s in _schemas_at(roots, location[:-1]) for name in s.model_fields]
    close = get_close_matches(str(location[-1]), known, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"{meant} Known here: {', '.join(dict.fromkeys(known))}." if known else meant


def _meaning(roots: object, location: Location) -> str:
    for schema in _schemas_at(roots, location[:-1]):
        field = schema.model_fields.get(str(location[-1]))
        if field is not None and field.description:
            return f": {field.description.rstrip('.')}"
    return ""
