"""An adapter that a contributor writes first, of hooks and a module of its own: it runs, right and live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.events import Listener
from clplat.runs.assembly import assemble, refuse_idle_parts
from clplat.runs.experiment import run

HOOKED = '''
from torch import nn
from clplat.parts.adapters._base import Adapter

class Hooked(Adapter):
    """A linear layer beside a block."""

    def __init__(self, tower: str = "image") -> None:
        self.tower = tower

    def attach(self, backbone, name="default"):
        visual = self.tower == "image"
        layer = nn.Linear(32, 32)
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        backbone.text_named_for_fun = layer
        top = backbone.model.visual if visual else backbone.model
        top.transformer.resblocks[0].register_forward_hook(lambda _, __, out: out + layer(out))
        return ["text_named_for_fun.weight", "text_named_for_fun.bias"]

    def activate(self, backbone, name):
        """There is nothing to switch."""
'''

pytestmark = pytest.mark.usefixtures("one_thread")


class Noting(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def config(small_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "hooked_adapter.py").write_text(HOOKED, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    sizes = {"domains": 2, "train": 16, "queries": 8, "gallery": 20, "size": 16}
    return {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "train": {"epochs": 2, "batch_size": 8},
        "adapter": "hooked_adapter:Hooked",
        "composer": "image_only",
    }


def test_an_adapter_of_hooks_is_right_and_the_run_says_that_it_is_live(
    config: dict[str, Any], tmp_path: Path
) -> None:
    listener, found = Noting(), []
    for features in ("fp32", "off"):
        found.append(run({**config, "features": features}, out=tmp_path / features, listener=listener))
    assert found[0]["metrics"] == found[1]["metrics"] and found[0]["status"] == "complete"
    image = found[0]["measured"]["features"]["image"]
    assert image["live"] == image["asked"] and list(image["unseen"]) == ["a forward hook on block 0"]
    said = "the image tower runs live, nothing of it is kept: a forward hook on block 0"
    assert listener.notes.count(said) == 1


def test_an_adapter_is_idle_by_what_it_trains_not_by_its_name(config: dict[str, Any]) -> None:
    resolved = resolve(config)
    refuse_idle_parts(resolved, assemble(resolved))
    resolved = resolve({**config, "adapter": "full", "adapter.towers": "text"})
    with pytest.raises(UserError, match="adapter 'full' would never be trained: composer 'image_only'"):
        refuse_idle_parts(resolved, assemble(resolved))


def test_texts_are_counted_beside_a_composers_template(config: dict[str, Any]) -> None:
    """48 places: the sentence takes 43 of them, so that no text of the catalogue fits."""
    sentence = f"a photo of * {'very ' * 38}that"
    chosen = {**config, "adapter": "none", "composer": {"name": "pseudo_word", "template": sentence}}
    with pytest.raises(UserError, match=r"composer's template takes 43.*--data.long_texts cut"):
        assemble(resolve(chosen))
    assert assemble(resolve({**chosen, "data.long_texts": "cut"})).cut_texts
