"""The smallest complete world: a random CLIP of 16 pixels and two domains of coloured squares.

Everything is made in memory in milliseconds, from fixed seeds, without touching torch's global generator.
"""

from __future__ import annotations

import copy
import io
import pickle
from functools import cache, partial
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from clplat.data.batch import Batch
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Domain, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet
from clplat.models.backbone import Backbone
from clplat.models.outputs import Outputs
from clplat.parts.adapters._base import Adapter
from clplat.parts.composers._base import Composer
from clplat.parts.composers.combiner import Combiner
from clplat.parts.heads._base import Head
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.scorers._base import Scorer
from clplat.progress import Progress
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever

__all__ = [
    "nudge",
    "task_gradients",
    "tiny_backbone",
    "tiny_collate",
    "tiny_domains",
    "tiny_loss",
    "tiny_retriever",
]

SIZE, CONTEXT = 16, 12
#: Joint space, image tokens and text tokens of unequal width, as of every real model.
_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 2, "width": 32, "image_size": SIZE, "patch_size": 8, "head_width": 16},
    "text_cfg": {"layers": 2, "width": 48, "context_length": CONTEXT, "heads": 2},
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


class _Pickler(pickle.Pickler):
    """Writes a model without its tensors, which are put into a list."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_id(self, thing: Any) -> int | None:
        if not isinstance(thing, Tensor):
            return None
        self.tensors.append(thing)
        return len(self.tensors) - 1


class _Unpickler(pickle.Unpickler):
    """Reads it with copies of these tensors, the same copy wherever one stands twice."""

    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self.tensors, self.copies = tensors, dict[int, Any]()

    def persistent_load(self, key: int) -> Tensor:
        return copy.deepcopy(self.tensors[key], self.copies)


@cache
def _pickled() -> tuple[bytes, list[Tensor]]:
    file = io.BytesIO()
    writer = _Pickler(file)
    writer.dump(_base())
    return file.getvalue(), writer.tensors


def tiny_backbone() -> Backbone:
    """A random CLIP of two layers per tower and 16 pixels; a fresh copy at every call.

    It is copied through a pickle in memory: that takes a third of `copy.deepcopy`, and tests ask thousands of
    times.

    The joint space, the image tower and the text tower are 24, 32 and 48 wide.

    Example:
        >>> tiny_backbone().image_size
        16
    """
    data, tensors = _pickled()
    made: Backbone = _Unpickler(io.BytesIO(data), tensors).load()
    return made


@cache
def tiny_domains(count: int = 2, train: int = 24) -> list[Domain]:
    """Domains of coloured squares, each with a frame of its own: "make it blue" asks for a blue square.

    Args:
        count: at most 4.
        train: triplets per domain, at most 30 of them distinct.

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
    loss: Tensor = InfoNCE()(outputs, batch, Progress())
    return loss


def tiny_retriever(
    adapter: Adapter | None = None,
    composer: Composer | None = None,
    seed: int = 0,
    head: Head | None = None,
    scorer: Scorer | None = None,
) -> ComposedRetriever:
    """A retriever on `tiny_backbone`.

    Args:
        adapter: attached to the backbone; without one, only the composer is trained.
        composer: by default a small Combiner with dropout one half, so that nothing can resume by accident.
        seed: of initial weights.
        head, scorer: none and the dot product unless given.
    """
    backbone = tiny_backbone()
    with seeded(seed, "tiny", "initialisation"):
        if adapter is not None:
            adapter.attach(backbone)
        composer = composer if composer is not None else Combiner(8, 16, dropout=0.5, start="random")
        return ComposedRetriever(backbone, composer, head=head, scorer=scorer)


def task_gradients(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Gradients of `tiny_loss` by the names of the trainable tensors; none is stored in them."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(tiny_loss(batch, model(batch)), list(named.values()))
    return dict(zip(named, found, strict=True))


def nudge(model: nn.Module, size: float) -> None:
    """Move every trainable tensor by normal noise of this deviation, always the same."""
    draw = generator(0, "tiny", "nudge")
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(size * torch.randn(p.shape, generator=draw))
