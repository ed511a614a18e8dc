"""Pools of prompts by hand: which are taken, where they go, what is pulled, and what a growth changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts._pool import position_code
from clplat.parts.prompts.pool import PoolPrompt
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import (
    PromptContract,
    tiny_backbone,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_retriever,
)
from clplat.testing.loop import Experience
from strategies import GrowingPrompt

QUERY = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))


def prompted(grown: int = 1, **options: Any) -> Backbone:
    backbone = tiny_backbone()
    with seeded(0, "pool"):
        PoolPrompt(**{"size": 3, "top": 2, "length": 2, **options}).attach(backbone)
        for _ in range(grown - 1):
            prompts: list[Any] = [backbone.image_prompt, backbone.text_prompt]
            assert [prompt.grow() for prompt in prompts if prompt is not None]
    return backbone.eval()


def nearest(query: torch.Tensor, keys: torch.Tensor, top: int) -> list[int]:
    """By cosine, best first, in float64."""
    q, k = query.double().numpy(), keys.detach().double().numpy()
    cosines = k @ q / np.linalg.norm(k, axis=1) / np.linalg.norm(q)
    return [int(m) for m in np.argsort(-cosines)[:top]]


def test_tokens_of_the_nearest_keys_go_in_front_one_prompt_after_the_other() -> None:
    prompt: Any = prompted(grown=2).image_prompt
    chosen = prompt.begin(ImageFeatures(pooled=QUERY))
    vectors = torch.cat([part.vectors for part in prompt.grown], 1)[0]
    keys = torch.cat([part.keys for part in prompt.grown])
    for row, q in enumerate(QUERY):
        expected = torch.cat([vectors[m] for m in nearest(q, keys, 2)])
        assert torch.equal(chosen(0)[row], expected) and expected.shape == (4, 32)
    assert chosen(1) is None and chosen.prefix(0) is None and prompt.length == 4


def test_prefixes_in_chosen_layers_and_a_general_one_in_the_lowest() -> None:
    prompt: Any = prompted(form="prefix", first=1, depth=1, general=1, size=2, top=2).image_prompt
    chosen = prompt.begin(ImageFeatures(pooled=QUERY))
    keys, values = chosen.prefix(0)
    assert torch.equal(keys[2], prompt.general[0, :2]) and torch.equal(values[2], prompt.general[0, 2:])
    keys, values = chosen.prefix(1)
    for row, q in enumerate(QUERY):
        own = [prompt.grown[0].vectors[0, m] for m in nearest(q, prompt.grown[0].keys, 2)]
        assert torch.equal(keys[row], torch.cat([vectors[:2] for vectors in own]))
        assert torch.equal(values[row], torch.cat([vectors[2:] for vectors in own]))
    assert chosen(0) is None and prompt.length == 0


def test_the_pull_by_hand_and_the_newest_prompts_alone_in_training() -> None:
    prompt: Any = prompted(grown=2, pull=0.5).image_prompt.train()
    chosen = prompt.begin(ImageFeatures(pooled=QUERY))
    new, pulled = prompt.grown[1], []
    for row, q in enumerate(QUERY):
        own = nearest(q, new.keys, 2)
        assert torch.equal(chosen(0)[row], torch.cat([new.vectors[0, m] for m in own]))
        k, unit = new.keys.detach().double().numpy()[own], q.double().numpy()
        pulled.append(float((k @ unit / np.linalg.norm(k, axis=1) / np.linalg.norm(unit)).sum()))
    found = prompt.terms(None, None)["pull"]
    assert found.item() == pytest.approx(-0.5 * np.mean(pulled), abs=1e-6)
    found.backward()
    assert new.keys.grad.any() and prompt.grown[0].keys.grad is None and prompt.terms(None, None) == {}


def test_a_growth_freezes_the_pool_and_leaves_the_general_prompt_to_all() -> None:
    prompt: Any = prompted(grown=2, form="prefix", general=1).image_prompt
    trained = [name for name, p in prompt.named_parameters() if p.requires_grad]
    assert trained == ["general", "grown.1.vectors", "grown.1.keys"]


def test_vectors_are_drawn_within_the_scale_and_those_of_a_growth_may_be_inherited() -> None:
    whole: Any = prompted(form="prefix", general=1, scale=1.0).image_prompt
    small: Any = prompted(form="prefix", general=1, scale=0.25, grown=2, inherit=True).image_prompt
    torch.testing.assert_close(small.general, 0.25 * whole.general)
    torch.testing.assert_close(small.grown[0].vectors, 0.25 * whole.grown[0].vectors)
    assert 0.5 < float(whole.grown[0].vectors.detach().abs().max()) <= 1
    first, second = small.grown
    assert torch.equal(first.vectors, second.vectors) and not torch.equal(first.keys, second.keys)
    drawn: Any = prompted(grown=2).image_prompt
    assert not torch.equal(drawn.grown[0].vectors, drawn.grown[1].vectors)


def test_centroids_of_each_domain_decide_by_the_manhattan_distance() -> None:
    prompt: Any = prompted(size=1, top=1, keys="centroids", centres=2).image_prompt
    draw = torch.Generator().manual_seed(1)
    rows = [torch.randn(6, 24, generator=draw) + 2 * torch.eye(24)[i] for i in (0, 1)]
    prompt.fit(rows[0])
    prompt.grow()
    prompt.fit(rows[1][:1])  # fewer pictures than centres
    shares, owners = prompt.shares(ImageFeatures(pooled=QUERY))
    held = [part.centres.double().numpy() for part in prompt.grown]
    for row, q in enumerate(QUERY.double().numpy()):
        unit = q / np.linalg.norm(q)
        distances = [min(np.abs(unit - centre).sum() for centre in centres) for centres in held]
        assert shares[row].tolist() == [float(i == int(np.argmin(distances))) for i in (0, 1)]
    assert list(owners) == [0, 1]
    assert not [name for name, _ in prompt.named_parameters() if "keys" in name]


class TestPicturesAndTexts(PromptContract):
    def make(self) -> PoolPrompt:
        return PoolPrompt(size=2, top=1, length=2, keys="centroids", centres=2, words=2)


def fitted(grown: int = 2) -> Backbone:
    """A prompt of each tower per growth, whose centres of pictures and of texts lie apart."""
    backbone = prompted(grown, size=1, top=1, keys="centroids", centres=1, words=2)
    image: Any = backbone.image_prompt
    text: Any = backbone.text_prompt
    for number in range(grown):
        image.grown[number].centres[0] = torch.eye(24)[number]
        text.grown[number].centres[0] = torch.eye(24)[grown - 1 - number]
    return backbone


def test_a_text_gets_the_prompt_of_its_picture_and_alone_that_of_its_own_nearest_centre() -> None:
    prompt: Any = fitted().text_prompt
    seen, said = ImageFeatures(pooled=torch.eye(24)[[1, 0]]), TextFeatures(pooled=torch.eye(24)[[1, 1]])
    for other, expected in ((seen, [1, 0]), (None, [0, 0])):
        chosen = prompt.begin(said, other)
        for row, number in enumerate(expected):
            assert torch.equal(chosen(0)[row], prompt.grown[number].vectors[0])
        assert chosen(1) is None and chosen.length == prompt.length == 2
    assert torch.equal(prompt.train().begin(said, seen)(0), prompt.grown[1].vectors.expand(2, -1, -1))
    assert not prompt.grown[0].vectors.requires_grad


def test_what_decides_for_a_text_is_the_picture_without_a_prompt() -> None:
    model, batch = ComposedRetriever(fitted(), Sum()).eval(), tiny_collate()(tiny_domains()[0].train[:4])
    bare = tiny_backbone().image(batch.reference).pooled
    assert not torch.allclose(model.image_features(batch.pictures.part(range(4))).pooled, bare, atol=1e-2)
    told = model.text_features(batch.texts, other=ImageFeatures(pooled=bare))
    expected = Sum()(model.image_features(batch.pictures.part(range(4))), told)
    expected = torch.nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(model(batch).query, expected, atol=1e-5, rtol=0)
    found = model.encode_queries(batch.pictures.part(range(4)), batch.texts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_growth_looks_at_pictures_for_one_tower_and_at_texts_for_the_other() -> None:
    model, data = tiny_retriever(composer=Sum()), tiny_domains()[0].train[:6]
    strategy = GrowingPrompt(PoolPrompt(size=1, top=1, keys="centroids", centres=1, words=2))
    strategy.before_experience(tiny_learner(model), Experience(data, 0, []))
    batch, bare = tiny_collate()(data), tiny_backbone()
    looks = bare.image(batch.pictures.pixels).pooled, bare.text(batch.texts.ids).pooled
    for prompt, seen in zip((model.backbone.image_prompt, model.backbone.text_prompt), looks, strict=True):
        unit = seen.double() / seen.double().norm(dim=1, keepdim=True)
        mean = unit.mean(0) / unit.mean(0).norm()
        held: Any = prompt
        torch.testing.assert_close(held.grown[0].centres[0].double(), mean, atol=1e-5, rtol=0)


def test_a_trained_key_starts_where_pulling_it_ends() -> None:
    prompt: Any = prompted(size=1, top=1).image_prompt
    prompt.fit(QUERY)
    unit = QUERY.double() / QUERY.double().norm(dim=1, keepdim=True)
    mean = unit.mean(0) / unit.mean(0).norm()
    torch.testing.assert_close(prompt.grown[0].keys[0].detach().double(), mean, atol=1e-5, rtol=0)
    assert prompt.grown[0].keys.requires_grad


def test_shares_name_the_growth_of_each_prompt() -> None:
    model = ComposedRetriever(prompted(grown=2), Sum()).eval()
    batch = tiny_collate()(tiny_domains()[0].train[:3])
    found = model.shares(batch.reference)
    assert found is not None
    shares, owners = found
    assert list(owners) == [0, 0, 0, 1, 1, 1] and torch.equal(shares.sum(1), torch.ones(3))
    keys = torch.cat([part.keys for part in model.backbone.image_prompt.grown])  # type: ignore[union-attr]
    query = tiny_backbone().image(batch.reference).pooled
    for row, q in zip(shares, query, strict=True):
        assert sorted(row.nonzero()[:, 0].tolist()) == sorted(nearest(q, keys, 2))


def test_wrong_options_are_refused() -> None:
    for wrong, said in (
        ({"top": 4}, "cannot get 4 of 3"),
        ({"first": 1}, "tokens enter at the lowest layer"),
        ({"pull": 0.0}, "pull must be above 0"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"form": "word"}, "form is tokens or prefix"),
        ({"size": 0}, "are at least 1"),
        ({"words": 2}, "prompts of texts go with centroids"),
    ):
        with pytest.raises(ValueError, match=said):
            prompted(**wrong)
    with pytest.raises(UserError, match="first is 9, but the image tower has 2 layers"):
        prompted(form="prefix", first=9)


def test_the_position_of_the_stream_is_part_of_the_query() -> None:
    prompt: Any = prompted(grown=1, clock=0.5, hands=2, grows=False).image_prompt
    assert prompt.grow() and prompt.grow() and len(prompt.grown) == 1, "all domains share one pool"
    assert prompt.grown[0].vectors.requires_grad and float(prompt.position) == 2
    assert not PoolPrompt(grows=False).routes and PoolPrompt().routes
    angles = np.array([2.0, 2.0 / 100])
    code = np.concatenate([np.cos(angles), np.sin(angles)]) / np.sqrt(2)
    unit = QUERY.double().numpy() / np.linalg.norm(QUERY.double().numpy(), axis=1, keepdims=True)
    asked = torch.tensor(np.concatenate([unit, np.tile(0.5 * code, (4, 1))], 1))
    chosen = prompt.begin(ImageFeatures(pooled=QUERY))
    for row, q in enumerate(asked):
        own = nearest(q, prompt.grown[0].keys, 2)
        assert torch.equal(chosen(0)[row], torch.cat([prompt.grown[0].vectors[0, m] for m in own]))


def test_the_same_picture_takes_other_prompts_when_the_stream_has_moved_on() -> None:
    prompt: Any = prompted(grown=1, size=2, top=1, clock=2.0, grows=False).image_prompt
    code = [position_code(torch.tensor(float(t)), 8) for t in (0, 3)]
    with torch.no_grad():
        prompt.grown[0].keys.copy_(torch.stack([torch.cat([torch.zeros(24), one]) for one in code]))
    first = prompt.begin(ImageFeatures(pooled=QUERY))(0)
    for _ in range(3):
        prompt.grow()
    then = prompt.begin(ImageFeatures(pooled=QUERY))(0)
    vectors = prompt.grown[0].vectors[0]
    assert torch.equal(first, vectors[0].expand(4, -1, -1)) and torch.equal(
        then, vectors[1].expand(4, -1, -1)
    )


def test_shared_keys_start_at_the_first_domains_centres_and_are_not_put_anew() -> None:
    prompt: Any = prompted(size=1, top=1, clock=1.0, hands=1, grows=False).image_prompt
    prompt.fit(QUERY)
    held = prompt.grown[0].keys.detach().clone()
    asked = prompt.query(QUERY).double()
    mean = asked.mean(0) / asked.mean(0).norm()
    torch.testing.assert_close(held[0].double(), mean, atol=1e-5, rtol=0)
    prompt.grow()
    prompt.fit(-QUERY)
    assert torch.equal(prompt.grown[0].keys, held)


def test_shared_tokens_stand_before_those_of_the_domain_and_every_domain_trains_them() -> None:
    options: dict[str, Any] = {"size": 1, "top": 1, "length": 1, "depth": 2, "shared": 3}
    prompt: Any = prompted(grown=2, keys="centroids", centres=1, **options).image_prompt
    with torch.no_grad():
        for number in (0, 1):
            prompt.grown[number].centres[0] = torch.eye(24)[number]
    chosen = prompt.begin(ImageFeatures(pooled=torch.eye(24)[[1, 0]]))
    assert prompt.length == 4
    for row, number in enumerate((1, 0)):
        for layer in (0, 1):
            own = [prompt.shared[layer], prompt.grown[number].vectors[layer, 0]]
            assert torch.equal(chosen(layer)[row], torch.cat(own))
    trained = [name for name, p in prompt.named_parameters() if p.requires_grad]
    assert trained == ["shared", "grown.1.vectors"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clock": 0.5, "keys": "centroids"}, "needs trained keys"),
        ({"shared": 1, "form": "prefix"}, "shared are tokens"),
    ],
)
def test_a_clock_and_shared_tokens_where_they_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PoolPrompt(**options)


class TestOnePoolAndAClock(PromptContract):
    def make(self) -> PoolPrompt:
        return PoolPrompt(size=3, top=2, length=1, clock=0.5, hands=2, grows=False, shared=1)
