"""The catalogue's probes."""

from __future__ import annotations

from collections import Counter

from PIL import Image

from clplat.data.records import Picture
from clplat.parts import ClassificationProbe, RetrievalProbe
from scenarios._catalogue import (
    Item,
    pretraining_pairs,
)
from scenarios.probes.catalogue import CatalogueProbes


def shown(picture: Picture) -> Item:
    """The product of a picture."""
    item: Item = picture.load.args[0]  # type: ignore[attr-defined]
    return item


def test_probes_are_balanced_distinct_and_apart_from_pretraining() -> None:
    retrieval, classification = CatalogueProbes().build()
    assert isinstance(retrieval, RetrievalProbe) and isinstance(classification, ClassificationProbe)
    assert len(retrieval.pictures) == len(set(retrieval.texts)) == 120
    assert [p.caption for p in retrieval.pictures] == list(retrieval.texts)
    assert len(classification.texts) == 18 and set(Counter(classification.labels).values()) == {9}
    for picture, label in zip(classification.pictures, classification.labels, strict=True):
        assert f" {shown(picture)['colour']} " in classification.texts[label]
    keys = [p.key for p in (*retrieval.pictures, *classification.pictures)]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {p.key for seed in range(3) for p in pretraining_pairs(500, seed)}
    assert isinstance(retrieval.pictures[0].load(), Image.Image)
