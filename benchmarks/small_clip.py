"""A small CLIP that knows something, for strategies of towers of pictures and texts beside a peer's.

It is trained on the digits of scikit-learn, of the training half, each with a caption: turned ("a photo of a
three turned left"), and a hundred upright ("a photo of a three"), as the classes of a stream are called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.side_by_side import BATCH, accuracy, stream
from benchmarks.vit import PATCH, SIDE, System, attach, pictures, train, turned
from clplat.models.backbone import Backbone
from clplat.models.outputs import Outputs
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever
from clplat.training.learner import Learner

__all__ = [
    "CONTEXT",
    "DIGITS",
    "EPOCHS",
    "TEMPLATE",
    "Shown",
    "beside",
    "clip",
    "learner_of",
    "logits",
    "ours",
    "weights",
]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATE, CONTEXT = "a photo of a {}.", 12
_KINDS = (" turned left", " turned around", " turned right", "")
#: Upright pictures, and how often each is seen in a pass.
_UPRIGHT, _TIMES = 100, 3
#: One head for 64 numbers, as Mammoth's code counts them.
_WIDTH, _JOINT, _EPOCHS = 64, 32, 30
#: Of each experience.
EPOCHS = 2
_TOWER = {"layers": 2, "width": _WIDTH}
_CONFIG = {
    "embed_dim": _JOINT,
    "quick_gelu": True,
    "vision_cfg": {**_TOWER, "head_width": _WIDTH, "patch_size": PATCH, "image_size": SIDE},
    "text_cfg": {**_TOWER, "heads": 1, "context_length": CONTEXT},
}


def clip() -> Backbone:
    """The model with the weights that it has before a stream."""
    backbone = Backbone.random(_CONFIG, seed=0)
    backbone.load_stock_state_dict(weights())
    return backbone


@cache
def weights() -> dict[str, Tensor]:
    """The same by open_clip's names, which are those of Mammoth's CLIP."""
    backbone = Backbone.random(_CONFIG, seed=0)
    learnt = [
        p for name, p in backbone.named_parameters() if not name.endswith(("embedding.weight", "scale"))
    ]
    for parameter in learnt:
        parameter.requires_grad_(True)
    ids = backbone.tokenize(captions())

    def loss(x: Tensor, y: Tensor) -> Tensor:
        image, text = backbone.image(x).pooled, backbone.text(ids).pooled
        return cross_entropy(14.3 * normalize(image, dim=-1) @ normalize(text, dim=-1).T, y)

    with seeded(0, "before the streams"):
        train(learnt, _before(), _EPOCHS, loss)
    return {name: tensor.detach().clone() for name, tensor in backbone.stock_state_dict().items()}


def captions() -> list[str]:
    """Of the forty classes before a stream."""
    return [f"a photo of a {digit}{kind}." for kind in _KINDS for digit in DIGITS]


@cache
def _before() -> TensorDataset:
    """Pictures and numbers of their captions."""
    x, y = turned().tensors
    drawn = torch.randperm(len(x) // 3, generator=generator(0, "upright"))[:_UPRIGHT]
    upright = torch.rot90(x[drawn], -1, (2, 3))
    return TensorDataset(torch.cat([x, *[upright] * _TIMES]), torch.cat([y, *[y[drawn] + 30] * _TIMES]))


def beside() -> tuple[Tensor, list[str]]:
    """Pictures and captions that the model knew before a stream; they do not belong to each other."""
    return _before().tensors[0], captions()


class Shown:
    """The same as a strategy is given it: pixels, and ids of captions."""

    def __init__(self, backbone: Backbone) -> None:
        self.shown, said = beside()
        self.said = backbone.tokenize(said)

    def sample(self, progress: Any, pictures: int, texts: int) -> tuple[Tensor, Tensor]:
        draw = Random(progress.generator(0, "reference").initial_seed())
        rows = draw.sample(range(len(self.shown)), pictures)
        return self.shown[rows], self.said[: min(texts, len(self.said))]


class _Learner(Learner):
    """Items are pixels or ids."""

    def items(self, items: Any) -> Tensor:
        backbone: Any = self.model.backbone
        made = backbone.image(items) if items.is_floating_point() else backbone.text(items)
        return normalize(made.pooled, dim=-1)


def learner_of(system: System, prepare: bool = False) -> Any:
    """A learner of the model that trains all of it, or what the system adds."""
    retriever = ComposedRetriever(clip(), Sum())
    attach(system, retriever.backbone)
    if prepare:
        retriever.backbone.model.requires_grad_(True).logit_scale.requires_grad_(False)
    return _Learner(retriever, reference=Shown(retriever.backbone))  # type: ignore[arg-type]


def logits(retriever: Any, x: Tensor, first: int = 0, end: int = 10) -> Outputs:
    """Pictures, and classes from the first to the end."""
    backbone = retriever.backbone
    ids = backbone.tokenize([TEMPLATE.format(digit) for digit in DIGITS[first:end]])
    image, text = backbone.image(pictures(x)).pooled, backbone.text(ids).pooled
    return Outputs(normalize(image, dim=-1), normalize(text, dim=-1), backbone.logit_scale.exp())


def ours(make: Callable[[], System], name: str, seed: int, epochs: int = EPOCHS, **_: Any) -> float:
    """Accuracy of a system of ours after a plain loop over a stream; without an adapter all is trained."""
    system = make()
    with seeded(seed, "shuffling"):
        learner = learner_of(system, prepare=system.adapter is None)
        for number, (dataset, _) in enumerate(stream(name)):
            with system.strategy.experience(learner, dataset) as experience:
                learnt = [p for p in learner.model.parameters() if p.requires_grad]
                experience.follow(torch.optim.Adam(learnt, lr=system.rate))
                learner.model.train()
                for _ in experience.epochs(epochs):
                    for x, y in DataLoader(dataset, BATCH, shuffle=True):
                        outputs = logits(learner.model, x, 2 * number, 2 * number + 2)
                        loss = cross_entropy(outputs.scores(scale=outputs.scale), y - 2 * number)
                        loss = loss + experience.loss((x, y), outputs)
                        learner.optimizer.zero_grad()
                        loss.backward()  # type: ignore[no-untyped-call]
                        learner.optimizer.step()
    learner.model.eval()
    return accuracy(lambda x: logits(learner.model, x).scores(), name)
