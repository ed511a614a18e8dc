"""Every extra that an error message or a page tells people to install exists."""

from __future__ import annotations

import re
from pathlib import Path

from clplat.sweep.launchers import LAUNCHERS

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_extra_that_is_named_exists() -> None:
    section = PROJECT.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    extras = set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
    files = [*(ROOT / "clplat").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    found = (re.findall(r"clplat\[([^\]]+)\]", path.read_text(encoding="utf-8")) for path in files)
    named = {extra for names in found for group in names for extra in group.split(",")}
    in_brackets = (re.findall(r"extra `?\[([\w-]+)\]", path.read_text(encoding="utf-8")) for path in files)
    assert {extra for names in in_brackets for extra in names} <= extras
    assert "{name}" in named, "the launchers name theirs by their own name"
    assert named - {"{name}"} | LAUNCHERS.keys() <= extras
    assert {"cmaes", "index", "postgres"} <= named
