"""The router against a slow one: loops, and distances to every prototype."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.routing import Router

DRAW = torch.Generator().manual_seed(0)
MEANS = normalize(torch.randn(3, 8, generator=DRAW), dim=1)


def around(mean: Tensor, count: int, spread: float = 0.1) -> Tensor:
    return mean + spread * torch.randn(count, 8, generator=torch.Generator().manual_seed(count))


def routed(quantile: float = 1.0, prototypes: int = 4) -> Router:
    router = Router(lambda name: None, prototypes, quantile)
    for i, mean in enumerate(MEANS):
        router.add(f"domain{i}", 7 * around(mean, 40))
    return router


def slow_choice(router: Router, feature: Tensor) -> int:
    """The domain of the nearest prototype; -1 where that is further away than the domain's own pictures."""
    distances = [
        min(1 - float(feature @ centre) / float(feature.norm()) for centre in centres)
        for centres in router.centres
    ]
    best = min(range(len(distances)), key=distances.__getitem__)
    return best if distances[best] <= router.radii[best] + 1e-6 else -1


@pytest.mark.parametrize("quantile", [0.5, 1.0])
@pytest.mark.parametrize("prototypes", [1, 4])
def test_a_picture_goes_to_the_nearest_domain_or_to_none(quantile: float, prototypes: int) -> None:
    router = routed(quantile, prototypes)
    rows = torch.cat([*(around(mean, 30) for mean in MEANS), torch.randn(30, 8, generator=DRAW)])
    found = router(rows).tolist()
    assert found == [slow_choice(router, row) for row in rows]
    assert {*found} == {-1, 0, 1, 2}


def test_its_own_pictures_stay_within_the_quantile() -> None:
    router = routed(quantile=0.9)
    for i, mean in enumerate(MEANS):
        inside = float((router(around(mean, 40)) == i).float().mean())
        assert inside == pytest.approx(0.9, abs=0.03)


def test_prototypes_are_unit_rows_and_no_more_than_pictures() -> None:
    router = Router(lambda name: None, prototypes=4)
    router.add("few", around(MEANS[0], 2))
    router.add("many", around(MEANS[1], 40))
    assert [len(centres) for centres in router.centres] == [2, 4] and router.names == ["few", "many"]
    assert all(torch.allclose(c.norm(dim=1), torch.ones(len(c))) for c in router.centres)
