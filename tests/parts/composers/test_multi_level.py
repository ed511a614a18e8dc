"""VAL's level against its formula in numpy, its matching of levels by hand, and where it starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.mechanisms.contrast import cosines, semi_hard
from clplat.models.view import Towers
from clplat.parts.composers.multi_level import MultiLevel
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def attached() -> MultiLevel:
    torch.manual_seed(0)
    composer = MultiLevel(Sum(), depths=[0.5, 1.0], dropout=0.0)
    composer.attach(Towers(tiny_backbone()))
    return composer


@torch.no_grad()
def test_a_level_by_hand() -> None:
    composer, (image, text) = attached(), features(tiny_backbone(), rows=2)
    level: Any = composer.levels[0]
    level.weights.copy_(torch.tensor([0.7, 0.4]))
    found = composer.composed(image, text)[0]
    w: Any = {name: p.double().numpy() for name, p in level.named_parameters()}

    def line(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    for row in range(2):
        x, t = image.hidden[0][row, 1:].double().numpy(), text.pooled[row].double().numpy()
        seen = np.maximum(line(np.concatenate([x, np.tile(t, (4, 1))], 1), "both"), 0)
        square, kernel = seen.mean(1).reshape(2, 2), w["places.weight"][0, 0]
        places = [
            sum(
                square[i, j] * kernel[3 + i - a, 3 + j - b] for i in range(2) for j in range(2)
            )  # a picture's edge is zeros
            for a in range(2)
            for b in range(2)
        ]
        joint = (
            sigmoid(line(seen.mean(0), "channels")) * sigmoid(np.array(places) + w["places.bias"])[:, None]
        )
        heads = []
        for head in range(2):
            part = seen[:, 16 * head : 16 * head + 16]
            asks, held, value = (part @ w[name][head] for name in ("asks", "held", "value"))
            powers = np.exp(asks @ held.T / 4.0)
            heads.append(powers / powers.sum(1, keepdims=True) @ value)
        own = line(np.concatenate(heads, 1), "out")
        np.testing.assert_allclose(found[row].numpy(), (0.7 * joint * x + 0.4 * own).mean(0), atol=1e-5)


def test_semi_hard_matching_by_hand() -> None:
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(6, 3, generator=draw).double() for _ in range(2))
    left, right = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (one, other))
    apart, expected = np.square(left[:, None] - right[None]).sum(2), 0.0
    same = np.eye(6, dtype=bool)
    same[0, 1] = same[1, 0] = True  # of one answer: no negatives
    for rows in (apart, apart.T):
        for i in range(6):
            wrong = [rows[i, j] for j in range(6) if not same[i, j] and rows[i, j] >= rows[i, i]]
            expected += max(rows[i, i] - min(wrong) + 0.2, 0.0) / 6 if wrong else 0.0
    found = semi_hard(cosines(one, other), torch.from_numpy(same), 0.2)
    assert float(found) == pytest.approx(expected) and expected > 0
    alone = torch.ones(1, 1, requires_grad=True)
    semi_hard(alone, torch.ones(1, 1, dtype=torch.bool), 0.2).backward()  # type: ignore[no-untyped-call]
    assert alone.grad is not None and not bool(alone.grad.any()), "no negative, no gradient that is no number"


def test_it_starts_as_the_inner_composer_and_levels_are_matched_in_training() -> None:
    model = tiny_retriever(composer=attached()).train()
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    outputs, composer = model(batch), model.composer
    plain = tiny_retriever(composer=Sum()).train()(batch)
    torch.testing.assert_close(outputs.query, plain.query)
    torch.testing.assert_close(outputs.candidates, plain.candidates)
    seen = outputs.triplets
    levels = zip(composer.composed(seen.reference, seen.text), composer.plain(seen.answer), strict=True)
    expected = sum(semi_hard(cosines(made, held), batch.positive, 0.2) for made, held in levels)
    torch.testing.assert_close(outputs.terms["levels"], expected)
    with torch.no_grad():
        composer.out[0].weight.normal_()
    image, text = features(tiny_backbone(), rows=3)
    held = composer.out[0](image.hidden[0][:, 1:].mean(1)) + image.pooled
    torch.testing.assert_close(composer.target(image), held)
    made = Sum()(image, text) + composer.out[0](composer.composed(image, text)[0])
    torch.testing.assert_close(composer.eval()(image, text), made)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="depths must be shares of the tower"):
        MultiLevel(depths=[0.0])
