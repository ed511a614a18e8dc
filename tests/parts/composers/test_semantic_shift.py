"""SSN's two steps and what it pushes away against their formulas in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.view import Towers
from clplat.parts.composers.semantic_shift import SemanticShift, shift
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@torch.no_grad()
def test_both_steps_by_hand() -> None:
    torch.manual_seed(0)
    composer = SemanticShift(small=0.3, heads=2, hidden=2)
    composer.attach(Towers(tiny_backbone()))
    composer.eval()
    image, text = features(tiny_backbone(), rows=3, scale=1.0)
    query, other = composer.both(image, text)
    w: Any = {name: p.double().numpy() for name, p in composer.named_parameters()}

    def line(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def fused(rows: Any) -> Any:
        return composer.fusion(torch.from_numpy(rows).float()[None])[0].double().numpy()

    for row in range(3):
        end = int(text.ends[row]) + 1  # nothing behind the EOT counts, in no mean and in no attention
        said = composer.towers.joint_words(text.tokens)[row, :end].double().numpy()
        shown = torch.cat([image.pooled[row : row + 1], composer.towers.joint_patches(image.tokens)[row]])
        shown = line(shown.double().numpy(), "picture")
        r, t = image.pooled[row].double().numpy(), text.pooled[row].double().numpy()
        comes = sigmoid(line(np.concatenate([said, np.tile(shown[0], (end, 1))], 1), "words"))
        goes = np.tile(((1 - comes) * said).mean(0), (len(shown), 1))
        stays = sigmoid(line(np.concatenate([shown, goes], 1), "patches"))
        for kept, told, found in ((stays, comes, query), (1 - stays, 1 - comes, other)):
            rows = fused(np.concatenate([kept * shown + w["types"][0], told * said + w["types"][1]]))
            both = np.concatenate([rows[len(shown) :].mean(0), rows[0]])
            gate = sigmoid(line(np.maximum(line(both, "gate.0"), 0), "gate.2"))
            made = 0.3 * line(np.maximum(line(both, "combine"), 0), "out") + gate * t + (1 - gate) * r
            np.testing.assert_allclose(found[row].numpy(), made / np.linalg.norm(made), atol=2e-5)
        held = 0.3 * fused(shown + w["types"][0])[0] + r
        np.testing.assert_allclose(
            composer.target(image)[row].numpy(), held / np.linalg.norm(held), atol=2e-5
        )


def test_what_is_pushed_away_by_hand() -> None:
    draw = torch.Generator().manual_seed(0)
    right, wrong = (3.0 * torch.randn(4, 4, generator=draw).double() for _ in range(2))
    p, q = (np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True) for x in (right, wrong))
    expected = -np.log(np.diag(p)).sum() / 16 - (p * np.log(p / q)).sum() / 16
    assert float(shift(right, wrong, torch.eye(4).double())) == pytest.approx(expected)


def test_the_term_is_that_of_the_batch() -> None:
    model = tiny_retriever(composer=SemanticShift(weight=3.0, dropout=0.0, heads=2)).train()
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    outputs, composer = model(batch), model.composer
    query, other = composer.both(outputs.triplets.reference, outputs.triplets.text)
    answers = composer.target(outputs.triplets.answer)
    share = batch.positive / batch.positive.sum(1, keepdim=True)
    expected = 3.0 * shift(outputs.scale * query @ answers.T, outputs.scale * other @ answers.T, share)
    torch.testing.assert_close(outputs.terms["shift"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="needs small and weight >= 0"):
        SemanticShift(small=-1.0)
