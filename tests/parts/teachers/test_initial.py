"""Initial is the model before the stream, however many experiences follow."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.models.features import POOLED
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.deep import DeepPrompt
from clplat.parts.teachers.initial import Initial
from clplat.retriever import ComposedRetriever
from clplat.testing import TeacherContract, TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner
from clplat.testing.tiny import tiny_backbone

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


class TestInitial(TeacherContract):
    @pytest.fixture(autouse=True, params=[False, True], ids=["as it was", "unprompted"])
    def part(self, request: pytest.FixtureRequest) -> None:
        self.unprompted = request.param

    def make(self) -> Initial:
        return Initial(self.unprompted, ["a photo of"] if self.unprompted else [])


def test_it_stays_the_first() -> None:
    part, model = Initial(), TinyTowers()
    learner, then = tiny_learner(model), copy.deepcopy(model)
    for _ in range(2):
        part.begin(learner)
        nudge(model, 0.2)
        assert torch.equal(part.outputs(learner, BATCH).query, then(BATCH).query)


def test_without_prompts_it_is_the_frozen_towers_behind_hand_made_words() -> None:
    backbone = tiny_backbone()
    DeepPrompt(coupled=False).attach(backbone)
    model = ComposedRetriever(backbone, Sum()).train()
    part, learner, plain = Initial(True, ["a photo of a", "one"]), tiny_learner(model), tiny_backbone()
    prompts = backbone.text_prompt, backbone.image_prompt
    part.begin(learner)
    nudge(model, 0.2)
    shown = part.image_features(learner, BATCH.pictures, POOLED).pooled
    torch.testing.assert_close(shown, plain.image(BATCH.pictures.pixels).pooled)
    said = part.text_features(learner, BATCH.texts, POOLED).pooled
    each = []
    for words in part.contexts:
        texts = plain.tokenize([f"{words} {text}" for text in BATCH.texts.said])
        each.append(normalize(plain.text(texts).pooled, dim=-1))
    mean = normalize(torch.stack(each).mean(0), dim=-1)
    torch.testing.assert_close(normalize(said, dim=-1), mean, atol=1e-5, rtol=1e-4)
    assert not part.outputs(learner, BATCH).query.requires_grad
    assert (backbone.text_prompt, backbone.image_prompt) == prompts and backbone.training


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="they need unprompted"):
        Initial(contexts=["a"])
    part, learner = Initial(unprompted=True), tiny_learner(TinyTowers())
    part.begin(learner)
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        part.outputs(learner, BATCH)
