"""
Text of a request to plain data, strictly.

YAML is read by the rules of version 1.2 (``1e-3`` is a number, ``no`` is text); keys that occur
twice, aliases, NaN and deep nesting are refused in YAML and JSON alike.
"""

import json
import math
import re
from typing import Any, NoReturn

import yaml

from api.problems import InvalidRequestError, Problem, pointer_to

__all__ = ["MAX_DEPTH", "Lines", "read_json", "read_text"]

MAX_DEPTH = 32
MAX_DIGITS = 400
Lines = dict[str, int]
"""Line of each value, by JSON pointer, counted from 1."""

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _refuse(detail: str, pointer: str = "") -> NoReturn:
    raise InvalidRequestError([Problem(pointer, detail)])


def read_text(text: str) -> tuple[Any, Lines]:
    """
    Data of a YAML or JSON text, with the lines of its values (YAML only).

    Raises
    ------
    InvalidRequestError
        When the text breaks the syntax, or uses what is refused.
    """
    if text.lstrip().startswith(("{", "[")):
        return read_json(text), {}
    lines: Lines = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = None if node is None else _value(node, "", lines, set())
    except yaml.YAMLError as error:
        _refuse(f"The YAML cannot be read: {_where(error)}.")
    except RecursionError:
        _refuse(f"The YAML is nested deeper than {MAX_DEPTH} levels; make it flatter.")
    if data is None:
        _refuse("The request is empty; see `hetplan examples` for requests to start from.")
    return data, lines


def _where(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _value(node: yaml.Node, pointer: str, lines: Lines, seen: set[int]) -> Any:  # noqa: ANN401
    line = node.start_mark.line + 1
    lines[pointer] = line
    if id(node) in seen:
        _refuse(f"Line {line} uses a YAML alias; write the value out instead.", pointer)
    seen.add(id(node))
    if pointer.count("/") > MAX_DEPTH:
        _refuse(f"Line {line} is nested deeper than {MAX_DEPTH} levels; make it flatter.", pointer)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, pointer, lines, seen)
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(item, pointer + pointer_to(index), lines, seen)
            for index, item in enumerate(node.value)
        ]
    return _scalar(node, pointer)


def _mapping(node: yaml.MappingNode, pointer: str, lines: Lines, seen: set[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            _refuse(f"Line {line} has a key that is not a word; write `name: value`.", pointer)
        if key.value in result:
            _refuse(f"{key.value!r} occurs twice, again in line {line}; drop one.", pointer)
        result[key.value] = _value(value, pointer + pointer_to(key.value), lines, seen)
    return result


def _scalar(node: yaml.Node, pointer: str) -> Any:  # noqa: ANN401
    text: str = node.value
    line = node.start_mark.line + 1
    if node.tag not in _PLAIN_TAGS:
        _refuse(f"Line {line} has the YAML tag {node.tag}; write a plain value.", pointer)
    if getattr(node, "style", None) is not None:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NOT_FINITE.fullmatch(text):
        _refuse(f"{_label(pointer)} is {text} in line {line}; must be a finite number.", pointer)
    if _INT.fullmatch(text):
        return _integer(text, pointer)
    return _finite(text, pointer) if _FLOAT.fullmatch(text) else text


def _label(pointer: str) -> str:
    return pointer.rsplit("/", 1)[-1] or "A number"


def _integer(text: str, pointer: str = "") -> int:
    if len(text) > MAX_DIGITS:
        _refuse(f"A number of {len(text)} digits is too long.", pointer)
    return int(text)


def _finite(text: str, pointer: str = "") -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(f"{_label(pointer)} is {text[:40]}; must be a finite number.", pointer)
    return value


def read_json(text: str) -> Any:  # noqa: ANN401
    """
    Data of a JSON text.

    Raises
    ------
    InvalidRequestError
        When the text breaks the syntax, repeats a key, holds NaN, or nests too deeply.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        _refuse(f"The JSON cannot be read: line {error.lineno}, column {error.colno}: {error.msg}.")
    except RecursionError:
        _refuse(f"The JSON is nested deeper than {MAX_DEPTH} levels; make it flatter.")
    _check_depth(data, MAX_DEPTH)
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        _refuse(f"{twice!r} occurs twice in one JSON object; drop one.")
    return result


def _constant(text: str) -> NoReturn:
    _refuse(f"{text} is not a number of JSON; give a finite number.")


def _check_depth(data: object, left: int) -> None:
    if left < 0:
        _refuse(f"The JSON is nested deeper than {MAX_DEPTH} levels; make it flatter.")
    if isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            _check_depth(item, left - 1)
