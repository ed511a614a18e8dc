"""A small vision transformer that knows something, for strategies of prompts and experts beside a peer's.

It is trained on the digits of scikit-learn, of the training half, turned by a quarter, a half and three
quarters: thirty classes, none of them in a stream. `weights` are the same for both sides, `timm_names` says
how Mammoth's transformers call them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from benchmarks.pairs import CLASSES
from benchmarks.side_by_side import BATCH, accuracy, stream
from clplat.data.inputs import Images
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts._base import Prompt
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy

__all__ = [
    "EPOCHS", "PATCH", "SIDE", "SIZES", "WIDTH", "System", "attach", "classes", "logits", "ours", "pictures",
    "step_loss", "timm_names", "tower", "train", "turned",
]  # fmt: skip

WIDTH, DEPTH, HEADS, PATCH, SIDE = 48, 3, 4, 2, 8
#: As Mammoth's transformers take them.
SIZES = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
EPOCHS, RATE_BEFORE, EPOCHS_BEFORE = 5, 1e-3, 12
_CONFIG = {
    "embed_dim": WIDTH,
    "vision_cfg": {
        "layers": DEPTH, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH,
        "image_size": SIDE, "no_ln_pre": True, "norm_kwargs": {"eps": 1e-6},
    },
    "text_cfg": {"layers": 1, "width": WIDTH, "heads": HEADS, "context_length": 8},
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """A strategy of ours, and what it finds in the image tower.

    Args:
        strategy: of the stream.
        rate: of Adam, in each experience anew.
        prompt, adapter: attached before the stream.
        clip: the largest length of a step's gradient, over all that is trained.
    """

    strategy: Strategy
    rate: float
    prompt: Prompt | None = None
    adapter: Adapter | None = None
    clip: float = float("inf")


def pictures(x: Tensor) -> Tensor:
    """Grey in three channels, (N, 3, 8, 8)."""
    return x.view(-1, 1, SIDE, SIDE).expand(-1, 3, -1, -1)


def classes(seed: int) -> nn.Linear:
    """The last layer, in front of ten digits."""
    with seeded(seed, "classes"):
        return nn.Linear(WIDTH, 10)


def tower() -> Backbone:
    """The transformer with the weights that it has before a stream."""
    backbone = Backbone.random(_CONFIG, seed=0)
    backbone.load_stock_state_dict(_weights())
    return backbone


@cache
def _weights() -> dict[str, Tensor]:
    backbone = Backbone.random(_CONFIG, seed=0)
    visual = backbone.model.visual
    visual.proj.data.copy_(torch.eye(WIDTH))
    learnt = [parameter for parameter in visual.parameters() if parameter is not visual.proj]
    for parameter in learnt:
        parameter.requires_grad_(True)
    with seeded(0, "before the streams"):
        last = nn.Linear(WIDTH, 30)
        train(
            [*learnt, *last.parameters()],
            turned(),
            EPOCHS_BEFORE,
            lambda x, y: cross_entropy(last(backbone.image(x).pooled), y),
        )
    return {name: tensor.detach().clone() for name, tensor in backbone.stock_state_dict().items()}


def train(
    learnt: Iterable[Tensor],
    data: torch.utils.data.TensorDataset,
    epochs: int,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """What a model learns before the streams, in double batches."""
    optimizer = torch.optim.AdamW(learnt, lr=RATE_BEFORE)
    for _ in range(epochs):
        for x, y in DataLoader(data, 2 * BATCH, shuffle=True):
            optimizer.zero_grad()
            loss(x, y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def turned() -> torch.utils.data.TensorDataset:
    """The training pictures of all classes, turned by a quarter, a half and three quarters."""
    parts = [train.tensors for train, _ in stream(CLASSES)]
    x, y = (torch.cat([part[side] for part in parts]) for side in (0, 1))
    turns = [torch.rot90(pictures(x), turn, (2, 3)) for turn in (1, 2, 3)]
    return torch.utils.data.TensorDataset(torch.cat(turns), torch.cat([y, y + 10, y + 20]))


def timm_names() -> dict[str, Tensor]:
    """The weights as timm's transformers and Mammoth's call them, whose patches have a bias, here of zero."""
    found: dict[str, Tensor] = {}
    own = {key.removeprefix("visual."): t for key, t in _weights().items() if key.startswith("visual.")}
    named = {"ln_1": "norm1", "ln_2": "norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    named |= {"attn.out_proj": "attn.proj", "attn.in_proj_": "attn.qkv."}
    for key, tensor in own.items():
        if key.startswith("transformer.resblocks."):
            key = key.replace("transformer.resblocks", "blocks")
            for old, new in named.items():
                key = key.replace(old, new)
            found[key] = tensor
    found["patch_embed.proj.weight"] = own["conv1.weight"]
    found["patch_embed.proj.bias"] = torch.zeros(WIDTH)
    found["cls_token"] = own["class_embedding"].view(1, 1, -1)
    found["pos_embed"] = own["positional_embedding"][None]
    found |= {f"norm.{side}": own[f"ln_post.{side}"] for side in ("weight", "bias")}
    return found


def ours(make: Callable[[], System], name: str, seed: int, epochs: int = EPOCHS, **_: Any) -> float:
    """Accuracy of a system of ours after a plain loop over a stream."""
    system, retriever = make(), ComposedRetriever(tower(), Sum())
    retriever.add_module("classes", classes(seed))
    learner = Learner(retriever, collate_fn=_collate)
    with seeded(seed, "shuffling"):
        attach(system, retriever.backbone)
        for number, (dataset, _) in enumerate(stream(name)):
            with system.strategy.experience(learner, dataset) as experience:
                learnt = [p for p in retriever.parameters() if p.requires_grad]
                learner.optimizer = torch.optim.Adam(learnt, lr=system.rate)
                retriever.train()
                for _ in experience.epochs(epochs):
                    for x, y in DataLoader(dataset, BATCH, shuffle=True):
                        learner.optimizer.zero_grad()
                        step_loss(retriever, x, y, number).backward()  # type: ignore[no-untyped-call]
                        torch.nn.utils.clip_grad_norm_(learnt, system.clip)
                        learner.optimizer.step()
    retriever.eval()
    return accuracy(lambda x: logits(retriever, x), name)


def attach(system: System, backbone: Backbone) -> None:
    for part in (system.prompt, system.adapter):
        if part is not None:
            part.attach(backbone)


def logits(retriever: Any, x: Tensor) -> Tensor:
    found: Tensor = retriever.classes(retriever.backbone.image(pictures(x)).pooled)
    return found


def step_loss(retriever: Any, x: Tensor, y: Tensor, number: int) -> Tensor:
    """The classes of an experience compete among themselves; what prompts and adapters want is added."""
    made = logits(retriever, x)
    first = 2 * number
    loss = cross_entropy(made[:, first : first + 2], y - first)
    for part in (retriever.backbone.image_prompt, retriever.backbone.adapters):
        for term in part.terms((x, y), made).values() if part is not None else ():
            loss = loss + term
    return loss


def _collate(examples: list[Any]) -> Any:
    x = torch.stack([picture for picture, _ in examples])
    return SimpleNamespace(pictures=Images.of(pictures(x)), texts=())
