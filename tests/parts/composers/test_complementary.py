"""CaLa's two associations against their formulas in numpy, and what joins the loss of the query."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.view import Towers
from clplat.parts.composers.complementary import Complementary
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features

BATCH = tiny_collate()(tiny_domains()[0].train[:7])


def softmax(x: Any) -> Any:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def made() -> tuple[Complementary, Any, Any]:
    torch.manual_seed(0)
    composer = Complementary(Sum(), dropout=0.0)
    composer.attach(Towers(tiny_backbone()))
    image, text = features(tiny_backbone(), rows=2, scale=1.0)
    return composer, torch.cat([image.pooled[:, None], composer.towers.joint_patches(image.tokens)], 1), text


@torch.no_grad()
def test_both_associations_by_hand() -> None:
    composer, shown, text = made()
    answered = shown.flip(0)
    w: Any = {name: p.double().numpy() for name, p in composer.named_parameters()}

    def attended(asks: Any, read: Any, name: str) -> Any:
        q, k, v = (
            x @ m.T + b
            for x, m, b in zip(
                (asks, read, read),
                np.split(w[f"{name}.in_proj_weight"], 3),
                np.split(w[f"{name}.in_proj_bias"], 3),
                strict=True,
            )
        )
        made = softmax(q @ k.T / np.sqrt(24)) @ v
        return made @ w[f"{name}.out_proj.weight"].T + w[f"{name}.out_proj.bias"]

    def line(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    gap, found = composer.difference(shown, answered), composer.reasoned(shown, text, answered)
    for row in range(2):
        r, t = shown[row].double().numpy(), answered[row].double().numpy()
        one, two = t, r
        for _ in range(4):
            one, two = attended(r, one, "shown"), attended(t, two, "answered")
        np.testing.assert_allclose(gap[row].numpy(), (one[0] + two[0]) / 2, atol=1e-5)
        words = composer.towers.joint_words(text.tokens)[row, : int(text.ends[row]) + 1].double().numpy()
        a = line(r, "asks") @ line(words, "said").T / np.sqrt(24)
        b = line(words, "said") @ line(t, "held").T / np.sqrt(24)
        np.testing.assert_allclose(
            found[row].numpy(), (softmax(a @ b) @ line(t, "value"))[0], atol=1e-5, err_msg="words to the EOT"
        )


def test_the_twins_scores_join_those_of_the_query_in_one_loss() -> None:
    composer = Complementary(Sum(), twin=0.3, hinge=0.2, scale=10.0, dropout=0.0)
    model = tiny_retriever(composer=composer).train()
    outputs = model(BATCH)
    seen, unit = outputs.triplets, torch.nn.functional.normalize
    shown, answered = (
        torch.cat([found.pooled[:, None], model.towers.joint_patches(found.tokens)], 1)
        for found in (seen.reference, seen.answer)
    )
    gap = unit(seen.text.pooled, dim=1) @ unit(composer.difference(shown, answered), dim=1).T
    logits = 0.3 * 10.0 * gap + 0.7 * outputs.scale * outputs.query @ outputs.candidates.T
    share = BATCH.positive / BATCH.positive.sum(1, keepdim=True)
    expected = -0.8 * (share * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(outputs.terms["twin"], expected, rtol=1e-5, atol=1e-6)
    back = 10.0 * unit(composer.reasoned(shown, seen.text, answered), dim=1) @ unit(seen.reference.pooled).T
    expected = 0.2 * torch.nn.functional.cross_entropy(back, torch.arange(7))
    torch.testing.assert_close(outputs.terms["hinge"], expected, rtol=1e-5, atol=1e-6)
    plain = tiny_retriever(composer=Sum()).eval()(BATCH)
    assert torch.equal(model.eval()(BATCH).query, plain.query), "nothing of it is deployed"
    assert model(BATCH).triplets is None, "and nothing of it is computed"


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="needs twin, hinge and dropout"):
        Complementary(twin=1.0)
