"""Primary-component matching by hand, of triplets and of pictures with captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clplat.data.records import Item, Pair
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.training.learner import Learner
from strategies import ComponentMatching

TAILS = (". It is small.", ", on white")


def by_hand(text: Any, pictures: Any, scale: float, positive: Any, kept: int) -> float:
    text, pictures = text.detach().double().numpy(), pictures.detach().double().numpy()
    mean = pictures.mean(axis=0)
    _, _, right = np.linalg.svd(pictures - mean, full_matrices=False)
    rebuilt = (pictures - mean) @ right[:kept].T @ right[:kept] + mean
    logits, total = scale * text @ rebuilt.T, 0.0
    for side, right_ones in ((logits, positive), (logits.T, positive.T)):
        logs = side - np.log(np.exp(side).sum(axis=1, keepdims=True))
        total += -np.mean([logs[i][right_ones[i]].mean() for i in range(len(side))]) / 2
    return total


@pytest.mark.parametrize("captions", [False, True])
def test_the_term_by_hand(captions: bool) -> None:
    model = tiny_retriever(Full(), Sum()).eval()
    examples, shorts = [], []
    for i, example in enumerate(tiny_domains()[0].train[:6]):
        said = f"make it number {i}"
        whole = Item.of(None if captions else example.query.picture, said + TAILS[i % 2])
        shorts.append(said + (".", "")[i % 2])
        sides = (example.target.picture, whole) if captions else (whole, example.target.picture)
        examples.append(Pair(str(i), *sides, domain="a"))  # type: ignore[arg-type]
    batch = tiny_collate()(examples)
    learner = Learner(model, None, model)
    outputs = model(batch)
    found = ComponentMatching(weight=2.0, count=2).loss(learner, batch, outputs)["components"]
    if captions:
        short = model.encode_texts(model.backbone.tokenize(shorts))
        sides = short, outputs.query
    else:
        short = model.encode_queries(batch.reference, model.backbone.tokenize(shorts))
        sides = short, outputs.candidates
    positive = batch.positive.numpy()
    expected = by_hand(*sides, float(outputs.scale), positive.T if captions else positive, kept=2)
    assert float(found.detach()) == pytest.approx(2 * expected, rel=1e-4)
    found.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in model.backbone.model.visual.parameters() if p.grad is not None]
    assert grads and all(bool(grad.isfinite().all()) for grad in grads)


def test_it_refuses_weights_and_counts() -> None:
    for options in ({"weight": -1.0}, {"count": 0}):
        with pytest.raises(ValueError, match="at least"):
            ComponentMatching(**options)  # type: ignore[arg-type]
