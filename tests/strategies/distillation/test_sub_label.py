"""Sub-labels by hand: the teacher's guess divides what a label joins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.testing import (
    TinyTowers,
    nudge,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_loss,
    tiny_retriever,
)
from strategies import SubLabel

BATCH = tiny_collate()(tiny_domains(train=30)[0].train)


def test_answers_are_what_label_and_guess_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, model = SubLabel(weight=1.5), tiny_retriever(Full()).eval()
    learner: Any = tiny_learner(model)
    strategy.before_experience(learner, None)
    with torch.no_grad():
        said = [f"a photo of a {label}" for label in dict.fromkeys(BATCH.labels)]
        words = normalize(model.text_features(model.towers.tokenize(said)).pooled.double(), dim=-1)
        shown = normalize(model.image_features(BATCH.pictures).pooled.double(), dim=-1)[len(BATCH) :]
    wanted = (shown @ words.T).argmax(1).tolist()
    nudge(model, 0.05)
    assert strategy.guesses(learner, BATCH) == wanted, "by the model before the stream"

    guesses = [i % 2 for i in range(len(BATCH))]
    monkeypatch.setattr(strategy, "guesses", lambda *_: guesses)
    made = learner.predict(BATCH)
    logits = (made.scale * made.query.double() @ made.candidates.double().T).detach()
    both, labels = torch.zeros(2, dtype=torch.float64), BATCH.labels
    for i in range(len(BATCH)):
        right = [j for j in range(len(BATCH)) if labels[j] == labels[i] and guesses[j] == guesses[i]]
        assert len(right) < labels.count(labels[i]), "the guess divides the label"
        both[0] -= logits[i].log_softmax(0)[right].mean() / len(BATCH)
        both[1] -= logits[:, i].log_softmax(0)[right].mean() / len(BATCH)
    found = strategy.loss(learner, BATCH, made)["sub_label"]
    assert float(found.detach()) == pytest.approx(1.5 * float(both.mean()), rel=1e-4)


def test_a_teacher_that_agrees_leaves_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, learner = SubLabel(), tiny_learner(tiny_retriever(Full()).eval())
    monkeypatch.setattr(strategy, "guesses", lambda *_: [0] * len(BATCH.labels))
    made = learner.predict(BATCH)
    found, (loss, back) = strategy.loss(learner, BATCH, made)["sub_label"], (tiny_loss(BATCH, made), None)
    assert back is None and float(found.detach()) > 0 and float(loss.detach()) > 0
    one_way = made.scores(scale=made.scale).log_softmax(1)
    positive = BATCH.positive.double()
    wanted = -(positive / positive.sum(1, keepdim=True) * one_way.double()).sum(1).mean()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        SubLabel().before_experience(tiny_learner(TinyTowers()), None)
    with pytest.raises(ValueError, match="in the template"):
        SubLabel(template="a photo")
