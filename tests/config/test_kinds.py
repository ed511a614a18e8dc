"""A new kind of part is a row in `clplat.kinds` and a folder; the rest follows, and old runs stay theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clplat import registry, scan
from clplat.cli import main
from clplat.config.help import help_on
from clplat.config.parse import parse_arguments
from clplat.config.resolve import command_of, completed, resolve
from clplat.errors import UserError
from clplat.kinds import KINDS, Kind
from clplat.naming import flat, label, run_name, variant
from clplat.runs.run_folder import default_folder
from docs.generate import kinds as generated

PART = '''
"""Halve."""
from __future__ import annotations
from typing import Annotated
from clplat.config.space import Int
__all__ = ["Halve"]
class Halve:
    """Keeps half of the numbers.

    Args:
        width: how many.
    """
    def __init__(self, width: Annotated[int, Int(1, 9)] = 4) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        self.width = width
'''


@pytest.fixture
def gadget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """A kind that nothing knows of, with one part that is registered by an entry point."""
    (tmp_path / "clplat_gadget.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    kind = Kind("gadget", "gadgets", "none", optional=True)
    monkeypatch.setitem(KINDS, "gadget", kind)
    plain = registry.entry_points

    def points(group: str) -> Any:
        own = registry.EntryPoint("halve", "clplat_gadget:Halve", group)
        return [*plain(group=group), *([own] if group == "clplat.gadgets" else [])]

    monkeypatch.setattr(registry, "entry_points", points)
    caches = (scan.scanned, registry.places)
    for cached in caches:
        cached.cache_clear()
    yield kind
    sys.modules.pop("clplat_gadget", None)
    for cached in caches:
        cached.cache_clear()


OLD = {"strategy": "ewc", "adapter": {"name": "lora", "r": 8}, "projection": "procrustes", "seed": 3}


def identity(raw: dict[str, Any]) -> dict[str, Any]:
    """Everything by which a run is known."""
    config = resolve(raw)
    plain = config.as_dict()
    return {
        "config": plain,
        "variant": variant(plain),
        "params": flat(plain),
        "name": run_name(plain),
        "folder": default_folder(config),
        "command": command_of(config),
        "label": label(plain),
    }


def test_a_new_slot_changes_nothing_of_what_older_runs_are_called(request: pytest.FixtureRequest) -> None:
    before = identity(OLD)
    assert before["label"] == "lora r8 ewc procrustes"
    request.getfixturevalue("gadget")
    assert identity(OLD) == before
    assert completed(before["config"]) == before["config"]
    assert resolve(before["config"]) == resolve(OLD) and resolve(OLD).name("gadget") == "none"


def test_a_part_of_a_new_kind_is_known_everywhere(
    gadget: Kind, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = resolve(parse_arguments(["--gadget", "halve", "--gadget.width", "2"]))
    assert config.make("gadget").width == 2 and resolve({}).make("gadget") is None
    plain = config.as_dict()
    assert plain["gadget"] == {"name": "halve", "width": 2} and resolve(plain) == config
    assert default_folder(config).name == "catalogue-naive-full-sum-halve-s0"
    assert label(plain) == "naive halve"
    assert flat(plain)["gadget"] == "halve" and flat(plain)["gadget.width"] == 2
    assert command_of(config) == "clplat run --gadget halve --gadget.width 2"
    assert "--gadget.width  a whole number (default: 4)\n    how many." in help_on("gadget", "halve")
    assert main(["list", "gadgets"]) == 0 and "Keeps half" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"gadget\.widht' of gadget 'halve'; did you mean 'gadget.width'"):
        resolve({"gadget": "halve", "gadget.widht": 2})
    with pytest.raises(UserError, match="unknown gadget 'halv'; did you mean 'halve'"):
        resolve({"gadget": "halv"})
    with pytest.raises(UserError, match="gadget 'halve': width must be at least 1, not 0"):
        resolve({"gadget": {"name": "halve", "width": 0}})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(plain))
    assert resolve(parse_arguments(["--config", str(tmp_path / "mine.yaml")])) == config


def test_the_pages_that_name_every_kind_are_written_for_a_new_one(gadget: Kind) -> None:
    pages = {path.name: text for path, text in generated.pages().items()}
    assert "`probes`, `gadget`." in pages["cli.md"].replace("\n", " ")
    assert "| gadgets | `halve` |" in pages["README.md"]
    assert "## Gadgets\n\n| name | what it is |\n|---|---|\n| `halve` | Keeps half" in pages["choosing.md"]
    assert "`clplat.gadgets`" in pages["parts.md"]


def test_the_pages_that_name_every_kind_are_up_to_date() -> None:
    for path, text in generated.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run python -m docs.generate.kinds"


def test_a_kind_without_parts_yet_can_be_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(KINDS, "future", Kind("future", "futures", "none", optional=True))
    caches = (scan.scanned, registry.places)
    for cached in caches:
        cached.cache_clear()
    try:
        assert main(["list", "futures"]) == 0
        assert "none" in help_on("future") and resolve({}).name("future") == "none"
    finally:
        for cached in caches:
            cached.cache_clear()


def test_options_that_are_younger_than_a_folder_have_their_defaults() -> None:
    now = resolve({"strategy": "replay", "strategy.size": 7}).as_dict()
    older = {**now, "strategy": {"name": "replay", "size": 7}, "train": {"epochs": 4}}
    del older["features"]
    assert completed(older) == now
    assert completed({**now, "strategy": {"name": "gone", "x": 1}})["strategy"] == {"name": "gone", "x": 1}
