"""The catalogue's data beside the stream, and what an experiment checks and records of such data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.parts.references._base import Reference
from clplat.runs.assembly import assemble
from clplat.runs.blank import blank
from clplat.testing import ReferenceContract
from clplat.training.strategy import Strategy
from scenarios._catalogue import pretraining_pairs
from scenarios.catalogue import Catalogue
from scenarios.references.catalogue import CatalogueReference


class TestCatalogueReference(ReferenceContract):
    def make(self) -> Reference:
        return CatalogueReference(pictures_held=20, texts_held=20, size=24)


def test_pictures_and_texts_belong_to_nothing_else() -> None:
    reference = CatalogueReference(50, 50, seed=0)
    pretrained = {p.key for seed in range(3) for p in pretraining_pairs(100, seed)}
    assert not {p.key for p in reference.pictures()} & pretrained
    assert not {p.caption for p in reference.pictures()} >= set(reference.texts())
    assert CatalogueReference(50, 50, seed=1).fingerprint() != reference.fingerprint()


class Reading(Strategy):
    """Learns from data beside the stream."""

    reads_reference = True

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        pictures, texts = learner.reference.sample(learner.progress, 4, 4)
        return {"beside": (learner.items(pictures) @ learner.items(texts).T).square().mean()}


class Overlapping(CatalogueReference):
    """Holds a picture of a gallery."""

    def pictures(self) -> Any:
        stream = Catalogue(domains=2, train=8, queries=20, gallery=20, size=16).benchmark().train_stream
        return [*super().pictures(), stream[1].domain.test.queries[0].reference]


def config(small_backbone: Path, **more: Any) -> dict[str, Any]:
    sizes = {"domains": 2, "train": 8, "queries": 20, "gallery": 20, "size": 16}
    scenario = {"name": "catalogue", **sizes}
    return {"backbone": f"local-dir:{small_backbone}", "scenario": scenario, **more}


def test_the_result_says_what_was_learnt_from(small_backbone: Path) -> None:
    reference = {"name": "catalogue", "pictures_held": 6, "texts_held": 5, "size": 16}
    chosen = resolve(config(small_backbone, strategy=f"{__name__}:Reading", reference=reference))
    parts = assemble(chosen)
    said = blank(chosen, parts)["extra_data"]
    texts = [*CatalogueReference(6, 5, 16, seed=0).texts()]
    size = parts.retriever.backbone.image_size
    held = {
        "fingerprint": CatalogueReference(6, 5, 16, seed=0).fingerprint(),
        "pictures": 6,
        "texts": len(texts),
        "bytes": 6 * 3 * size**2 + sum(len(text.encode()) for text in texts),
    }
    assert said == {"catalogue": held}
    plain = resolve(config(small_backbone))
    assert blank(plain, assemble(plain))["extra_data"] == {}


def test_data_that_the_stream_is_measured_on_is_refused(small_backbone: Path) -> None:
    names = {"strategy": f"{__name__}:Reading", "reference": f"{__name__}:Overlapping"}
    with pytest.raises(UserError, match="which the stream is measured on"):
        assemble(resolve(config(small_backbone, **names)))


def test_it_is_named_exactly_where_it_is_used() -> None:
    with pytest.raises(UserError, match="learns from data beside the stream: name it, --reference NAME"):
        resolve({"strategy": f"{__name__}:Reading"})
    with pytest.raises(UserError, match="reference 'catalogue' would never be used: strategy 'naive'"):
        resolve({"reference": "catalogue"})
