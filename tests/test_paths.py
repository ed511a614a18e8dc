"""No code depends on the name of the folder that holds it: everybody's clone is called ``clplat``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("clplat", "strategies", "scenarios", "sweeps", "tests", "benchmarks", "docs")
#: Looking for one of our folders in a path by its name, which a folder above it may have as well.
NAMED = re.compile(
    r"/(clplat|strategies|scenarios|sweeps|tests)/?|(clplat|strategies|scenarios|sweeps|tests)/"
)
SEARCHES = {"split", "rsplit", "partition", "rpartition", "find", "rfind", "index", "rindex", "replace"}


def searched(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every constant that another text is searched for."""
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEARCHES:
            found = node.args
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            found = [node.left]
        for part in found:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.lineno, part.value


def faults(text: str) -> list[int]:
    return [line for line, constant in searched(ast.parse(text)) if NAMED.fullmatch(constant)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_path_is_searched_for_the_name_of_a_folder(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    wrong = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: lines for path, lines in wrong.items() if lines} == {}, "ask Path.parents instead"


@pytest.mark.parametrize(
    "line",
    [
        '__file__.rsplit("/clplat/", 1)[0]',
        'frame.filename.split("clplat/")',
        '"/strategies/" in place',
        'place.rpartition("/clplat/")[2]',
    ],
)
def test_what_would_be_found(line: str) -> None:
    assert faults(line) == [1]
