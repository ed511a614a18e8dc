"""What contracts of adapters and prompts do with a backbone: embed, compare, train a little."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.mechanisms.teacher import Teacher, snapshot
from clplat.models.backbone import Backbone
from clplat.models.features import WANTS, ImageFeatures, TextFeatures
from clplat.models.source import FeatureSource
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import difference
from clplat.testing.part import Part, PartContract
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains, tiny_loss

__all__ = ["AttachedContract", "attached", "distance", "embeddings", "features", "train_a_little"]


def attached(part: Any, backbone: Backbone, *name: str) -> list[str]:
    """Attach an adapter or a prompt, always from the same seed; the names that it trains."""
    with seeded(0, "contract", "attach"):
        names: list[str] = part.attach(backbone, *name)
    return names


def embeddings(backbone: Backbone, rows: int = 6, cache: FeatureSource | None = None) -> dict[str, Tensor]:
    """Unit rows (rows, D) of ``image`` and ``text``, in evaluation mode; from ``cache`` where it is given."""
    batch = tiny_collate()(tiny_domains()[0].train[:rows])
    mode = backbone.training
    backbone.eval()
    with torch.no_grad():
        if cache is not None:
            images, texts = batch.pictures.part(range(rows)), batch.texts
            found = {"image": cache.image(images).pooled, "text": cache.text(texts).pooled}
        else:
            found = {
                "image": backbone.image(batch.reference).pooled,
                "text": backbone.text(batch.tokens, length=max(batch.texts.lengths)).pooled,
            }
    backbone.train(mode)
    return {tower: F.normalize(pooled, dim=-1) for tower, pooled in found.items()}


def features(
    backbone: Backbone, rows: int = 6, scale: float = 5.0, seed: int = 0
) -> tuple[ImageFeatures, TextFeatures]:
    """Everything that composers may want of pictures and texts, the same for one seed.

    Numbers are normal, in the shapes of this backbone's towers; token ids and keys are real ones.
    """
    batch = tiny_collate()([tiny_domains()[0].train[i % 24] for i in range(rows)])
    draw = generator(seed, "contract", "features", rows)
    with torch.no_grad():
        found = backbone.image(batch.reference, WANTS), backbone.text(batch.tokens, WANTS)
    for part in found:
        for name in ("pooled", "states", "tokens"):
            drawn = torch.randn(getattr(part, name).shape, generator=draw)
            setattr(part, name, scale * drawn if name == "pooled" else drawn)
    found[0].keys, found[1].texts = batch.pictures.names[:rows], batch.texts.said
    # Distinct after any change of colour as well.
    found[0].captions = [f"{said} with mark {i}" for i, said in enumerate(batch.pictures.captions[:rows])]
    return found


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The largest deviation between two sets of embeddings."""
    return max(float((one[tower] - two[tower]).abs().max()) for tower in one)


def train_a_little(backbone: Backbone, steps: int = 2) -> set[str]:
    """A few steps of composed retrieval; the names of all tensors that had a gradient other than zero."""
    retriever = ComposedRetriever(backbone, Sum())
    named = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    optimizer: Any = torch.optim.Adam(named.values(), lr=1e-2)
    reached: set[str] = set()
    backbone.train()
    with seeded(0, "contract", "train"):
        for step in range(steps):
            batch = tiny_collate()(tiny_domains()[step % 2].train[8 * step % 24 :][:8])
            optimizer.zero_grad()
            outputs = retriever(batch)
            loss = sum(outputs.terms.values(), tiny_loss(batch, outputs))
            if not loss.requires_grad:
                break
            loss.backward()
            reached |= {name for name, p in named.items() if p.grad is not None and bool(p.grad.any())}
            optimizer.step()
    backbone.eval()
    return reached


class AttachedContract(PartContract[Part]):
    """Contract tests of what is attached to a backbone, an adapter or a prompt."""

    def backbone(self) -> Backbone:
        """What it is attached to; override it where the tiny one does not suit."""
        return tiny_backbone()

    def _attached(self) -> Backbone:
        backbone = self.backbone()
        attached(self.make(), backbone)
        return backbone

    def test_a_teacher_and_a_checkpoint_bring_it_back(self) -> None:
        """An earlier version is kept as its trained tensors: nothing else may decide about the output."""
        from clplat.runs.checkpoint import Weights

        backbone, again = self._attached(), self._attached()
        start, teacher, held = embeddings(backbone), Teacher(snapshot(backbone)), Weights(backbone)
        train_a_little(backbone)
        trained, saved = embeddings(backbone), {name: t.clone() for name, t in held.tensors().items()}
        with teacher.active(backbone):
            assert not difference(embeddings(backbone), start), "a teacher's features are not of its time"
        assert not difference(embeddings(backbone), trained), "a teacher left something behind"
        Weights(again).restore(saved)
        assert not difference(embeddings(again), trained), "the saved tensors do not restore the features"
