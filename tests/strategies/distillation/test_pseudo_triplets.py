"""Pseudo triplets by hand: who is taken, when it is looked anew, and that no label decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clplat.mechanisms.caches import surest
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.context import ContextPrompt
from clplat.progress import Progress
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.loop import Experience
from strategies import PseudoTriplets

DATA = tiny_domains()[0].train


def model_of() -> ComposedRetriever:
    model = tiny_retriever(composer=Sum())
    with seeded(0, "prompt"):
        ContextPrompt(2).attach(model.backbone)
    return model.eval()


def looked(model: ComposedRetriever, data: Any = DATA, epoch: int = 0, **options: Any) -> Any:
    learner: Any = tiny_learner(model)
    learner.dataset = data
    strategy = PseudoTriplets(**options)
    strategy.before_experience(learner, Experience(data, 0, []))
    learner.progress = Progress(epoch=epoch, epochs=4)
    strategy.before_epoch(learner)
    return strategy, learner


def test_the_surest_of_each_group_are_taken() -> None:
    draw = torch.Generator().manual_seed(0)
    confidence, groups = torch.rand(40, generator=draw), torch.randint(0, 5, (40,), generator=draw)
    expected = []
    for group in range(5):
        rows = [i for i in range(40) if groups[i] == group]
        expected += sorted(rows, key=lambda i: -float(confidence[i]))[:3]
    assert surest(confidence, groups, 3).tolist() == sorted(expected)


def test_answers_are_the_first_pictures_by_hand() -> None:
    model = model_of()
    strategy, learner = looked(model, rule="fixed", shots=24, clusters=1, temperature=0.1)
    pictures: dict[str, Any] = {}
    for one in DATA:
        pictures.setdefault(one.query.picture.key, one.query.picture)
        pictures.setdefault(one.target.picture.key, one.target.picture)
    held = learner.embed([*pictures.values()]).double().numpy()
    asked = learner.embed([one.query for one in DATA]).double().numpy()
    assert len(strategy._answers) == len(DATA)
    for one, q in zip(DATA, asked, strict=True):
        scores = dict(zip(pictures, held @ q, strict=True))
        del scores[one.query.picture.key]
        best = max(scores.values())
        assert scores[strategy._answers[one.id]] == pytest.approx(best, abs=1e-5)
    found, labels = strategy.numbers(), {one.target.picture.key: one.label for one in DATA}
    right = [labels.get(strategy._answers[one.id]) == one.label for one in DATA]
    assert found == {"taken": 1.0, "right": pytest.approx(np.mean(right)), "spread": 0.0}


def test_no_label_and_no_answer_of_the_stream_is_read() -> None:
    model, other = model_of(), tiny_domains()[0].train
    turned = [replace(one, target=other[-1 - i].target, label="?") for i, one in enumerate(DATA)]
    first, learner = looked(model, rule="fixed", shots=4)
    second, _ = looked(model, turned, rule="fixed", shots=4)
    assert first._answers == second._answers
    batch = learner.collate(DATA[:8])
    model.train()
    term = first.loss(learner, batch, model(batch))["pseudo_triplets"]
    other_batch = learner.collate(turned[:8])
    moved = second.loss(learner, other_batch, model(other_batch))["pseudo_triplets"]
    torch.testing.assert_close(term, moved, atol=1e-6, rtol=1e-6)
    term.backward()
    assert model.backbone.text_prompt is not None
    assert all(p.grad is not None and p.grad.any() for p in model.backbone.text_prompt.parameters())


def test_shots_of_each_cluster_and_more_in_every_epoch() -> None:
    model = model_of()
    strategy, _ = looked(model, rule="refreshed", shots=2, clusters=3)
    assert len(strategy._answers) <= 6
    sizes = [len(looked(model, epoch=epoch, clusters=3)[0]._answers) for epoch in range(4)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] == len(DATA), "the last epoch has all data"


def test_fixed_looks_once_and_refreshed_in_every_epoch_with_the_model_of_then() -> None:
    model = model_of()
    kept, learner = looked(model, rule="fixed")
    anew, _ = looked(model, rule="refreshed")
    before = dict(kept._answers)
    assert anew._answers == before
    with torch.no_grad():
        for parameter in model.backbone.text_prompt.parameters():  # type: ignore[union-attr]
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    kept.before_epoch(learner)
    anew.before_epoch(learner)
    assert kept._answers == before and anew._answers != before


def test_batches_have_queries_with_answers_alone() -> None:
    strategy, learner = looked(model_of(), rule="fixed", shots=2, clusters=3)
    sampler = strategy.phases(None)[0].sampler
    batches = sampler.batches(DATA, 4, torch.Generator().manual_seed(0), learner.embed)
    seen = Counter(DATA[i].id for batch in batches for i in batch)
    assert seen.keys() == strategy._answers.keys() and max(seen.values()) <= min(seen.values()) + 1
    assert len(batches) == 6 and sum(seen.values()) > len(seen), "as many steps as with all data"


@pytest.mark.parametrize("options", [{"rule": "some"}, {"shots": 0}, {"temperature": 0.0}])
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"allowed: fixed|must be at least 1"):
        PseudoTriplets(**options)
