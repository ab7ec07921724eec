"""Imports run downward only: api -> solver -> cost_model -> profiles."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {"profiles": 0, "cost_model": 1, "solver": 2, "api": 3}
FILES = sorted(path for room in FLOORS for path in (ROOT / room).rglob("*.py"))
SOLVERS = {"highspy", "pulp", "ortools"}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names.add(node.module)
    return names


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_looks_up(path):
    floor = FLOORS[path.relative_to(ROOT).parts[0]]
    rooms = {name.split(".")[0] for name in imported(path)}
    above = {room for room in rooms & FLOORS.keys() if FLOORS[room] > floor}
    assert not above, f"{path.name} imports upward from {above}"
    assert not rooms & {"tests", "benchmarks"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_solvers_are_imported_by_their_backends_only(path):
    rooms = {name.split(".")[0] for name in imported(path)}
    assert not rooms & SOLVERS or path.parent.name == "backends"


def test_no_file_imports_itself_in_a_circle():
    graph = {module_of(path): imported(path) for path in FILES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import circle: {' -> '.join((*above, name))}"
        if name in done or name not in graph:
            return
        for below in sorted(graph[name]):
            visit(below, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())
