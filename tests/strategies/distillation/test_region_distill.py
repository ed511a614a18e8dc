"""Region distillation by hand: cells of a grid, as crops and as parts of the feature map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.inputs import Images
from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import RegionDistill
from strategies.distillation.region_distill import cells

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


@pytest.mark.parametrize("against", ["crops", "concepts"])
def test_a_cell_of_the_map_follows_the_cell_as_a_picture(
    against: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = RegionDistill(1.5, against, grid=2, pictures=100)
    learner: Any = tiny_learner(tiny_retriever(Full()).eval())
    model = learner.model
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([2, 2]))
    pixels = BATCH.pictures.pixels

    def crops() -> Tensor:
        small = torch.stack([pixels[:, :, y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8)], 1).flatten(
            0, 1
        )
        grown = cells(small, 1, 1, 16)
        return normalize(model.image_features(Images.of(grown)).pooled.double(), dim=-1)

    with torch.no_grad():
        old = crops()
        said = [f"a photo of a {name}" for name in dict.fromkeys(BATCH.labels)]
        words = normalize(model.text_features(model.towers.tokenize(said)).pooled.double(), dim=-1)
        strategy.before_experience(learner, None)
        nudge(model, 0.05)
        patches = model.towers.joint_patches(model.image_features(BATCH.pictures, {"tokens"}).tokens)
        new = normalize(patches.double().flatten(0, 1), dim=-1)  # 2 x 2 patches: each is a cell
    order = torch.randperm(len(pixels), generator=learner.progress.generator(0, "regions"))
    rows = (4 * order[:, None] + torch.arange(4)).flatten()
    if against == "crops":
        expected = float((1 - (old * new)[rows].sum(1)).mean())
    else:
        p, q = ((side @ words.T / 0.05).log_softmax(1) for side in (old, new))
        expected = float((p.exp() * (p - q)).sum(1).mean())
    found = strategy.loss(learner, BATCH, learner.predict(BATCH))["regions"]
    assert expected > 1e-2 and float(found.detach()) == pytest.approx(1.5 * expected, rel=1e-2)


def test_what_the_teacher_makes_of_a_cell_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, learner = RegionDistill(grid=2, pictures=100), tiny_learner(tiny_retriever(Full()).eval())
    model: Any = learner.model
    plain = RegionDistill(grid=2, pictures=100)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([2, 1]))
    for one in (strategy, plain):
        one.before_experience(learner, None)
    wanted = plain.loss(learner, BATCH, learner.predict(BATCH))["regions"]
    model.cache = cache = FeatureCache(model.backbone, Store(None))
    for _ in range(3):
        found = strategy.loss(learner, BATCH, learner.predict(BATCH))["regions"]
    assert cache.counts["image"].encoded == 2 * len({*BATCH.pictures.names})
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_cells_are_in_the_order_of_reading() -> None:
    pixels = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).expand(1, 3, 4, 4) * 10
    found = cells(pixels, 2, 2, 2)
    assert torch.equal(found[1], pixels[0, :, :2, 2:]) and torch.equal(found[2], pixels[0, :, 2:, :2])


def test_a_model_without_patches_is_refused() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever whose image tower has patch tokens"):
        RegionDistill().before_experience(tiny_learner(TinyTowers()), None)
