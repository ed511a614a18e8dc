"""Proto-CLIP: prototypes of a class in two modalities, which classify together and are aligned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from clplat.mechanisms.small_fits import descend

__all__ = ["alignment", "class_means", "proto_shares", "trained_prototypes"]


def class_means(rows: Tensor, own: Tensor, classes: int) -> Tensor:
    """Unit prototypes (C, D): the means of each class's unit rows (N, D).

    Args:
        own: (N,) the class of each row.
    """
    return normalize(one_hot(own, classes).to(rows.dtype).T @ normalize(rows, dim=1), dim=1)


def proto_shares(asked: Tensor, seen: Tensor, said: Tensor, share: float, sharpness: float) -> Tensor:
    """``a softmax_c(-b |q - seen_c|^2) + (1 - a) softmax_c(-b |q - said_c|^2)`` (Q, C).

    Args:
        asked: (Q, D); seen: (C, D) prototypes of one modality; said: (C, D) of the other.
        share: a; sharpness: b.

    Reference:
        P. et al., "Proto-CLIP: Vision-Language Prototypical Network for Few-Shot Learning", IROS 2024,
        arXiv:2307.03073.

    Example:
        >>> proto_shares(torch.zeros(1, 2), torch.eye(2), torch.eye(2), share=0.5, sharpness=1.0)
        tensor([[0.5000, 0.5000]])
    """
    near = [(-sharpness * torch.cdist(asked, one).square()).softmax(1) for one in (seen, said)]
    return share * near[0] + (1.0 - share) * near[1]


def alignment(seen: Tensor, said: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE from the prototypes (C, D) of one modality to those of the other, and back; the sum."""
    logits = normalize(seen, dim=1) @ normalize(said, dim=1).T / temperature
    own = torch.arange(len(seen))
    return cross_entropy(logits, own) + cross_entropy(logits.T, own)


def trained_prototypes(
    rows: Tensor,
    said: Tensor,
    own: Tensor,
    *,
    share: float,
    sharpness: float,
    steps: int,
    rate: float,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Prototypes of both modalities (C, D) after their memories were trained.

    The memories are the parameters: the rows, whose means are prototypes, and the other modality's
    prototypes. The loss is the negative log of each row's own share, and `alignment`.

    Args:
        rows: (N, D), unit rows of training queries; said: (C, D) prototypes of the other modality.
        own: (N,) the class of each row.
        share, sharpness: as in `proto_shares`.
        steps: of AdamW, on 64 rows each, at a rate that falls to 0 along a cosine.
        rate: at first.
        draw: chooses the rows.
    """
    memory, texts = (held.detach().clone().requires_grad_() for held in (rows, said))
    asked = rows.detach().clone()

    def loss(some: Tensor) -> Tensor:
        seen, told = class_means(memory, own, len(said)), normalize(texts, dim=1)
        shares = proto_shares(asked[some], seen, told, share, sharpness)
        right = shares.gather(1, own[some, None]).clamp(min=1e-12)
        return -right.log().mean() + alignment(seen, told)

    descend([memory, texts], loss, len(rows), steps=steps, rate=rate, draw=draw, decay=0.05)
    return class_means(memory.detach(), own, len(said)), normalize(texts.detach(), dim=1)
