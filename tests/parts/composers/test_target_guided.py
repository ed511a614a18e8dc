"""TG-CIR's views, its gates and the five objectives of its teacher against their formulas in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.view import Towers
from clplat.parts.composers.target_guided import TargetGuided
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: Any) -> Any:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def attached() -> tuple[TargetGuided, Any]:
    torch.manual_seed(0)
    composer = TargetGuided(masks=2, spots=3, temperature=0.5)
    composer.attach(Towers(tiny_backbone()))
    with torch.no_grad():
        for parameter in composer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return composer, {name: p.detach().double().numpy() for name, p in composer.named_parameters()}


def mlp(w: Any, name: str, *views: Any) -> Any:
    hidden = np.maximum(np.concatenate(views, -1) @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"], 0)
    return 1 / (1 + np.exp(-(hidden @ w[f"{name}.2.weight"].T + w[f"{name}.2.bias"])))


@torch.no_grad()
def test_views_and_the_query_by_hand() -> None:
    composer, w = attached()
    image, text = features(tiny_backbone(), rows=3, scale=1.0)

    def views(pooled: Any, members: Any, layer: str) -> Any:
        members = members @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]
        opened = 1 / (1 + np.exp(-(members @ w["spots.weight"].T + w["spots.bias"])))
        return np.concatenate([pooled * np.maximum(w["masks"], 0), opened.T @ members / len(members)])

    towers, query, held = composer.towers, composer(image, text), composer.target(image)
    for row in range(3):
        patches = towers.joint_patches(image.tokens)[row].double().numpy()
        words = towers.joint_words(text.tokens)[row, : int(text.ends[row]) + 1].double().numpy()
        r = views(image.pooled[row].double().numpy(), patches, "patches")
        t = views(text.pooled[row].double().numpy(), words, "words")  # nothing behind the EOT
        keeps = mlp(w, "keeps", r, t)
        np.testing.assert_allclose(query[row].numpy(), (keeps * r + (1 - keeps) * t).mean(0), atol=1e-5)
        np.testing.assert_allclose(held[row].numpy(), r.mean(0), atol=1e-5)


def test_the_objectives_by_hand_and_what_the_teacher_does_not_move() -> None:
    composer, w = attached()
    draw = torch.Generator().manual_seed(1)
    r, t, a = (torch.randn(4, 5, 24, generator=draw, requires_grad=True) for _ in range(3))
    found = composer.objectives_of(r, t, a)
    shown, said, seen = (x.detach().double().numpy() for x in (r, t, a))
    keeps, kept, taken = (
        mlp(w, "keeps", shown, said),
        mlp(w, "kept", shown, seen),
        mlp(w, "taken", said, seen),
    )
    query = unit((keeps * shown + (1 - keeps) * said).mean(1))
    teacher, answers = (
        (unit(x) * w["weights"][:, None]).reshape(4, -1) for x in (kept * shown + taken * said, seen)
    )
    p = softmax(unit(answers) @ unit(answers).T / 0.5)
    ranked = softmax(query @ unit(seen.mean(1)).T / 0.5)
    grams = [unit(x) @ unit(x).transpose(0, 2, 1) - np.eye(5) for x in (shown, said, seen)]
    expected = {
        "teacher": -np.log(np.diag(softmax(w["scale"] * teacher @ answers.T))).mean(),
        "whole": np.square(kept + taken - 1).mean(),
        "apart": np.square(grams).mean(),
        "masks": np.square(keeps - kept).mean() + np.square(1 - keeps - taken).mean(),
        "degrees": (p * np.log(p / ranked)).sum() / 4,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(float(found[name].detach()), value, rtol=1e-4, err_msg=name)
    found["teacher"].backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert r.grad is None and t.grad is None and a.grad is not None, (
        "it sees both, and moves the answer alone"
    )
    composer.zero_grad()
    found["masks"].backward()  # type: ignore[no-untyped-call]
    assert composer.kept[0].weight.grad is None and composer.keeps[0].weight.grad is not None


def test_weights_are_the_published_ones_and_none_is_deployed() -> None:
    model = tiny_retriever(composer=TargetGuided(guided=2.0)).train()
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    outputs, composer = model(batch), model.composer
    seen = outputs.triplets
    views = composer.shown(seen.reference), composer.said(seen.text), composer.shown(seen.answer)
    found = composer.objectives_of(*views, batch.positive)
    weights = {"teacher": 2.0, "whole": 2.0, "apart": 0.2, "masks": 20.0, "degrees": 1.0}
    for name, weight in weights.items():
        assert float(outputs.terms[name].detach()) == pytest.approx(weight * float(found[name].detach())), (
            name
        )
    assert not model.eval()(batch).terms
    with pytest.raises(ValueError, match="needs masks, spots and hidden >= 1"):
        TargetGuided(masks=0)
