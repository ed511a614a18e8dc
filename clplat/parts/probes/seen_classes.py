"""Accuracy among the classes seen so far, as class-incremental learning is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clplat.data.records import RetrievalSet
from clplat.parts.probes._base import Group, ModelView, Probe

__all__ = ["SeenClasses"]


class SeenClasses(Probe):
    """After T experiences: queries of the first T domains, ranked among the answers of those domains alone.

    ``accuracy`` is the mean over all these queries (micro average), ``mean`` that over domains, ``newest``
    that of the T-th domain, in percent of queries whose first answer is right. The untrained model is asked
    as after the first experience. It is for streams whose domains share a gallery, such as those of
    ``classification`` with ``among all``; elsewhere a domain is ranked among its own answers.

    Reference:
        Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017,
        arXiv:1611.07725: accuracy over the classes observed so far, after each increment.

    Example:
        >>> SeenClasses().headline
        'accuracy'
    """

    name = "seen-classes"
    group: Group = "stream"
    headline = "accuracy"

    def measure(self, view: ModelView) -> dict[str, float]:
        """The three numbers."""
        domains = list(view.sets)[: max(1, view.version)]
        seen = {key for name in domains for query in view.sets[name].queries for key in query.targets}
        hits = [self._hits(view, name, seen) for name in domains]
        shares = [100 * sum(one) / len(one) for one in hits]
        every = [hit for one in hits for hit in one]
        accuracy = 100 * sum(every) / len(every)
        return {"accuracy": accuracy, "mean": sum(shares) / len(shares), "newest": shares[-1]}

    @staticmethod
    def _hits(view: ModelView, name: str, seen: set[str]) -> Sequence[bool]:
        """Of each query whether the best of the items that were seen answers it."""
        held: RetrievalSet = view.sets[name]
        items = held.gallery.items
        ranked = view.nearest(name, len(items))
        known = torch.tensor([item.key in seen for item in items])
        kept = known[ranked.clamp(min=0)] & (ranked >= 0)
        first = ranked.gather(1, kept.int().argmax(1, keepdim=True))[:, 0].tolist()
        return [items[row].key in query.targets for row, query in zip(first, held.queries, strict=True)]
