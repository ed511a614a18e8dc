"""Keys are of the first queries and stay; only the values that were fetched move; and it resumes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.key_value import KeyValue
from clplat.randomness import generator, seeded
from clplat.testing.checks import difference
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from clplat.testing.tiny import tiny_retriever
from strategies import Naive


def rows(count: int, purpose: str) -> tuple[ImageFeatures, TextFeatures]:
    draw = generator(0, purpose)
    image, text = (torch.randn(count, 6, generator=draw) for _ in range(2))
    return ImageFeatures(pooled=image), TextFeatures(pooled=text)


def made() -> KeyValue:
    composer = KeyValue(codebooks=3, keys=5, key_width=4)
    with seeded(0, "codebooks"):
        composer.build_codebooks(6)
    return composer


def test_a_query_adds_the_values_of_its_nearest_keys() -> None:
    composer = made().eval()
    composer.values.data = torch.randn(3, 5, 6, generator=generator(0, "values"))
    image, text = rows(4, "queries")
    found = composer(image, text)
    for b in range(4):
        query = F.normalize(F.normalize(image.pooled[b], dim=0) + F.normalize(text.pooled[b], dim=0), dim=0)
        fetched = torch.zeros(6)
        for c in range(3):
            code = F.normalize(query @ composer.projections[c], dim=0)
            best = max(range(5), key=lambda k: float(code @ composer.keys[c, k]))
            fetched += composer.values[c, best].detach() / 3
        assert torch.allclose(found[b], query + fetched, atol=1e-5)


def test_keys_are_of_the_first_queries_and_stay() -> None:
    composer = made().train()
    composer(*rows(3, "first"))
    first = composer.keys.clone()
    composer(*rows(4, "second"))
    second = composer.keys.clone()
    assert torch.equal(first[:, :3], second[:, :3]) and not torch.equal(first[:, 3:], second[:, 3:])
    composer(*rows(4, "third"))
    composer.eval()(*rows(4, "fourth"))
    assert torch.equal(composer.keys, second) and int(composer.met) == 5


def test_a_step_moves_the_values_that_were_fetched_and_no_others() -> None:
    composer = made().train()
    composer(*rows(5, "keys"))
    optimizer = torch.optim.SGD(composer.parameters(), lr=1.0)
    for purpose in ("one domain", "another"):
        image, text = rows(1, purpose)
        before = composer.values.detach().clone()
        optimizer.zero_grad()
        composer(image, text).sum().backward()
        optimizer.step()
        moved = (composer.values.detach() != before).any(2)
        assert moved.sum(1).tolist() == [1, 1, 1], "one value of each codebook"


def test_it_resumes_with_its_keys() -> None:
    def trainer() -> object:
        return tiny_trainer(Naive(), tiny_retriever(composer=KeyValue(codebooks=2, keys=20)))

    run = finish(trainer())
    again = resumed(run, "4", trainer())
    assert not difference(everything(again), everything(run.trainer))
    assert int(again.model.composer.met) == 20
