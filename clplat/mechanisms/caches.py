"""Classifiers of stored features: keys that are looked up, and Gaussians; residuals of zero-shot logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from clplat.mechanisms.small_fits import descend

__all__ = [
    "ClassGaussians",
    "class_columns",
    "class_shares",
    "confident",
    "divergences",
    "looked_up",
    "numbered",
    "scaled_to",
    "spread_weights",
    "surest",
    "trained_keys",
]


def looked_up(affinity: Tensor, values: Tensor, beta: float) -> Tensor:
    """``exp(-beta (1 - affinity)) @ values``: what the keys that a query is like say, (Q, C).

    Args:
        affinity: (Q, B) of queries to keys, cosines as a rule.
        values: (B, C), one-hot classes or embeddings of answers.
        beta: sharpness.

    Reference:
        Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022,
        arXiv:2207.09519.

    Example:
        >>> looked_up(torch.tensor([[1.0, 0.5]]), torch.eye(2), beta=2.0)
        tensor([[1.0000, 0.3679]])
    """
    return torch.exp(-beta * (1.0 - affinity)) @ values


def trained_keys(
    keys: Tensor,
    values: Tensor,
    logits: Tensor,
    own: Tensor,
    *,
    weight: float,
    beta: float,
    steps: int,
    rate: float,
    draw: torch.Generator,
) -> Tensor:
    """Keys (B, D) of a cache, trained so that the rows they began as are classified: Tip-Adapter-F.

    The cross-entropy of ``logits + weight exp(-beta (1 - row . key)) values`` is taken over batches of rows,
    each without the key that it became: a row finds itself in any cache.

    Args:
        keys: (B, D), unit rows; values: (B, C), what each key adds to classes.
        logits: (B, C) of the rows without a cache.
        own: (B,) their classes.
        weight, beta: as in `looked_up`.
        steps: of AdamW, on 64 rows each, at a rate that falls to 0 along a cosine.
        rate: at first.
        draw: chooses the rows.
    """
    rows, learnt = keys.detach().clone(), keys.detach().clone().requires_grad_()

    def loss(some: Tensor) -> Tensor:
        kernel = torch.exp(-beta * (1.0 - rows[some] @ learnt.T))
        kernel = kernel.masked_fill(one_hot(some, len(rows)).bool(), 0.0)
        return cross_entropy(logits[some] + weight * kernel @ values, own[some])

    descend([learnt], loss, len(rows), steps=steps, rate=rate, draw=draw)
    return learnt.detach()


def numbered(labels: Sequence[str]) -> tuple[Tensor, int]:
    """The number (N,) of each label, in the order in which they come first, and how many there are.

    Example:
        >>> numbered(["shoe", "bag", "shoe"])
        (tensor([0, 1, 0]), 2)
    """
    names = list(dict.fromkeys(labels))
    return torch.tensor([names.index(label) for label in labels]), len(names)


def class_columns(
    queries: Tensor, gallery: Tensor, said: Tensor, prototypes: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows (Q, D + C) and (G, D + C) whose inner products are those of (Q, D) and (G, D) and what is said.

    Args:
        said: (Q, C), of each query and class.
        prototypes: (C, D); what is said of a class is said of the item that is nearest to its own.
    """
    nearest = (prototypes @ gallery.double().T).argmax(1)
    owners = one_hot(nearest, len(gallery)).T.float()
    return torch.cat([queries.float(), said.float()], 1), torch.cat([gallery.float(), owners], 1)


def class_shares(rows: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    """The softmax (N, C) of ``scale`` times the cosines of unit rows (N, D) with prototypes (C, D)."""
    return (scale * rows @ prototypes.T).softmax(1)


def divergences(asked: Tensor, kept: Tensor) -> Tensor:
    """``KL(p_q || p_b)`` (Q, B) of class distributions (Q, C) and (B, C)."""
    return (asked * asked.log()).sum(1, keepdim=True) - asked @ kept.log().T


def spread_weights(values: Tensor) -> Tensor:
    """``2 (1 - x)``, x the values of each row (Q, B) from its least, 0, to its largest, 1.

    TFUP's weight of a key by the divergence of its class distribution; that the code takes z-scores first
    makes no difference.

    Example:
        >>> spread_weights(torch.tensor([[0.0, 1.0, 4.0]]))
        tensor([[2.0000, 1.5000, 0.0000]])
    """
    least, most = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return 2.0 * (1.0 - (values - least) / (most - least).clamp(min=1e-12))


def scaled_to(values: Tensor, like: Tensor) -> Tensor:
    """Values (Q, B) brought row by row to the range of ``like``: CapS-Adapter's divergences."""
    low, high = like.amin(1, keepdim=True), like.amax(1, keepdim=True)
    return low + (high - low) * (1.0 - spread_weights(values) / 2.0)


def confident(shares: Tensor, shots: int) -> tuple[Tensor, Tensor]:
    """Rows that stand for each class without anybody knowing their labels, and that class: both (N,).

    Of the ``2 shots`` rows with the largest share of a class those ``shots`` that diverge least from the
    others: a confident outlier is no prototype.

    Args:
        shares: (N, C) class distributions.
        shots: rows of each class at most.

    Reference:
        Long et al., "Training-Free Unsupervised Prompt for Vision-Language Models" (TFUP), 2024.
    """
    rows, classes = [], []
    for index in range(shares.shape[1]):
        sure = shares[:, index].argsort(descending=True, stable=True)[: 2 * shots]
        typical = divergences(shares[sure], shares[sure]).sum(1).argsort(stable=True)[:shots]
        rows.append(sure[typical])
        classes.append(torch.full((len(typical),), index))
    return torch.cat(rows), torch.cat(classes)


def surest(confidence: Tensor, groups: Tensor, limit: int) -> Tensor:
    """The rows (M,), in their order, that are among the ``limit`` most confident (N,) of their group (N,).

    Example:
        >>> surest(torch.tensor([0.5, 0.9, 0.7, 0.2]), torch.tensor([0, 0, 0, 1]), 2)
        tensor([1, 2, 3])

    Reference:
        Menghini et al., "Enhancing CLIP with CLIP", NeurIPS 2023, arXiv:2306.01669.
    """
    chosen = []
    for group in torch.unique(groups):
        rows = (groups == group).nonzero()[:, 0]
        chosen.append(rows[confidence[rows].argsort(descending=True, stable=True)[:limit]])
    found: Tensor = torch.cat(chosen).sort().values
    return found


class ClassGaussians:
    """One Gaussian a class with a covariance in common, from sums that a stream adds to; nothing is stored.

    Args:
        classes: C; width: D.

    Reference:
        Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", ICLR 2024,
        arXiv:2402.04087.

    Example:
        >>> found = ClassGaussians(2, 2)
        >>> found.add(torch.tensor([[1.0, 0.0], [0.8, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
        >>> weights, bias = found.classifier()
        >>> (torch.tensor([[0.9, 0.1]]).double() @ weights.T + bias).argmax().item()
        0
    """

    def __init__(self, classes: int, width: int) -> None:
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.sums = torch.zeros(classes, width, dtype=torch.float64)
        self.squares = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor, classes: Tensor) -> None:
        """Take in features (N, D) of classes (N,); the order and the portions make no difference."""
        wide, own = rows.double(), one_hot(classes, len(self.counts)).double()
        self.counts += own.sum(0)
        self.sums += own.T @ wide
        self.squares += wide.T @ wide

    def classifier(self) -> tuple[Tensor, Tensor]:
        """Weights (C, D) ``S^-1 mu_c`` and biases (C,) ``log 1/C - mu_c S^-1 mu_c / 2``.

        ``S^-1 = D pinv(scatter + tr(V) I)`` with the scatter about the class means and ``V = scatter /
        (N - 1)``: the public code's shrinkage. Classes without an example get -inf.
        """
        total, width = self.counts.sum(), self.sums.shape[1]
        means = self.sums / self.counts.clamp(min=1)[:, None]
        scatter = self.squares - self.sums.T @ means
        trace = scatter.trace() / (total - 1).clamp(min=1)
        inverse = width * torch.linalg.pinv(scatter + trace * torch.eye(width, dtype=torch.float64))
        weights = means @ inverse
        bias = -torch.log(torch.tensor(float(len(means)))) - (weights * means).sum(1) / 2
        return weights, bias.masked_fill(self.counts == 0, -torch.inf)
