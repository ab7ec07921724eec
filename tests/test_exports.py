"""Public names are those in ``__all__``, sorted, complete and documented."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path
    for room in ("profiles", "cost_model", "solver", "api")
    for path in (ROOT / room).rglob("*.py")
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_definitions(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_public_definition_is_exported(path):
    module = importlib.import_module(name_of(path))
    defined = public_definitions(path)
    exported = set(getattr(module, "__all__", ()))
    routes = {name for name in defined if path.parent.name == "routes" or path.name == "cli.py"}
    assert defined - routes <= exported
    for name in exported:
        value = getattr(module, name)
        own = inspect.isclass(value) or inspect.isfunction(value)
        assert not own or value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_exports_exist(path):
    module = importlib.import_module(name_of(path))
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names))
    assert all(hasattr(module, name) for name in names)
