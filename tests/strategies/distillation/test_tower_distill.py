"""Tower distillation by hand: pictures and texts apart, each tower by a teacher of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.mechanisms.random_texts import random_texts
from clplat.parts.adapters.full import Full
from clplat.parts.teachers.sentences import Sentences, hashed_words
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import TowerDistill

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


def test_each_tower_follows_its_own_teacher() -> None:
    strategy = TowerDistill(weight=1.5, pictures=5, texts=3)
    learner: Any = tiny_learner(tiny_retriever(Full()).eval())
    model = learner.model
    strategy.before_experience(learner, None)
    shown, said = learner.reference.sample(learner.progress, 5, 3)
    pixels = tiny_collate().pixels.images(shown).pixels
    words = model.towers.tokenize(said)
    with torch.no_grad():
        old = [model.image_features(pixels).pooled.double(), model.text_features(words).pooled.double()]
        nudge(model, 0.05)
        new = [model.image_features(pixels).pooled.double(), model.text_features(words).pooled.double()]
    pairs = [(normalize(a, dim=-1), normalize(b, dim=-1)) for a, b in zip(new, old, strict=True)]
    assert [len(a) for a, _ in pairs] == [5, 3]
    expected = sum(float((1 - (a * b).sum(1)).mean()) for a, b in pairs) / 2
    found = strategy.loss(learner, BATCH, None)["towers"]
    assert expected > 1e-3 and float(found.detach()) == pytest.approx(1.5 * expected, rel=1e-3)


def test_a_text_teacher_of_another_width_has_a_projector_of_its_own() -> None:
    strategy = TowerDistill(pictures=4, texts=4, text_teacher=Sentences())
    learner: Any = tiny_learner(tiny_retriever(Full(last=1)).eval())
    strategy.before_experience(learner, None)
    strategy.loss(learner, BATCH, None)["towers"].backward()  # type: ignore[no-untyped-call]
    assert strategy._text_projector.net is not None and strategy._image_projector.net is None
    assert hashed_words(["a"]).shape[1] == strategy._text_projector.net[0].weight.shape[0]


def test_random_tokens_in_place_of_texts() -> None:
    strategy, model = TowerDistill(texts=6, words="random", length=4), tiny_retriever(Full(last=1))
    learner: Any = tiny_learner(model)
    _, texts = strategy._drawn(learner)
    draw = learner.progress.generator(0, "words").initial_seed()
    wanted = random_texts(model.backbone, 6, 4, draw)
    assert texts.names == wanted.names
    learner.progress = learner.progress.stepped()
    assert strategy._drawn(learner)[1].names != wanted.names, "others at every step"


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        TowerDistill().before_experience(tiny_learner(TinyTowers()), None)
    with pytest.raises(ValueError, match="at least 2"):
        TowerDistill(texts=1)
