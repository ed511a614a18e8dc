"""Accuracy among the classes seen so far, against a count pair by pair in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.data.records import Gallery, Item, Protocol, Query, RetrievalSet
from clplat.evaluation.asked import asked
from clplat.evaluation.ranking import top_k
from clplat.parts.probes import SeenClasses
from clplat.testing import ProbesContract


class TestSeenClasses(ProbesContract):
    def make(self) -> SeenClasses:
        return SeenClasses()


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_queries_of_seen_domains_are_ranked_among_their_classes(version: int) -> None:
    """Three domains of two classes and four, five and six queries, in one gallery of six classes."""
    draw = torch.Generator().manual_seed(3)
    gallery = Gallery("classes", [Item(str(c), text=f"class {c}") for c in range(6)])
    classes, counts = torch.randn(6, 4, generator=draw), (4, 5, 6)
    sets, rows = {}, {}
    for domain, count in enumerate(counts):
        queries = tuple(Query(f"{domain}/{i}", None, "x", (str(2 * domain + i % 2),)) for i in range(count))
        sets[str(domain)] = RetrievalSet(queries, gallery, Protocol("p", exclude_reference=False))
        rows[str(domain)] = torch.randn(count, 4, generator=draw)

    def nearest(name: str, k: int) -> Any:
        return top_k(rows[name], classes, k, asked(sets[name]).exclude)

    found = SeenClasses().measure(SimpleNamespace(version=version, sets=sets, nearest=nearest))  # type: ignore[arg-type]
    seen = max(1, version)
    hits = [
        [
            max(range(2 * seen), key=lambda c, row=row: float(classes[c].double() @ row.double()))
            == int(query.targets[0])
            for row, query in zip(rows[str(domain)], sets[str(domain)].queries, strict=True)
        ]
        for domain in range(seen)
    ]
    shares = [100 * sum(one) / len(one) for one in hits]
    assert found["accuracy"] == pytest.approx(100 * sum(map(sum, hits)) / sum(map(len, hits)))
    assert found["mean"] == pytest.approx(sum(shares) / seen) and found["newest"] == pytest.approx(shares[-1])
