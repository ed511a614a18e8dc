"""The table of layers in docs/architecture.md is that of the code, and every package says what it holds."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.generate.layers import PAGE, page

ROOT = Path(__file__).parents[2]


def test_table_of_layers_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make layers`"


def test_every_package_says_in_one_line_what_it_holds() -> None:
    for package in ("clplat", "strategies", "scenarios", "sweeps"):
        for source in (ROOT / package).rglob("__init__.py"):
            text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
            assert text.partition("\n")[0].endswith("."), f"{source} has no line that says what it holds"
