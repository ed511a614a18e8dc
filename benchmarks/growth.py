"""Growing beside training from the beginning, at equal floating-point operations (G_stack, arXiv 2405.15319).

    python -m benchmarks.growth [SEEDS]

A CLIP of 2 blocks a tower is trained on triplets of the catalogue, stacked to 4 and trained on; beside it one
of 4 blocks is trained from random weights, and one of 2 to the end. All spend the same operations, counted by
`clplat.flops.FlopCount` on a step of each size: what is small for a while makes more steps. Printed is the
contrastive loss of held-out triplets, and how often the right picture is the nearest of 128.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.flops import FlopCount
from clplat.models.backbone import Backbone
from clplat.parts.adapters.deeper import Deeper
from clplat.parts.composers.sum import Sum
from clplat.parts.losses.info_nce import info_nce
from clplat.randomness import generator
from clplat.retriever import ComposedRetriever
from scenarios.catalogue import Catalogue

#: Operations of a run, in steps of the deep model.
STEPS, BATCH, HELD, RATE = 120, 32, 128, 1e-3
SHALLOW, FACTOR = 2, 2
#: Share of the operations that is spent before the towers grow.
GROWS_AT = 0.25


def model_of(layers: int, seed: int) -> ComposedRetriever:
    """Random towers of so many blocks, all of them trained."""
    tower = {"width": 64, "layers": layers}
    config = {
        "embed_dim": 64,
        "vision_cfg": {**tower, "image_size": 32, "patch_size": 8, "head_width": 32},
        "text_cfg": {**tower, "context_length": 48, "heads": 2},
    }
    backbone = Backbone.random(config, seed=seed)
    backbone.requires_grad_(True)
    return ComposedRetriever(backbone, Sum())


def batches(examples: list[Any], seed: int) -> Iterator[list[Any]]:
    """The same for every way of training, without end."""
    draw = generator(seed, "growth")
    while True:
        order = torch.randperm(len(examples), generator=draw).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            yield [examples[i] for i in order[start : start + BATCH]]


def loss_of(model: ComposedRetriever, batch: Any) -> Tensor:
    outputs = model(batch)
    return info_nce(outputs.scores(scale=1 / 0.07), positive=batch.positive, valid=batch.valid)


class Training:
    """Steps on one stream of batches until operations are spent; growth keeps its place in it."""

    def __init__(self, layers: int, seed: int, examples: list[Any], collate: Collate) -> None:
        self.model, self.collate = model_of(layers, seed), collate
        self.stream, self.spent, self.steps = batches(examples, seed), 0.0, 0
        self._begin()

    def _begin(self) -> None:
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=RATE)
        self.price = 0.0

    def grow(self) -> None:
        Deeper(FACTOR, start="copy", base=True).attach(self.model.backbone)
        self._begin()

    def until(self, operations: float) -> None:
        self.model.train()
        while self.spent < operations:
            if not self.price:
                with FlopCount() as counter:
                    self._step()
                self.price = counter.total
            else:
                self._step()
            self.spent += self.price
            self.steps += 1

    def _step(self) -> None:
        self.optimizer.zero_grad()
        loss_of(self.model, self.collate(next(self.stream))).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def measured(self, held: Any) -> tuple[float, float]:
        """Loss of held-out examples, and percent of them whose nearest candidate is right."""
        outputs = self.model.eval()(held)
        scores = outputs.scores().masked_fill(~held.valid, -torch.inf)
        right = held.positive.gather(1, scores.argmax(1, keepdim=True))
        return float(loss_of(self.model, held)), 100 * float(right.float().mean())


def main(seeds: int) -> None:
    domains, _ = Catalogue(domains=2, train=640, queries=20, gallery=20, size=32).build()
    examples = [example for domain in domains for example in domain.train]
    order = torch.randperm(len(examples), generator=generator(0, "growth", "held out")).tolist()
    examples = [examples[i] for i in order]
    collate = Collate(PixelStore(Preprocess(32)), model_of(1, 0).backbone.tokenize)
    held, examples = collate(examples[:HELD]), examples[HELD:]
    found: dict[str, list[tuple[float, float, int]]] = {}
    for seed in range(seeds):
        probe = Training(SHALLOW * FACTOR, seed, examples, collate)
        probe.until(1)
        whole = STEPS * probe.price
        for way, layers in (("grown", SHALLOW), ("deep", SHALLOW * FACTOR), ("shallow", SHALLOW)):
            training = Training(layers, seed, examples, collate)
            if way == "grown":
                training.until(GROWS_AT * whole)
                training.grow()
            training.until(whole)
            found.setdefault(way, []).append((*training.measured(held), training.steps))
    for way, runs in found.items():
        losses, right = [run[0] for run in runs], [run[1] for run in runs]
        spread = stdev(losses) if len(losses) > 1 else 0.0
        print(
            f"{way:8} loss {fmean(losses):.3f} ± {spread:.3f}   R@1 {fmean(right):.1f} %   {runs[0][2]} steps"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
