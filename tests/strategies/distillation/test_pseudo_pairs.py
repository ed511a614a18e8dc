"""Pseudo-answers of two rankers: agreement, certainty, the switch between them, and no label read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.columns import Column
from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import PseudoPairs

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
#: Two rankers of three queries and four candidates, without the last of the first.
BY_PICTURE = torch.tensor([[3.0, 1.0, 0.0, -torch.inf], [0.0, 0.0, 9.0, 0.0], [1.0, 0.9, 0.8, 0.7]])
BY_TEXT = torch.tensor([[0.0, 2.0, 1.0, -torch.inf], [0.0, 0.1, 8.0, 0.0], [0.6, 0.7, 0.8, 0.9]])
VALID = BY_PICTURE.isfinite()


def test_agreement_is_what_both_have_among_their_nearest() -> None:
    strategy = PseudoPairs(fusion="agreement", nearest=1)
    found = strategy.answers([BY_PICTURE, BY_TEXT], VALID)
    assert found.nonzero().tolist() == [[1, 2]] and strategy.gap == pytest.approx(2 / 3)
    wide = PseudoPairs(fusion="agreement", nearest=2).answers([BY_PICTURE, BY_TEXT], VALID)
    assert wide[:2].nonzero().tolist() == [[0, 1], [1, 2]] or wide[1, 2]
    assert not PseudoPairs(fusion="agreement", nearest=9).answers([BY_PICTURE, BY_TEXT], VALID)[0, 3]


def test_certainty_takes_the_best_of_the_surer_half() -> None:
    fused = []
    for i in range(3):
        p = [x[i].double().softmax(0) for x in (BY_PICTURE, BY_TEXT)]
        h = torch.stack([-(q * q.clamp(min=1e-300).log()).sum() for q in p])
        w = (-h).softmax(0)
        fused.append(w[0] * p[0] + w[1] * p[1])
    sure = torch.stack([row.max() for row in fused])
    wanted = [[i, int(fused[i].argmax())] for i in range(3) if sure[i] >= sure.median()]
    found = PseudoPairs(fusion="certainty").answers([BY_PICTURE, BY_TEXT], VALID)
    assert found.nonzero().tolist() == wanted and len(wanted) == 2


def test_the_gap_of_the_domain_switches() -> None:
    rules = {}
    for limit in (0.6, 0.7):  # the rankers differ on two of three
        strategy = PseudoPairs(nearest=1, limit=limit)
        rules[limit] = strategy.answers([BY_PICTURE, BY_TEXT], VALID)
    assert torch.equal(
        rules[0.6], PseudoPairs(fusion="agreement", nearest=1).answers([BY_PICTURE, BY_TEXT], VALID)
    )
    assert torch.equal(rules[0.7], PseudoPairs(fusion="certainty").answers([BY_PICTURE, BY_TEXT], VALID))
    assert strategy.state_dict()["differ"] == [2.0, 3.0]
    strategy.before_experience(tiny_learner(tiny_retriever(Full(last=1))), None)
    assert strategy.gap == 0.0, "each domain has its own"


def test_the_loss_reads_no_label() -> None:
    strategy, model = PseudoPairs(weight=1.5, fusion="certainty"), tiny_retriever(Full()).eval()
    learner: Any = tiny_learner(model)
    strategy.before_experience(learner, None)
    with torch.no_grad():
        seen = normalize(model.image_features(BATCH.pictures).pooled.double(), dim=-1)
        said = normalize(model.text_features(BATCH.texts).pooled.double(), dim=-1)
    nudge(model, 0.02)
    made = learner.predict(BATCH)
    count, names = len(BATCH), BATCH.pictures.names
    own = torch.tensor([[a == b for b in names[count:]] for a in names[:count]])
    rankers = [(rows @ seen[count:].T / 0.05).masked_fill(own, -torch.inf) for rows in (seen[:count], said)]
    right = strategy.answers(rankers, ~own)
    logits: Tensor = (made.scale * made.query.double() @ made.candidates.double().T).detach()
    rows = [
        -logits[i].masked_fill(own[i], -torch.inf).log_softmax(0)[right[i]].mean()
        for i in range(count)
        if right[i].any()
    ]
    assert rows and own.any()
    found = strategy.loss(learner, BATCH, made)["pseudo_pairs"]
    shares = {"answered": int(right.any(1).sum()) / count, "answers": 1.0}
    assert strategy.numbers().items() >= shares.items() and strategy.numbers()["gap"] == strategy.gap
    assert float(found.detach()) == pytest.approx(1.5 * float(torch.stack(rows).mean()), rel=1e-4)
    wrong = ["?"] * len(BATCH.labels)
    labels = replace(BATCH.columns["labels"], value=wrong)
    shuffled = Column(BATCH.positive.roll(1, 1), "pair")
    blind = type(BATCH)({**BATCH.columns, "labels": labels, "positive": shuffled}, BATCH.owners)
    assert torch.equal(strategy.loss(learner, blind, made)["pseudo_pairs"], found)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        PseudoPairs().before_experience(tiny_learner(TinyTowers()), None)
    with pytest.raises(ValueError, match=r"limit in \[0, 1\]"):
        PseudoPairs(limit=2.0)
