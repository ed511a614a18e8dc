"""Feature distillation of embeddings and of tokens, by hand; another width has a projector."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.parts.teachers.backbone import OtherBackbone
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import FeatureDistill

BATCH = tiny_collate()(tiny_domains()[0].train[:4])
DOMAIN = SimpleNamespace(dataset=tiny_domains()[0].train)


def test_embeddings_of_both_sides_keep_their_direction() -> None:
    strategy, model = FeatureDistill(weight=1.5), TinyTowers()
    learner, old = tiny_learner(model), model(BATCH)
    strategy.before_experience(learner, DOMAIN)
    nudge(model, 0.3)
    new, expected = model(BATCH), 0.0
    for side in ("query", "candidates"):
        expected += float((1 - (old[side][:4].double() * new[side][:4].double()).sum(1)).mean().detach()) / 2
    found = strategy.loss(learner, BATCH, new)["features"]
    assert expected > 1e-2 and float(found.detach()) == pytest.approx(1.5 * expected, rel=1e-3)


@pytest.mark.parametrize("of", ["texts", "towers"])
def test_towers_follow_the_frozen_ones(of: Any) -> None:
    """KgCoOp's 1 - cos of texts; PromptSRC's absolute differences of unit features of both towers."""
    form = "cosine" if of == "texts" else "l1"
    strategy = FeatureDistill(weight=2.0, teacher="initial", of=of, form=form, balance=2.5)  # type: ignore[arg-type]
    model: Any = tiny_retriever(Full()).eval()
    learner = tiny_learner(model)

    def towers() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            shown = model.image_features(BATCH.pictures).pooled.double()
            return normalize(shown, dim=1), normalize(model.text_features(BATCH.texts).pooled.double(), dim=1)

    old = towers()
    strategy.before_experience(learner, DOMAIN)
    nudge(model, 0.05)
    new = towers()
    pictures, texts = (float((one - other).abs().mean()) for one, other in zip(old, new, strict=True))
    expected = (
        (pictures + 2.5 * texts) / 2 if of == "towers" else float((1 - (old[1] * new[1]).sum(1)).mean())
    )
    found = strategy.loss(learner, BATCH, model(BATCH))["features"]
    assert expected > 1e-4 and float(found.detach()) == pytest.approx(2.0 * expected, rel=1e-2)


def test_tokens_keep_how_they_correlate() -> None:
    strategy, model = (
        FeatureDistill(weight=2.0, of="tokens", form="correlation"),
        tiny_retriever(Full()).eval(),
    )
    learner = tiny_learner(model)

    def correlations() -> torch.Tensor:
        with torch.no_grad():
            tokens = normalize(model.image_features(BATCH.pictures, {"tokens"}).tokens.double(), dim=-1)
        return tokens @ tokens.mT

    before = correlations()
    strategy.before_experience(learner, DOMAIN)
    nudge(model, 0.05)
    expected = float((correlations() - before).square().mean())
    found = strategy.loss(learner, BATCH, model(BATCH))["features"]
    assert expected > 1e-5 and float(found.detach()) == pytest.approx(2.0 * expected, rel=1e-3)


def test_tokens_follow_those_that_look_alike_to_a_guide() -> None:
    """CLIP-DINOiser's pooling, patch by patch; the guide's are averaged over the student's 2 x 2."""
    guide = OtherBackbone()
    strategy = FeatureDistill(weight=1.5, of="tokens", guide=guide, floor=0.3)
    learner: Any = tiny_learner(tiny_retriever(Full()).eval())
    model = learner.model
    with torch.no_grad():
        old = model.image_features(BATCH.pictures, {"tokens"}).tokens.double()
    strategy.before_experience(learner, DOMAIN)
    seen: Any = guide.image_features(learner, BATCH.pictures, {"tokens"}).tokens
    side = round(seen.shape[1] ** 0.5)
    nudge(model, 0.05)
    with torch.no_grad():
        new = normalize(model.image_features(BATCH.pictures, {"tokens"}).tokens.double(), dim=-1)
    total, half = 0.0, side // 2
    for b in range(len(old)):
        square = seen[b].double().reshape(side, side, -1)
        places = [
            square[half * y : half * (y + 1), half * x : half * (x + 1)] for y in (0, 1) for x in (0, 1)
        ]
        alike = [normalize(place.mean((0, 1)), dim=-1) for place in places]
        for p in range(4):
            weights = [max(0.0, float(alike[p] @ alike[q])) for q in range(4)]
            weights = [w if w >= 0.3 else 0.0 for w in weights]
            wanted = sum(w * old[b, q] for q, w in enumerate(weights)) / sum(weights)
            total += 1 - float(new[b, p] @ normalize(torch.as_tensor(wanted), dim=-1))
    found = strategy.loss(learner, BATCH, model(BATCH))["features"]
    assert float(found.detach()) == pytest.approx(1.5 * total / (4 * len(old)), rel=1e-3)


def test_a_teacher_of_another_width_is_met_by_a_projector() -> None:
    strategy, losses = FeatureDistill(teacher=OtherBackbone()), []
    model: Any = tiny_retriever(Full(last=1))
    learner = tiny_learner(model)
    strategy.before_experience(learner, DOMAIN)
    for _ in range(12):
        loss = strategy.loss(learner, BATCH, model.eval()(BATCH))["features"]
        torch.autograd.backward(loss)
        strategy.after_step(learner, BATCH, None)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_what_does_not_fit_is_said() -> None:
    learner = tiny_learner(tiny_retriever(Full(last=1)))
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        FeatureDistill(of="tokens").before_experience(tiny_learner(TinyTowers()), DOMAIN)
    with pytest.raises(ValueError, match="a guide is of tokens"):
        FeatureDistill(guide=OtherBackbone())
    strategy = FeatureDistill(of="tokens", teacher=OtherBackbone())
    strategy.before_experience(learner, DOMAIN)
    with pytest.raises(UserError, match=r"the teacher has \d+ patches of a picture, the student 4"):
        strategy.loss(learner, BATCH, learner.predict(BATCH))
