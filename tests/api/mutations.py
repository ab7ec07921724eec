"""Random changes to valid bodies, for tests that any input is answered in words."""

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]


def values(words: Sequence[str]) -> st.SearchStrategy[Any]:
    """What a value is replaced by: of any type, or one of the words that mean something."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 70),
        st.sampled_from([10**9, 10**30, 0.5, -0.0, 1e308, 1e-308]),
        st.text(max_size=10),
        st.sampled_from(words),
        st.lists(st.integers(-1, 30), max_size=3),
        st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    )


def places(value: Any, path: Path = ()) -> list[Path]:
    """Path of every value within a body."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def mutated(body: Any, data: st.DataObject, replacements: st.SearchStrategy[Any]) -> Any:
    """A copy with up to three values replaced or left out."""
    body = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(body)))
        parent = body
        for part in path[:-1]:
            parent = parent[part]
        if data.draw(st.booleans()):
            parent[path[-1]] = data.draw(replacements)
        else:
            del parent[path[-1]]
        if not body:
            break
    return body
