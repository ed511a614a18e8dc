"""Routers against slow ones in float64: loops, and distances to every prototype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.routing import Router, Routing, weigh

DRAW = torch.Generator().manual_seed(0)
MEANS = normalize(torch.randn(3, 8, generator=DRAW), dim=1)
STRANGE = torch.randn(30, 8, generator=DRAW)


def around(mean: Tensor, count: int, spread: float = 0.1) -> Tensor:
    return mean + spread * torch.randn(count, 8, generator=torch.Generator().manual_seed(count))


def routed(**options: Any) -> Router:
    router = Router(Routing(**options))
    for i, mean in enumerate(MEANS):
        router.add(f"domain{i}", 7 * around(mean, 40))
    return router


def slow_distances(router: Router, feature: Tensor) -> list[list[float]]:
    """To every centre of every expert."""
    row = feature.double().numpy() / np.linalg.norm(feature.double().numpy())
    kinds = {
        "cosine": lambda c: 1 - float(row @ c),
        "euclidean": lambda c: float(np.sqrt(((row - c) ** 2).sum())),
        "manhattan": lambda c: float(np.abs(row - c).sum()),
    }
    of = kinds[router.routing.distance]
    return [[of(centre) for centre in expert["centres"].double().numpy()] for expert in router.experts]


def slow_choice(router: Router, feature: Tensor) -> int:
    """The domain of the nearest prototype; -1 where that is further away than the domain's own pictures."""
    nearest = [min(row) for row in slow_distances(router, feature)]
    best = min(range(len(nearest)), key=nearest.__getitem__)
    return best if not router.limits or nearest[best] <= -router.limits[best] + 1e-6 else -1


@pytest.mark.parametrize("inside", [0.5, 1.0, None])
@pytest.mark.parametrize("by", ["key", "centroid"])
def test_a_picture_goes_to_the_nearest_domain_or_to_none(inside: float | None, by: str) -> None:
    router = routed(by=by, inside=inside)
    rows = torch.cat([*(around(mean, 30) for mean in MEANS), STRANGE])
    found = router.choice(rows).tolist()
    assert found == [slow_choice(router, row) for row in rows]
    assert {*found} == ({0, 1, 2} if inside is None else {-1, 0, 1, 2})


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("by", ["centroid", "energy", "kernel"])
def test_scores_from_the_distances_to_centres(by: str, distance: str) -> None:
    router = routed(by=by, distance=distance, spread=0.3)
    for row, found in zip(STRANGE[:4], router.scores(STRANGE[:4]), strict=True):
        for own, score in zip(slow_distances(router, row), found.tolist(), strict=True):
            kernel = sum(math.exp(-d / 0.3) for d in own)
            expected = {"centroid": -min(own), "energy": 0.3 * math.log(kernel), "kernel": kernel}[by]
            assert score == pytest.approx(expected, abs=1e-5)


def test_its_own_pictures_stay_within_the_quantile() -> None:
    for by in ("centroid", "subspace"):
        router = routed(by=by, inside=0.9)
        for i, mean in enumerate(MEANS):
            inside = float((router.choice(around(mean, 40)) == i).float().mean())
            assert inside == pytest.approx(0.9, abs=0.03), by


def test_prototypes_are_unit_rows_and_no_more_than_pictures() -> None:
    router = Router(Routing(centres=4))
    router.add("few", around(MEANS[0], 2))
    router.add("many", around(MEANS[1], 40))
    centres = [expert["centres"] for expert in router.experts]
    assert [len(held) for held in centres] == [2, 4] and router.names == ["few", "many"]
    assert all(torch.allclose(c.norm(dim=1), torch.ones(len(c))) for c in centres)


def test_a_key_is_where_pulling_it_to_its_inputs_ends() -> None:
    """The mean direction has the highest mean cosine with the rows."""
    rows = normalize(around(MEANS[0], 40, 0.5), dim=1)
    router = Router(Routing(by="key", centres=4))
    router.add("own", rows)
    key = router.experts[0]["centres"]
    assert torch.allclose(key, normalize(rows.mean(0, keepdim=True), dim=1), atol=1e-6)
    best = float((rows @ key.T).mean())
    others = normalize(key + 0.05 * STRANGE, dim=1)
    assert best > float((rows @ others.T).mean(0).max())


def test_a_subspace_is_scored_by_what_it_cannot_reconstruct() -> None:
    router = routed(by="subspace", centres=2)
    unit = normalize(STRANGE[:3], dim=1).double().numpy()
    for e, mean in enumerate(MEANS):
        own = normalize(7 * around(mean, 40), dim=1).double().numpy()
        centred = own - own.mean(0)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        rest = unit - own.mean(0)
        rest = rest - rest @ vectors[:, -2:] @ vectors[:, -2:].T
        found = router.scores(STRANGE[:3])[:, e].numpy()
        np.testing.assert_allclose(found, -(rest**2).sum(1), atol=1e-5)


def test_a_selector_is_fitted_anew_with_every_expert() -> None:
    """The gradient of its objective is zero: cross-entropy, experts of any size counting alike, and decay."""
    router = Router(Routing(by="learned", inside=None, top=2))
    for i, mean in enumerate(MEANS):
        router.add(f"{i}", around(mean, 10 * (i + 1)))
    with torch.inference_mode():  # where a loaded model is asked for the first time
        w = router._fitted().clone().double().numpy()
    gradient = 2e-3 * w
    for e, expert in enumerate(router.experts):
        for row in expert["rows"].double().numpy():
            x = np.append(row, 1.0)
            p = np.exp(w @ x) / np.exp(w @ x).sum()
            gradient += np.outer(p - np.eye(3)[e], x) / len(expert["rows"]) / 3
    assert np.abs(gradient).max() < 1e-4
    assert router.choice(MEANS).tolist() == [0, 1, 2]
    assert ((router.weights(MEANS) > 0).sum(1) == 2).all(), "the best two, whatever the number of experts"


def test_shares_of_the_best_k() -> None:
    scores = torch.tensor([[0.1, 0.3, 0.2], [3.0, 1.0, 2.0]])
    for top, kept in ((1, 1), (2, 2), (0, 3), (9, 3)):
        for row, found in zip(scores.tolist(), weigh(scores, top, 0.5).tolist(), strict=True):
            best = sorted(range(3), key=lambda i: -row[i])[:kept]
            total = sum(math.exp(row[i] / 0.5) for i in best)
            expected = [math.exp(row[i] / 0.5) / total if i in best else 0.0 for i in range(3)]
            assert found == pytest.approx(expected)


@pytest.mark.parametrize("by", ["key", "energy", "subspace", "learned"])
def test_another_router_goes_on_from_its_state_and_adding_leaves_the_others(by: str) -> None:
    router, other = routed(by=by), Router(Routing(by=by))
    state = router.state_dict()
    other.load_state_dict(state)
    assert (
        torch.equal(other.weights(STRANGE), router.weights(STRANGE)) and other.bytes() == router.bytes() > 0
    )
    before = [dict(expert) for expert in router.experts]
    other.add("new", STRANGE, owner=1)
    assert other.owners == [0, 1, 2, 1] and state["names"] == router.names == [
        "domain0",
        "domain1",
        "domain2",
    ]
    for old, new in zip(before, other.experts, strict=False):
        assert all(torch.equal(new[name], tensor) for name, tensor in old.items())


def test_options_out_of_range_are_refused() -> None:
    for wrong, said in (
        ({"by": "magic"}, "by is 'magic'"),
        ({"distance": "far"}, "distance is 'far'"),
        ({"centres": 0}, "centres >= 1"),
        ({"temperature": 0.0}, "temperature > 0"),
        ({"inside": 0.0}, "inside must be in"),
    ):
        with pytest.raises(ValueError, match=said):
            Routing(**wrong)  # type: ignore[arg-type]
