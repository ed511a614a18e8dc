"""Text geometry by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.parts.adapters.full import Full
from clplat.testing import nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import TextGeometry

BATCH = tiny_collate()(tiny_domains()[0].train[:5])


def test_targets_are_as_near_as_what_they_are_called() -> None:
    strategy = TextGeometry(weight=1.5, names=["{}", "one {}"])
    learner: Any = tiny_learner(tiny_retriever(Full()).eval())
    model = learner.model
    draw = learner.progress.generator(0, "names")
    chosen = torch.randint(2, (5,), generator=draw).tolist()
    said = [("{}", "one {}")[i].format(name) for i, name in zip(chosen, BATCH.labels[:5], strict=True)]
    with torch.no_grad():
        texts = normalize(model.text_features(model.towers.tokenize(said)).pooled.double(), dim=-1)
    strategy.before_experience(learner, None)
    nudge(model, 0.05)
    outputs = model(BATCH)
    rows = outputs.candidates[:5].detach().double()
    total = sum(
        float(rows[i] @ rows[j] - texts[i] @ texts[j]) ** 2 for i in range(5) for j in range(5) if i != j
    )
    found = strategy.loss(learner, BATCH, outputs)["geometry"]
    assert total > 1e-3 and float(found.detach()) == pytest.approx(1.5 * total / 20, rel=1e-3)


def test_a_name_without_its_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"every name hold \{\}"):
        TextGeometry(names=["a shoe"])
