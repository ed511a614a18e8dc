"""README.md: its code stands in the examples, its links and names exist."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from clplat import registry
from clplat.cli import _parser, main
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


def test_the_three_commands_on_a_table_of_ones_own(
    tmp_path: Path,
    small_backbone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As they stand, on a smaller table and a smaller model; of the demo, the run that is searched."""
    section = PAGE.partition("## The same on a table of your own\n")[2].partition("\n## ")[0]
    check, demo, search = (
        shlex.split(line, comments=True) for line in re.findall(r"^clplat (.*)$", section, re.M)
    )
    monkeypatch.chdir(tmp_path)
    sizes = {"domains": 2, "train": 8, "queries": 4, "gallery": 20, "size": 16}
    runpy.run_path(str(ROOT / "docs/examples/drawn_table.py"))["write"](Path("shop"), **sizes)
    shown = json.loads(Path("shop/data.jsonl").read_text(encoding="utf-8").splitlines()[0])
    smaller = ["--backbone", f"local-dir:{small_backbone}"]
    assert main([*check, "--workers", "0"]) == 0 and "no problems" in capsys.readouterr().out
    _, rest = _parser()[0].parse_known_args(demo)
    parse_arguments(rest)
    out = demo.index("--out")
    stream = [*demo[1:out], *demo[out + 2 :]]
    run = ["run", *stream, *smaller, "--strategy", "replay", "--no-track", "--train.epochs", "1"]
    assert main([*run, "--out", f"{demo[out + 1]}/replay-s0"]) == 0
    search[search.index("--reference") + 1] = f"shop/{shown['reference']}"
    assert main(search) == 0 and Path("search.png").is_file()
    assert Path(demo[out + 1], "replay-s0/grids/step_2.png").is_file()


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    # The founder draws these two from a real demo.
    later = {"docs/images/demo.png", "docs/images/mlflow.png"}
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target in later or (page.parent / target).exists(), target


def test_the_place_of_the_demo_table_is_marked() -> None:
    assert PAGE.index("<!-- demo table -->") < PAGE.index("<!-- /demo table -->")
