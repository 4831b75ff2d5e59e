"""The plan of the package: no circle of imports, no long file, no crowded folder."""

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted((SOURCE / "gpvit").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imported(tree: ast.AST) -> set[str]:
    """Our modules that a file imports, wherever the import stands, but for types alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if is_for_types_alone(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
        found |= imported(node)
    return found & MODULES.keys()


def test_no_file_takes_part_in_a_circle_of_imports():
    graph = {name: imported(ast.parse(path.read_text())) - {name, "gpvit"} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_file_holds_more_than_one_idea():
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 320} == {}


def test_no_folder_is_crowded():
    counts = Counter(str(path.parent.relative_to(SOURCE)) for path in FILES if path.stem != "__init__")
    assert {name: count for name, count in counts.items() if count > 16} == {}
