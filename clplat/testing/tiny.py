"""The smallest complete world: a random CLIP of 16 pixels, two domains of coloured squares, a plain module.

Everything is made in memory in milliseconds, from fixed seeds, without touching torch's global generator.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from clplat.continual.strategy import Learner, Strategy
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Batch, Domain, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet
from clplat.losses.info_nce import InfoNCE
from clplat.models.adapters.base import Adapter
from clplat.models.backbone import Backbone
from clplat.models.composers.base import Composer
from clplat.models.composers.combiner import Combiner
from clplat.models.retriever import ComposedRetriever, Outputs
from clplat.randomness import generator, seeded

__all__ = [
    "Experience",
    "TinyTowers",
    "plain_loop",
    "plain_step",
    "tiny_backbone",
    "tiny_collate",
    "tiny_domains",
    "tiny_learner",
    "tiny_loss",
    "tiny_retriever",
]

SIZE = 16
_TOWER = {"layers": 2, "width": 32}
_CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {**_TOWER, "image_size": SIZE, "patch_size": 8, "head_width": 16},
    "text_cfg": {**_TOWER, "context_length": 12, "heads": 2},
}
_COLOURS = ("red", "green", "blue", "yellow", "purple", "gray")
_FRAMES = ("none", "black", "white", "orange")


@cache
def _base() -> Backbone:
    backbone = Backbone.random(_CONFIG, seed=0)
    draw = generator(0, "tiny", "biases")
    for name, parameter in backbone.model.named_parameters():
        if name.endswith("bias"):  # no trained model's biases are zero
            parameter.data.normal_(std=0.1, generator=draw)
    return backbone


def tiny_backbone() -> Backbone:
    """A random CLIP of two layers a tower, width 32 and 16 pixels; a fresh copy at every call.

    Example:
        >>> tiny_backbone().image_size
        16
    """
    return copy.deepcopy(_base())


@cache
def tiny_domains(count: int = 2, train: int = 24) -> list[Domain]:
    """Domains of coloured squares, each with a frame of its own: "make it blue" asks for a blue square.

    Args:
        count: at most 4.
        train: triplets a domain, at most 30 of them distinct.

    Example:
        >>> [(domain.name, len(domain.train)) for domain in tiny_domains()]
        [('frame-none', 24), ('frame-black', 24)]
    """
    return [_domain(frame, train) for frame in _FRAMES[:count]]


def _domain(frame: str, train: int) -> Domain:
    name, number = f"frame-{frame}", len(_COLOURS)
    triplets = []
    for i in range(train):
        start = i % number
        goal = (start + 1 + i // number % (number - 1)) % number
        pictures = [_picture(frame, colour, "train", i // number) for colour in (start, goal)]
        text, label = f"make it {_COLOURS[goal]}", f"{name}/{_COLOURS[goal]}"
        triplets.append(Triplet(f"{name}/{i}", pictures[0], text, pictures[1], label, name))
    return Domain(name, tuple(triplets), _retrieval(frame, "val"), _retrieval(frame, "test"))


def _retrieval(frame: str, split: str) -> RetrievalSet:
    number, shown = (
        len(_COLOURS),
        [[_picture(frame, c, split, i) for i in range(2)] for c in range(len(_COLOURS))],
    )
    queries = []
    for goal in range(number):
        reference = shown[(goal + 1) % number][0]
        targets = tuple(picture.key for picture in shown[goal])
        queries.append(Query(f"{frame}/{split}/{goal}", reference, f"make it {_COLOURS[goal]}", targets))
    gallery = Gallery(f"{frame}/{split}", tuple(picture for pair in shown for picture in pair))
    return RetrievalSet(tuple(queries), gallery, Protocol("tiny", ks=(1, 5), primary="R@1"))


def _picture(frame: str, colour: int, split: str, variant: int) -> Picture:
    name = _COLOURS[colour]
    load = partial(_draw, frame, name, split, variant)
    return Picture(f"tiny/{frame}/{name}/{split}/{variant}", load, caption=f"a {name} square")


def _draw(frame: str, colour: str, split: str, variant: int) -> Image.Image:
    picture = Image.new("RGB", (SIZE, SIZE), colour)
    draw = ImageDraw.Draw(picture)
    if frame != "none":
        draw.rectangle((0, 0, SIZE - 1, SIZE - 1), outline=frame, width=3)
    at = 4 + 2 * (variant % 4)  # a mark that tells pictures of one colour apart
    draw.point([(at, 5 + len(split)), (at + 1, 5 + len(split))], fill="pink")
    return picture


@cache
def tiny_collate() -> Collate:
    """Joins triplets of `tiny_domains` to batches for `tiny_retriever`; draws every picture once."""
    return Collate(PixelStore(Preprocess(SIZE)), _base().tokenize)


def tiny_loss(batch: Batch, outputs: Outputs) -> Tensor:
    """InfoNCE of a batch, with the model's own scale."""
    masks = {"positive": batch.positive, "valid": batch.valid, "weights": batch.weights}
    return InfoNCE()(outputs.query, outputs.candidates, scale=outputs.scale, **masks)


def tiny_retriever(
    adapter: Adapter | None = None, composer: Composer | None = None, seed: int = 0
) -> ComposedRetriever:
    """A retriever on `tiny_backbone`.

    Args:
        adapter: attached to the backbone; without one, only the composer is trained.
        composer: by default a small Combiner with dropout one half, so that nothing can resume by accident.
        seed: of initial weights.
    """
    backbone = tiny_backbone()
    with seeded(seed, "tiny", "initialisation"):
        if adapter is not None:
            adapter.attach(backbone)
        composer = composer if composer is not None else Combiner(8, 16, dropout=0.5, start="random")
        return ComposedRetriever(backbone, composer)


class TinyTowers(nn.Module):
    """Any module that is no retriever: linear pictures and texts, and one frozen layer.

    ``model(batch)`` gives ``query``, ``candidates`` and ``scale``, as `ComposedRetriever` does.
    """

    def __init__(self, seed: int = 0, width: int = 8) -> None:
        super().__init__()
        with seeded(seed, "tiny", "towers"):
            self.eye = nn.Linear(3 * SIZE * SIZE, 16).requires_grad_(False)
            self.picture = nn.Linear(16, width)
            self.text = nn.Linear(_CONFIG["text_cfg"]["context_length"], width)  # type: ignore[index]

    def forward(self, batch: Batch) -> Outputs:
        reference, candidates = self._see(batch.reference), self._see(batch.candidates)
        words = self.text(batch.tokens.float() / 49408)
        return Outputs(F.normalize(reference + words, dim=-1), candidates, torch.tensor(10.0))

    def _see(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.picture(torch.tanh(self.eye(pixels.flatten(1) / 255))), dim=-1)


@dataclass
class Experience:
    """What a plain loop hands to a strategy: data, and the stream that it belongs to, as in Avalanche."""

    dataset: Sequence[Any]
    current_experience: int
    origin_stream: list[Experience]


def tiny_learner(model: nn.Module) -> Learner:
    """The learner of a plain loop around a module that takes batches of `tiny_domains`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Learner(model, optimizer, predict_fn=model, loss_fn=tiny_loss, collate_fn=tiny_collate())


def plain_step(strategy: Strategy, learner: Learner, batch: Batch) -> dict[str, float]:
    """One step, as anybody would write it: task loss plus the strategy's terms; returns them by name."""
    outputs = learner.model(batch)
    terms = {"task": tiny_loss(batch, outputs), **strategy.loss(learner, batch, outputs)}
    learner.optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    strategy.after_backward(learner)
    learner.optimizer.step()
    learner.step += 1
    strategy.after_step(learner)
    return {name: float(term.detach()) for name, term in terms.items()}


def plain_loop(
    strategy: Strategy, model: nn.Module, domains: Sequence[Domain] | None = None, steps: int = 4
) -> list[dict[str, float]]:
    """Train a module on a stream in a plain loop; return the loss terms of each step."""
    learner, history = tiny_learner(model), []
    stream: list[Experience] = []
    for i, domain in enumerate(domains or tiny_domains()):
        stream.append(Experience(domain.train, i, stream))
    for experience in stream:
        strategy.before_experience(learner, experience)
        data = strategy.training_set(experience)
        for step in range(steps if any(p.requires_grad for p in model.parameters()) else 0):
            batch = learner.collate([data[(8 * step + k) % len(data)] for k in range(8)])
            history.append(plain_step(strategy, learner, batch))
        strategy.after_experience(learner, experience)
    return history
