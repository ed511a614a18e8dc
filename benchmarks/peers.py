"""How the public codes train and encode: plain loops around open_clip's own forward, in our words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

#: Items a forward pass of CLIP, as in CLIP4Cir.
CHUNK = 32


class PublicCombiner(nn.Module):
    """The network of CLIP4Cir: logits of all queries against all targets."""

    def __init__(self, clip_dim: int, projection: int, hidden: int) -> None:
        super().__init__()
        self.text = nn.Sequential(nn.Linear(clip_dim, projection), nn.ReLU(), nn.Dropout(0.5))
        self.image = nn.Sequential(nn.Linear(clip_dim, projection), nn.ReLU(), nn.Dropout(0.5))
        self.mix = nn.Sequential(nn.Linear(2 * projection, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.out = nn.Linear(hidden, clip_dim)
        first = (nn.Linear(2 * projection, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.gate = nn.Sequential(*first, nn.Linear(hidden, 1), nn.Sigmoid())

    def forward(self, reference: Tensor, text: Tensor, target: Tensor) -> Tensor:
        both = torch.cat([self.text(text), self.image(reference)], dim=-1)
        share = self.gate(both)
        query = self.out(self.mix(both)) + share * text + (1 - share) * reference
        return 100 * normalize(query, dim=-1) @ normalize(target, dim=-1).T


def encode_images(clip: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([clip.encode_image(part).float() for part in pixels.split(CHUNK)])


def encode_texts(clip: Any, ids: Tensor) -> Tensor:
    """All 77 positions of every caption."""
    with torch.no_grad():
        return torch.cat([clip.encode_text(part).float() for part in ids.split(CHUNK)])


def combiner_step(
    combiner: nn.Module, optimizer: torch.optim.Optimizer, reference: Tensor, text: Tensor, target: Tensor
) -> None:
    optimizer.zero_grad()
    logits = combiner(reference, text, target)
    cross_entropy(logits, torch.arange(len(logits))).backward()
    optimizer.step()


def projection_step(
    projection: nn.Module, optimizer: torch.optim.Optimizer, new: Tensor, old: Tensor
) -> None:
    """A map of new embeddings to old ones, which must find theirs among those of the batch."""
    optimizer.zero_grad()
    cosines = normalize(projection(new), dim=-1) @ normalize(old, dim=-1).T
    loss = (1 - cosines.diagonal()).mean() + 0.1 * cross_entropy(cosines / 0.05, torch.arange(len(new)))
    loss.backward()
    optimizer.step()


def tower_step(
    clip: Any, optimizer: torch.optim.Optimizer, reference: Tensor, ids: Tensor, target: Tensor
) -> None:
    """Trains what is trainable in the towers; the query is the sum of picture and text."""
    optimizer.zero_grad()
    query = normalize(clip.encode_image(reference) + clip.encode_text(ids), dim=-1)
    logits = 100 * query @ normalize(clip.encode_image(target), dim=-1).T
    cross_entropy(logits, torch.arange(len(logits))).backward()
    optimizer.step()


def trained(model: nn.Module) -> Sequence[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
