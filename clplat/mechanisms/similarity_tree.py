"""Which earlier domain is most like the current one, layer by layer: a tree of domains and a bandit's search.

A domain is described by one vector for each layer, such as what training made of a low-rank factor there. The
first layer divides all domains into halves, the next one each half again; a search goes down with the layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Node", "SimilarityTree", "divided"]


@dataclass(frozen=True)
class Node:
    """Domains that are alike in the layers above, by number, and the halves that the next layer makes."""

    domains: tuple[int, ...]
    halves: tuple[Node, Node] | None = None

    def half_of(self, domain: int) -> Node:
        """The half that a domain is in; the node itself where it is not divided."""
        return next((half for half in self.halves or () if domain in half.domains), self)


def divided(moves: Sequence[Sequence[Tensor]], domains: Sequence[int], depth: int = 0) -> Node:
    """The tree of some domains: a layer divides them at the median of their products with their mean.

    Args:
        moves: for each domain its vectors, one for each layer.
        domains: numbers in ``moves``.
        depth: the layer that divides first.

    Example:
        >>> moves = [[torch.tensor([x])] for x in (1.0, -1.0, 3.0)]
        >>> [half.domains for half in divided(moves, [0, 1, 2]).halves]
        [(0, 2), (1,)]
    """
    if len(domains) < 2 or depth == len(moves[0]):
        return Node(tuple(domains))
    rows = torch.stack([moves[domain][depth] for domain in domains])
    products = rows @ rows.mean(0)
    near = (products >= products.median()).tolist()
    first = [domain for domain, is_near in zip(domains, near, strict=True) if is_near]
    if len(first) == len(domains):  # all are equal
        first = list(domains[: len(domains) // 2])
    halves = first, [domain for domain in domains if domain not in first]
    return Node(tuple(domains), (divided(moves, halves[0], depth + 1), divided(moves, halves[1], depth + 1)))


class SimilarityTree:
    """Finished domains, and a search for those that are like what is trained now.

    At each step and layer one domain is looked at: the one whose mean L1 distance so far, less
    ``sqrt(ln(2 (s + 1) (s + 2)) / (2 looks))`` at step s, is the smallest within the half of the tree that
    the layer above has led to. Distances are measured to that one alone.

    Attributes:
        seen: the vectors of each finished domain, one for each layer.
        root: the finished domains, divided by what each layer's vector moved by since the domain before.

    References:
        Qian et al. 2025, TreeLoRA: Efficient Continual Learning via Layer-Wise LoRAs Guided by a Hierarchical
        Gradient-Similarity Tree, arXiv 2506.10355.
    """

    def __init__(self) -> None:
        self.seen: list[list[Tensor]] = []
        self.root = Node(())
        self._sums, self._looks, self._step = torch.zeros(0, 0), torch.zeros(0, 0), 0

    def fit(self, vectors: Sequence[Tensor]) -> None:
        """A layer that has grown by rows: domains before had nothing there."""
        for seen in self.seen:
            seen[:] = [pad(old, (0, now.numel() - len(old))) for old, now in zip(seen, vectors, strict=True)]

    def add(self, vectors: Sequence[Tensor]) -> None:
        """A domain is finished."""
        self.fit(vectors)
        self.seen.append([vector.detach().flatten().clone() for vector in vectors])
        self._divide()
        self.forget()

    def forget(self) -> None:
        """Begin to look anew: nothing is known of what is trained next."""
        shape = (len(self.seen), len(self.seen[0]) if self.seen else 0)
        self._sums, self._looks, self._step = torch.zeros(shape), torch.zeros(shape), 0

    def _divide(self) -> None:
        moves = [
            [now if before is None else now - before[layer] for layer, now in enumerate(vectors)]
            for before, vectors in zip([None, *self.seen], self.seen, strict=False)
        ]
        self.root = divided(moves, range(len(self.seen)))

    def search(self) -> list[int]:
        """The domain that is to be looked at now, for each layer; the same until something is `measured`."""
        looks = self._looks.clamp_min(1e-5)
        wide = math.log(2 * (self._step + 1) * (self._step + 2))
        bounds = self._sums / looks - (wide / (2 * looks)).sqrt()
        node, found = self.root, []
        for layer in range(bounds.shape[1]):
            within = list(node.domains)
            found.append(within[int(bounds[within, layer].argmin())])
            node = node.half_of(found[-1])
        return found

    def measured(self, chosen: Sequence[int], vectors: Sequence[Tensor]) -> None:
        """Note how far the vectors of the current domain are from those that were looked at."""
        for layer, (domain, vector) in enumerate(zip(chosen, vectors, strict=True)):
            distance = (vector.detach().flatten() - self.seen[domain][layer]).abs().sum()
            self._sums[domain, layer] += float(distance)
            self._looks[domain, layer] += 1
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """All of it: tensors and plain data."""
        return {"seen": self.seen, "sums": self._sums, "looks": self._looks, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.seen, self._step = [list(vectors) for vectors in state["seen"]], state["step"]
        self._sums, self._looks = state["sums"].cpu(), state["looks"].cpu()
        self._divide()
