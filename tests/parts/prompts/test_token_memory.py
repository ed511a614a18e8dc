"""A memory of tokens by hand: where a token is found, what addresses cost, and that nothing old moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.token_memory import TokenMemory
from clplat.randomness import seeded
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import weights
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import GrowingPrompt

QUERY = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))


def banks(grown: int = 2, **options: Any) -> tuple[Backbone, Any, Any]:
    backbone = tiny_backbone()
    with seeded(0, "bank"):
        TokenMemory(**options).attach(backbone)
        for _ in range(grown - 1):
            for prompt in (backbone.image_prompt, backbone.text_prompt):
                assert prompt is not None and prompt.grow()
    return backbone.eval(), backbone.image_prompt, backbone.text_prompt


def cosines(backbone: Backbone, tower: str, tokens: list[torch.Tensor]) -> np.ndarray:
    """Of the queries with the tokens behind the tower's projection, in float64."""
    model = backbone.model
    matrix = (model.visual.proj if tower == "image" else model.text_projection).detach().double().numpy()
    q, found = QUERY.double().numpy(), []
    for token in tokens:
        key = token.detach().double().numpy() @ matrix
        found.append(q @ key / np.linalg.norm(q, axis=1) / np.linalg.norm(key))
    return np.stack(found, 1)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_the_token_is_its_own_key_and_the_prompt(tower: str) -> None:
    backbone, image, text = banks()
    bank, features = (image, ImageFeatures) if tower == "image" else (text, TextFeatures)
    tokens = [part.value() for part in bank.grown]
    expected = cosines(backbone, tower, tokens)
    chosen = bank.begin(features(pooled=QUERY))
    for row, m in enumerate(expected.argmax(1)):
        assert torch.equal(chosen(0)[row, 0], tokens[m])
    assert len({*expected.argmax(1).tolist()}) == 2, "both are found"
    assert chosen(1) is None and chosen.prefix(0) is None
    shares, owners = bank.shares(features(pooled=QUERY))
    assert shares.argmax(1).tolist() == expected.argmax(1).tolist() and list(owners) == [0, 1]


def test_training_gives_the_newest_and_pays_for_addresses() -> None:
    backbone, bank, _ = banks(address=0.5, temperature=0.2)
    bank.train()
    newest = bank.grown[1].value()
    assert torch.equal(bank.begin(ImageFeatures(pooled=QUERY))(0)[:, 0], newest.expand(4, -1))
    found = cosines(backbone, "image", [part.value() for part in bank.grown])
    told = np.log(np.exp(found / 0.2).sum(1)) - found[:, 1] / 0.2
    term = bank.terms(None, None)["address"]
    assert term.item() == pytest.approx(0.5 * np.mean(1 - found[:, 1] + told), abs=1e-5)
    term.backward()
    assert bank.grown[1].token.grad.any() and bank.grown[0].token.grad is None
    assert bank.terms(None, None) == {}


def test_a_new_token_has_the_norm_of_the_old_ones_however_it_is_trained() -> None:
    _, bank, _ = banks(grown=1)
    with torch.no_grad():
        bank.grown[0].token.mul_(3.0)
        long = bank.grown[0].token.clone()
    bank.grow()
    bank.grow()
    with torch.no_grad():
        bank.grown[2].token.mul_(7.0)
    assert torch.equal(bank.grown[0].value(), long)
    for part in list(bank.grown)[1:]:
        assert part.value().norm().item() == pytest.approx(long.norm().item(), rel=1e-5)
    _, free, _ = banks(renormalise=False)
    with torch.no_grad():
        free.grown[1].token.mul_(7.0)
    assert torch.equal(free.grown[1].value(), free.grown[1].token)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_token_begins_where_its_domain_finds_it_best(tower: str) -> None:
    backbone, image, text = banks()
    bank = image if tower == "image" else text
    before = bank.grown[1].token.norm().item()
    bank.fit(QUERY)
    unit = QUERY.double().numpy() / np.linalg.norm(QUERY.double().numpy(), axis=1, keepdims=True)
    mean = unit.mean(0) / np.linalg.norm(unit.mean(0))
    best = float((unit @ mean).mean())
    assert cosines(backbone, tower, [bank.grown[1].value()]).mean() == pytest.approx(best, abs=1e-5)
    assert bank.grown[1].token.norm().item() == pytest.approx(before, rel=1e-5)


def test_old_embeddings_stay_equal_to_the_bit_where_the_right_token_is_found() -> None:
    model = tiny_retriever(composer=Sum())
    trainer = tiny_trainer(GrowingPrompt(TokenMemory()), model, lr=0.05)
    batch = tiny_collate()(tiny_domains()[0].train)
    stream = tiny_stream()
    trainer.train(stream[0], eval_streams=[])
    model.eval()
    with torch.no_grad():
        before = model.encode_images(batch.pictures)
    held = {name: t for name, t in weights(model).items() if ".grown.0." in name}
    trainer.train(stream[1], eval_streams=[])
    model.eval()
    with torch.no_grad():
        after = model.encode_images(batch.pictures)
    shares = model.shares(batch.pictures)
    assert shares is not None
    right = shares[0][:, 0] == 1
    assert right.any() and torch.equal(after[right], before[right])
    assert all(torch.equal(weights(model)[name], tensor) for name, tensor in held.items()) and held
    others = model.shares(tiny_collate()(tiny_domains()[1].train).pictures)
    assert others is not None and float(others[0][:, 1].mean()) > 0.5, "the new token is found by its own"


@pytest.mark.parametrize(
    ("options", "said"), [({"towers": "all"}, "allowed: image, text"), ({"address": 0.0}, "above 0")]
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TokenMemory(**options)
