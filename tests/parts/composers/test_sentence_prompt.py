"""SPRC: what is read before the text, what the text says alone, and which of two prompts moves."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clplat.errors import UserError
from clplat.mechanisms.pseudo_words import Template
from clplat.models.view import Towers
from clplat.parts.composers.sentence_prompt import SentencePrompt
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features

SMALL = {"words": 2, "width": 8, "heads": 2, "depth": 1, "dropout": 0.0}


def test_the_prompt_stands_before_the_text_and_is_as_long_as_words() -> None:
    torch.manual_seed(0)
    composer, (image, text) = SentencePrompt(**SMALL), features(tiny_backbone(), rows=3)  # type: ignore[arg-type]
    composer.attach(Towers(tiny_backbone()))
    prompt = composer.prompt(image, text)
    sentence = Template(composer.towers, "*", words=2)
    torch.testing.assert_close(composer(image, text), sentence.with_text(prompt, text.input_ids))
    words = composer.towers.embed_text(text.input_ids)
    assert 0.2 < (prompt.std() / words.std()).item() < 5.0
    patches, said = composer.towers.joint_patches(image.tokens), composer.towers.joint_words(text.tokens)
    end = int(text.ends[1]) + 1  # what stands behind the EOT is not read
    alone = composer.decoder(composer.asks[None], torch.cat([patches[1:2], said[1:2, :end]], 1))
    torch.testing.assert_close(prompt[1:2], alone)


def test_both_objectives_by_hand_and_only_the_read_prompt_is_aligned() -> None:
    model = tiny_retriever(composer=SentencePrompt(said=0.5, aligned=0.25, **SMALL)).train()  # type: ignore[arg-type]
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    outputs, composer = model(batch), model.composer
    alone = Template(model.towers, "*", words=2).with_text(composer.fixed.expand(5, -1, -1), batch.tokens)
    answers = model.backbone.image(batch.candidates).pooled
    logits = outputs.scale * normalize(alone, dim=1) @ normalize(answers, dim=1).T
    share = batch.positive / batch.positive.sum(1, keepdim=True)
    torch.testing.assert_close(
        outputs.terms["said"], 0.5 * cross_entropy(logits, share), rtol=1e-4, atol=1e-5
    )
    prompt = composer.prompt(outputs.triplets.reference, outputs.triplets.text)
    expected = 0.25 * (prompt.mean(1) - composer.fixed.mean(0)).square().mean()
    torch.testing.assert_close(outputs.terms["aligned"], expected, rtol=1e-4, atol=1e-7)
    outputs.terms["aligned"].backward()
    assert composer.fixed.grad is None and bool(composer.asks.grad.any())


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="words is 10; the context has 12 places"):
        SentencePrompt(words=10).attach(Towers(tiny_backbone()))
    with pytest.raises(ValueError, match="said and aligned must be at least 0"):
        SentencePrompt(said=-1.0)
