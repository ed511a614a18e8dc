"""Another backbone teaches by its own features, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.teachers.backbone import OtherBackbone
from clplat.testing import tiny_collate, tiny_domains, tiny_learner, tiny_retriever

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


def test_its_outputs_are_unit_sums_of_its_own_features() -> None:
    part, learner = OtherBackbone(weight=0.25), tiny_learner(tiny_retriever())
    part.begin(learner)
    found = part.outputs(learner, BATCH)
    teacher, size = Backbone.load("clplat-tiny"), Backbone.load("clplat-tiny").image_size
    with torch.no_grad():
        grown = torch.nn.functional.interpolate(
            BATCH.pictures.pixels.float(), (size, size), mode="bicubic", antialias=True
        )
        pictures = normalize(teacher.image(grown.round().clamp(0, 255).to(torch.uint8)).pooled, dim=-1)
        words = teacher.tokenize([triplet.query.text for triplet in tiny_domains()[0].train[:4]])
        texts = normalize(teacher.text(words).pooled, dim=-1)
    assert torch.allclose(found.candidates, pictures[4:], atol=1e-5)
    assert torch.allclose(found.query, normalize(0.75 * pictures[:4] + 0.25 * texts, dim=-1), atol=1e-4)


def test_features_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    part, learner = OtherBackbone(), tiny_learner(tiny_retriever())
    part.begin(learner)
    seen: list[int] = []
    image = part._backbone.image  # type: ignore[union-attr]
    monkeypatch.setattr(part._backbone, "image", lambda pixels: seen.append(len(pixels)) or image(pixels))
    first = part.outputs(learner, BATCH)
    again = part.outputs(learner, BATCH.part([2, 0]))
    assert len(seen) == 1 and torch.equal(again.query, first.query[[2, 0]])


def test_another_run_reads_them_from_the_store(tmp_path: Path) -> None:
    counts, found = [], []
    for _ in range(2):
        student = tiny_retriever()
        student.cache = cache = FeatureCache(student.backbone, Store(tmp_path / "features"))
        part, learner = OtherBackbone(), tiny_learner(student)
        for asked in (BATCH, BATCH.part([2, 0])):
            made = part.outputs(learner, asked)
        tokens = part.image_features(learner, BATCH.pictures, {"tokens"}).tokens
        found.append((made.query, made.candidates, tokens))
        cache.store.flush()
        counts.append(cache.counts["teacher"])
    pooled, names = len({*BATCH.pictures.names}) + len({*BATCH.texts.names}), len({*BATCH.pictures.names})
    assert [one.encoded for one in counts] == [pooled + names, 0]
    assert all(map(torch.equal, *found))
    plain = OtherBackbone().image_features(tiny_learner(tiny_retriever()), BATCH.pictures, {"tokens"}).tokens
    assert plain is not None and torch.allclose(found[1][2], plain, atol=1e-5)


def test_other_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    student = tiny_retriever()
    monkeypatch.setattr(student.backbone, "tokenize", lambda texts: torch.tensor([[1, 2, 3]]))
    with pytest.raises(UserError, match="'clplat-tiny' reads other tokens"):
        OtherBackbone().begin(tiny_learner(student))
