"""The way back by hand: a learnt word before the text, the answer as reference, references as answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.pseudo_words import Template
from clplat.parts.composers.cross_attention import CrossAttention
from clplat.parts.composers.magic_lens import MagicLens
from clplat.parts.composers.pseudo_word import PseudoWord
from clplat.parts.composers.sum import Sum
from clplat.parts.composers.two_way import TwoWay
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever

BATCH = tiny_collate()([*tiny_domains()[0].train[:6], tiny_domains()[0].train[0]])


def test_the_way_back_by_hand() -> None:
    model = tiny_retriever(composer=TwoWay(Sum(weight=0.5), weight=0.4)).train()
    outputs, composer, backbone = model(BATCH), model.composer, model.backbone
    shown, answers = (
        normalize(backbone.image(pixels).pooled.double(), dim=1)
        for pixels in (BATCH.reference, BATCH.candidates)
    )
    sentence = Template(model.towers, "*").with_text(composer.word.expand(7, 1, -1), BATCH.tokens)
    queries = normalize(answers + normalize(sentence.double(), dim=1), dim=1)
    names, cost = BATCH.pictures.names[:7], 0.0
    assert len(set(names)) < 7, "a reference that stands twice answers twice"
    for row, query in enumerate(queries):
        powers = (float(outputs.scale) * query @ shown.T).exp().detach()
        same = [i for i, name in enumerate(names) if name == names[row]]
        cost -= sum(math.log(float(powers[i] / powers.sum())) for i in same) / len(same) / 7
    assert outputs.terms["back"].item() == pytest.approx(0.4 * cost, rel=1e-4)
    assert torch.equal(
        model.eval()(BATCH).query, tiny_retriever(composer=Sum(weight=0.5)).eval()(BATCH).query
    )


@pytest.mark.parametrize(
    "inner", [CrossAttention(asks="words", width=8, heads=2), MagicLens(depth=1, heads=4)]
)
def test_any_composer_of_features_learns_the_way_back(inner: CrossAttention) -> None:
    model = tiny_retriever(composer=TwoWay(inner)).train()
    model(BATCH).terms["back"].backward()
    assert model.composer.word.grad is not None and bool(model.composer.word.grad.any())


def test_a_full_context_loses_a_word_and_not_its_end() -> None:
    model = tiny_retriever(composer=TwoWay())
    long = model.towers.tokenize(["one two three four five six seven eight nine ten eleven twelve"])
    found = model.composer._sentence.features(model.composer.word[None], long, frozenset({"pooled"}))
    assert int(found.ends[0]) == tiny_backbone().context_length - 1


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="inner must read features of the text, as PseudoWord does not"):
        TwoWay(PseudoWord())
    with pytest.raises(ValueError, match="weight must be a number of at least 0, not -1"):
        TwoWay(weight=-1)
