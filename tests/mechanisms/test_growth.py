"""Growth of three kinds in one model: each begins as nothing, counts alone, and is taken out again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.mechanisms.growth import GrowthState, grown_layers, prune
from clplat.mechanisms.halving import halving
from clplat.models.features import WANTS
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters._growing import Blocks, Growing, MoreUnits
from clplat.parts.composers.sum import Sum
from clplat.randomness import seeded
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import distance, embeddings, train_a_little

KINDS = (Blocks(), MoreUnits(4), Growing(2, 4.0, "mlp"))


@pytest.fixture(scope="module")
def grown() -> Any:
    """A model that has grown by a block, by units and by a low-rank change, all of them trained."""
    model = tiny_retriever(None, Sum())
    for domain, kind in enumerate(KINDS):
        before = embeddings(model.backbone)
        with seeded(0, "growth", domain):
            kind.grow(model, domain, "test")
        assert distance(embeddings(model.backbone), before) <= 1e-6, "it begins as something"
        train_a_little(model.backbone)
        assert distance(embeddings(model.backbone), before) > 1e-6
    return model


@pytest.fixture
def model(grown: Any) -> Any:
    """A copy, as teachers are; what has grown in it knows the state of its own backbone."""
    return copy.deepcopy(grown)


def test_one_stands_inside_the_other(model: Any) -> None:
    """The last MLP is inside a block that has grown, and its layers inside one that has gained units."""
    last = "visual.transformer.resblocks.1"
    places = {path for path in grown_layers(model.backbone) if path.startswith(last)}
    assert places == {last, f"{last}.mlp", f"{last}.mlp.c_fc", f"{last}.mlp.c_proj"}
    assert set(model.backbone.base_state()) == set(tiny_retriever(None, Sum()).backbone.base_state())
    deltas = model.backbone.adapters.deltas(model.backbone.model)
    assert len(deltas) == 8 and deltas.keys() <= set(model.backbone.base_state())
    factors = model.backbone.adapters.factors(model.backbone.model)
    assert len(factors) == 24 and all(name.endswith(("up", "down", "magnitude")) for name in factors)


def test_a_block_follows_the_block_that_it_stands_behind(model: Any) -> None:
    state: Any = model.backbone.adapters
    assert isinstance(state, GrowthState)
    state.use(["domain0"])
    pixels = tiny_collate()(tiny_domains()[0].train[:4]).reference
    plain: Any = tiny_retriever(None, Sum()).backbone
    behind: Any = grown_layers(model.backbone)["visual.transformer.resblocks.1"].changes["domain0"]
    by_hand = behind.block(plain.image(pixels, WANTS).hidden[-1])
    torch.testing.assert_close(model.backbone.image(pixels, WANTS).hidden[-1], by_hand)
    state.use([])
    assert distance(embeddings(model.backbone), embeddings(plain)) <= 1e-6


def test_what_is_taken_out_leaves_the_others(model: Any) -> None:
    names = ("domain1", "domain2", "domain0")
    state: Any = model.backbone.adapters
    for i, name in enumerate(names):
        state.use([other for other in names[i + 1 :]])
        without = embeddings(model.backbone)
        prune(model.backbone, name)
        assert distance(embeddings(model.backbone), without) <= 1e-6
    plain = tiny_retriever(None, Sum()).backbone
    assert set(model.backbone.model.state_dict()) == set(plain.model.state_dict())
    assert not model.backbone.adapters.installed
    with pytest.raises(UserError, match="nothing has grown under the name 'domain0'"):
        prune(model.backbone, "domain0")


def test_kept_features_are_never_stale(model: Any) -> None:
    backbone = model.backbone
    cache = FeatureCache(backbone, Store(None))
    with torch.no_grad(), weights_fixed():
        for used in (["domain0"], ["domain0", "domain1"], ["domain1", "domain2"], []):
            backbone.adapters.use(used)
            cache.refresh()
            assert distance(embeddings(backbone, cache=cache), embeddings(backbone)) <= 1e-4


def test_the_better_half_is_tried_for_longer() -> None:
    """A candidate that begins slowly wins where the budget pays for a second round, and loses where not."""
    slow = [[3.0, 2.0], [2.0, 3.0], [2.5, 1.0], [4.0, 0.0]]
    asked: list[tuple[int, int]] = []

    def score(candidate: int, steps: int) -> float:
        asked.append((candidate, steps))
        return slow[candidate][steps > 2]

    assert halving(4, 2, 0, score) == (1, [3.0, 2.0, 2.5, 4.0])
    assert asked == [(0, 2), (1, 2), (2, 2), (3, 2)]
    assert halving(4, 2, 15, score)[0] == 1, "a second round of two tries of four steps costs 8"
    assert halving(4, 2, 16, score) == (2, [3.0, 3.0, 1.0, 4.0])
    assert asked[-2:] == [(1, 4), (2, 4)]
    assert halving(3, 2, 10**6, lambda candidate, steps: float(candidate))[0] == 0
