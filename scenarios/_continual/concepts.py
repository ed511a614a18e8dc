"""Which experience a record belongs to: by what its picture shows to a frozen model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Example, Gallery, Picture, Query
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.randomness import generator
from clplat.routed_towers import RoutedTowers

from .dealing import Deal

__all__ = ["by_concept", "k_means"]

_TOGETHER, _PASSES, _STARTS = 256, 100, 8


def by_concept(
    examples: Sequence[Example],
    queries: Sequence[tuple[Gallery, Query]],
    parts: int,
    model: str,
    seed: int,
) -> Deal:
    """An experience for each cluster of pictures: of the reference, or of the target where there is none.

    Clusters are found on training data, largest first; a query belongs to the nearest. Features are kept, so
    that the stream costs a pass of the model once.

    Args:
        queries: each with the gallery that holds its answers.
        parts: how many clusters.
        model: name of the frozen backbone.
        seed: of the centres that k-means begins with.

    Raises:
        UserError: a record without a picture, or fewer different pictures than parts.
    """
    answers = {id(gallery): {item.key: item.picture for item in gallery.items} for gallery, _ in queries}
    shown = [_shown(e.id, e.query.picture, e.target.picture) for e in examples] + [
        _shown(q.id, q.reference, *map(answers[id(gallery)].get, q.targets)) for gallery, q in queries
    ]
    distinct = {picture.key: picture for picture in shown}
    features = dict(zip(distinct, embedded(list(distinct.values()), model), strict=True))
    found = torch.stack([features[picture.key] for picture in shown])
    learnt = found[: len(examples)] if examples else found
    if len({picture.key for picture in shown[: len(learnt)]}) < parts:
        raise UserError(
            f"{len(learnt)} records show fewer than {parts} different pictures; choose fewer parts"
        )
    nearest = torch.cdist(found, k_means(learnt, parts, generator(seed, "concepts"))).argmin(dim=1)
    sizes = torch.bincount(nearest[: len(learnt)], minlength=parts)
    names = {
        int(cluster): f"concept-{i}" for i, cluster in enumerate(sizes.argsort(descending=True, stable=True))
    }
    said = tuple(names[int(cluster)] for cluster in nearest)
    return Deal(tuple(names.values()), said[: len(examples)], said[len(examples) :])


def embedded(pictures: Sequence[Picture], model: str) -> Tensor:
    """Unit features (N, D), float64, of the frozen model; kept in the store."""
    backbone = Backbone.load(model)
    towers, store = RoutedTowers(backbone).eval(), Store.default()
    towers.cache = FeatureCache(backbone, store)
    pixels = PixelStore(Preprocess(backbone.image_size))
    with torch.inference_mode():
        rows = [
            towers.raw_images(pixels.images(pictures[i : i + _TOGETHER]))
            for i in range(0, len(pictures), _TOGETHER)
        ]
    return torch.nn.functional.normalize(torch.cat(rows).double(), dim=-1).clone()


def k_means(rows: Tensor, parts: int, draw: torch.Generator) -> Tensor:
    """Centres (parts, D) of the least sum of squared distances among several starts (k-means++, Lloyd).

    Reference:
        Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding" (SODA 2007).
    """
    found: list[tuple[float, Tensor]] = []
    for _ in range(_STARTS):
        centres = rows[torch.randint(len(rows), (1,), generator=draw)]
        for _ in range(parts - 1):
            far = torch.cdist(rows, centres).amin(dim=1).square()
            centres = torch.cat([centres, rows[torch.multinomial(far, 1, generator=draw)]])
        for _ in range(_PASSES):
            nearest = torch.cdist(rows, centres).argmin(dim=1)
            moved = torch.stack(
                [rows[nearest == i].mean(dim=0) if (nearest == i).any() else centres[i] for i in range(parts)]
            )
            if torch.equal(moved, centres):
                break
            centres = moved
        found.append((float(torch.cdist(rows, centres).amin(dim=1).square().sum()), centres))
    return min(found, key=lambda pair: pair[0])[1]


def _shown(name: str, *pictures: Picture | None) -> Picture:
    found = next((picture for picture in pictures if picture is not None), None)
    if found is None:
        raise UserError(
            f"record '{name}' has no picture, so that no concept can be told; choose another --scenario.by"
        )
    return found
