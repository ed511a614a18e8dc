"""README.md: its code stands in the examples, its links and names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clplat import registry
from clplat.cli import _parser
from clplat.config.parse import parse_arguments
from clplat.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_code_is_that_of_the_examples() -> None:
    blocks = re.findall(r"\((docs/examples/\w+\.py)\)\):\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for file, block in blocks:
        lines = {line.strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()}
        for line in filter(None, map(str.strip, block.splitlines())):
            assert line in lines, f"{file}: {line}"


def test_the_table_has_examples_of_every_kind() -> None:
    table = PAGE.partition("## What there is\n")[2].partition("\n## ")[0]
    for kind in KINDS.values():
        cell = re.search(rf"^\| {kind.plural or 'backbones'} \| (.*) \|$", table, re.MULTILINE)
        assert cell, kind.slot
        named = set(re.findall(r"`([a-z0-9_]+)`", cell.group(1)))
        assert not kind.plural or (named and named <= set(registry.names(kind.plural))), kind.slot


def test_the_commands_are_accepted() -> None:
    lines = re.findall(r"^clplat ((?:run|sweep) .*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        words = [str(ROOT / word) if word.startswith("sweeps/") else word for word in line.split()]
        _, rest = _parser()[0].parse_known_args(words)
        parse_arguments(rest)


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    # The founder draws these two from a real demo.
    later = {"docs/images/demo.png", "docs/images/mlflow.png"}
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target in later or (page.parent / target).exists(), target


def test_the_place_of_the_demo_table_is_marked() -> None:
    assert PAGE.index("<!-- demo table -->") < PAGE.index("<!-- /demo table -->")
