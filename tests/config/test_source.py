"""Options as the source says them: what the class says, without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clplat import registry
from clplat.config.annotations import group_in, slot_in
from clplat.config.options import arguments
from clplat.config.source import options_in_source
from clplat.kinds import KINDS

EVERY = [(kind.slot, name) for kind in KINDS.values() if kind.plural for name in registry.names(kind.plural)]

PART = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from clplat.training.strategy import Strategy
class Plain(Strategy):
    def __init__(self, lam: float = 1.0, *, names: list[str] | None = None) -> None: ...
class Quiet(Strategy): ...
class Heir(Plain): ...
class Other(Strategy):
    def __init__(self, where: Path = Path()) -> None: ...
class Quoted(Strategy):
    def __init__(self, lam: "float" = 1.0) -> None: ...
@dataclass
class Made(Strategy):
    lam: float = 1.0
raise RuntimeError("imported")
"""


@pytest.mark.parametrize(("slot", "name"), EVERY)
def test_the_source_says_what_the_class_says(slot: str, name: str) -> None:
    kind = KINDS[slot]
    found = options_in_source(kind, name)
    given = {argument.name: argument.type for argument in arguments(registry.load(kind.plural, name))}
    assert found in (None, given)
    made_by_a_call = slot == "adapter" and name != "full"
    nested = any(slot_in(each) or group_in(each) for each in given.values())
    left_to_the_class = made_by_a_call or not given or nested
    assert found is not None or left_to_the_class or slot in ("strategy", "scenario"), "it should be readable"


def test_what_cannot_be_read_is_left_to_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clplat_source_part.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    found = {
        name: options_in_source(KINDS["strategy"], f"clplat_source_part:{name}")
        for name in ("Plain", "Quiet", "Heir", "Other", "Quoted", "Made")
    }
    plain: dict[str, Any] = {"lam": float, "names": list[str] | None}
    assert found == {"Plain": plain, "Quiet": {}, **dict.fromkeys(("Heir", "Other", "Quoted", "Made"))}
    assert list(options_in_source(KINDS["backbone"], "clplat-tiny") or ()) == ["pretrained"]


MISTAKES = [
    ({"strategy": "replay", "strategy.siz": 3}, "did you mean 'strategy.size'"),
    ({"strategy": "replay", "strategy.size": "x"}, "'strategy.size' takes a whole number"),
    ({"strategy": "ewc,replay", "strategy.ewc.lamda": 3}, "did you mean 'strategy.ewc.lam'"),
    ({"composer": "combiner", "composer.x": 3}, "unknown option 'composer.x' of composer 'combiner'"),
    ({"scenario.domain": 3}, "did you mean 'scenario.domains'"),
    ({"backbone.x": 3}, "of backbone 'clplat-tiny' (allowed: pretrained)"),
    ({"train.lrr": 3}, "did you mean 'train.lr'"),
    ({"lr": 3}, "did you mean 'train.lr'"),
    ({"strategy": "replya"}, "did you mean 'replay'"),
]


def test_a_mistyped_option_is_refused_before_anything_heavy_is_imported() -> None:
    code = f"""
import sys
from clplat.config.resolve import resolve
from clplat.errors import UserError
for raw, words in {MISTAKES!r}:
    try:
        resolve(raw)
        raise SystemExit(f"accepted: {{raw}}")
    except UserError as error:
        assert words in str(error), error
heavy = {{"torch", "avalanche", "open_clip", "peft"}} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
