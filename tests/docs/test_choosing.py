"""docs/choosing.md gives advice on parts that exist; the site has a page for each (test_site.py)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clplat import registry
from clplat.config.parse import parse_arguments
from clplat.kinds import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text(encoding="utf-8")
PLURALS = [kind.plural for kind in KINDS.values() if kind.plural and kind.plural != "scenarios"]


def named(kind: str) -> set[str]:
    """The names in the first column of the kind's table."""
    section = re.search(rf"^## {kind.capitalize()}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/choosing.md has no section on {kind}"
    cells = re.findall(r"^\| (`[^|]*) \|", section.group(1), re.MULTILINE)
    return set(re.findall(r"`([a-z0-9_]+)`", " ".join(cells)))


@pytest.mark.parametrize("kind", PLURALS)
def test_the_tables_are_about_what_is_registered(kind: str) -> None:
    assert named(kind) and named(kind) <= set(registry.names(kind))


def test_every_row_is_whole_and_of_a_part_of_its_own() -> None:
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE):
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert all(row.endswith("|") for row in rows), section.splitlines()[0]
        firsts = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
        assert len(firsts) == len(set(firsts)), section.splitlines()[0]


def test_every_command_on_the_page_is_accepted() -> None:
    commands = re.findall(r"`(--[^`]*)`", PAGE)
    assert len(commands) > 10
    for command in commands:
        if re.fullmatch(r"--\w+", command):  # a slot alone is no command
            assert command[2:] in KINDS
        elif re.fullmatch(r"--\w+(\.\w+)? [^ ]+|(--\w+(\.\w+)? [^ ]+ )+--\w+(\.\w+)? [^ ]+", command):
            parse_arguments(command.split())


def test_every_option_on_the_page_exists() -> None:
    options = set(re.findall(r"`((?:composer|projection|loss|adapter|strategy)\.\w+)`", PAGE))
    assert options
    for option in options:
        kind = KINDS[option.split(".")[0]].plural
        texts = [registry.load(kind, name) for name in registry.names(kind)]
        assert any(f" {option.split('.')[1]}:" in (part.__doc__ or "") for part in texts), option
