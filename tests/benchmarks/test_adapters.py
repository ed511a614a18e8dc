"""The benchmark of weight adapters on models of a moment: both sides are the same, and what is counted."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest

from benchmarks import adapters, synthetic
from clplat.models.backbone import Backbone
from clplat.testing.tiny import tiny_backbone

_TOWER = {"width": 32, "layers": 2}
_CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {**_TOWER, "image_size": 16, "patch_size": 8, "head_width": 16},
    "text_cfg": {**_TOWER, "context_length": 77, "heads": 2},
}


def _small() -> Backbone:
    return Backbone.random(_CONFIG, seed=0)


def _stock(backbone: Backbone) -> Any:
    model = open_clip.CLIP(**_CONFIG)
    model.load_state_dict(backbone.stock_state_dict())
    return model.requires_grad_(False).eval()


@pytest.fixture(autouse=True)
def _moments(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(synthetic, "vit_b_32", _small)
    monkeypatch.setattr(synthetic, "stock", _stock)
    monkeypatch.setattr(adapters, "vit_l_14", tiny_backbone)
    monkeypatch.setattr(adapters, "REPEATS", 1)
    monkeypatch.setattr(adapters, "ADAPTERS", 3)


def test_a_copy_shares_every_tensor() -> None:
    one = tiny_backbone()
    other = adapters.shared_copy(one)
    assert other is not one and other.model is not one.model
    assert [p.data_ptr() for p in other.parameters()] == [p.data_ptr() for p in one.parameters()]


def test_a_step_trains_as_many_numbers_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "STEPS", ("lora", "ia3"))
    found = list(adapters.steps())
    assert ["LoRA" in found[0]["what"], "IA3" in found[1]["what"]] == [True, True]
    assert all(row["target"] == "<= 1.1x" and row["ours_seconds"] > 0 for row in found)


def test_what_takes_too_long_has_a_row_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters.registry, "names", lambda kind: ["full", "ia3", "lora"])
    assert len(list(adapters.attached())) == 1
    assert adapters.switched()["what"].startswith("switching among 3 adapters")
