"""M2-CLIP's heads by hand, and that they can be taken off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clplat.models.view import Towers
from clplat.parts.composers.multi_task import MultiTask
from clplat.parts.composers.sum import Sum
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import ComposerContract, tiny_backbone, tiny_collate, tiny_domains
from clplat.testing.towers import features


class TestAroundASum(ComposerContract):
    def make(self) -> MultiTask:
        return MultiTask(rank=4)


def test_the_terms_by_hand() -> None:
    with seeded(0, "tasks"):
        model: Any = ComposedRetriever(tiny_backbone(), MultiTask(rank=4, matching=0.5, words=0.2)).train()
    batch = tiny_collate()(tiny_domains()[0].train[:6])
    outputs, composer = model(batch), model.composer
    seen: Any = outputs.triplets
    scores = outputs.query @ outputs.candidates.T
    ids = seen.text.input_ids
    eot = int(ids.max())
    said = [{int(i) for i in row if 0 < int(i) < eot and int(i) != int(row[0])} for row in ids]
    vocabulary = sorted(set().union(*said))
    embedded = model.backbone.model.token_embedding.weight[torch.tensor(vocabulary)]
    matching, words = [], []
    for i in range(6):

        def change(j: int, i: int = i) -> torch.Tensor:
            gap = seen.answer.tokens[j] - seen.reference.tokens[i]
            rows = [composer.up(F.gelu(composer.down(row))) for row in gap]
            return torch.stack(rows).mean(0)

        own = change(i)
        wrong = [j for j in range(6) if not batch.positive[i, j]]
        cost = -torch.log(torch.sigmoid(composer.match(torch.cat([own, seen.text.pooled[i]]))))[0]
        if wrong:
            other = change(max(wrong, key=lambda j: float(scores[i, j])))
            cost = (
                cost
                - torch.log(1 - torch.sigmoid(composer.match(torch.cat([other, seen.text.pooled[i]]))))[0]
            )
        matching.append(cost)
        shares = torch.log_softmax(embedded @ composer.say(own), dim=0)
        words.append(-torch.stack([shares[vocabulary.index(word)] for word in said[i]]).mean())
    torch.testing.assert_close(
        outputs.terms["matching"], 0.5 * torch.stack(matching).mean(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(outputs.terms["words"], 0.2 * torch.stack(words).mean(), rtol=1e-4, atol=1e-5)


def test_heads_without_a_weight_are_not_there_and_queries_are_the_inner_ones() -> None:
    image, text = features(tiny_backbone(), rows=3)
    for options, parts in (
        ({"matching": 0.0, "words": 0.0}, set()),
        ({"matching": 0.0}, {"down", "up", "say"}),
        ({"words": 0.0}, {"down", "up", "match"}),
    ):
        composer = MultiTask(rank=4, **options)
        composer.attach(Towers(tiny_backbone()))
        assert {name.split(".")[0] for name, _ in composer.named_parameters()} == parts
        assert torch.equal(composer(image, text), Sum()(image, text))
        assert composer.wants == Sum().wants, "heads are no price of a query"


def test_what_it_refuses() -> None:
    for wrong in ({"matching": -1.0}, {"words": -1.0}, {"rank": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MultiTask(**wrong)  # type: ignore[arg-type]
