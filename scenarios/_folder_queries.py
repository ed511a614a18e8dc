"""Queries of `scenarios.domain_folders`: which reference, which change in words, which targets."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from clplat.data.folders import stable_hash
from clplat.data.records import Picture, Query
from clplat.errors import UserError

__all__ = ["CLASS_CHANGE", "DOMAIN_CHANGE", "balanced", "draw_queries"]

CLASS_CHANGE = (
    "{} instead",
    "change it to {}",
    "make it {}",
    "replace it with {}",
    "show {} in the same style",
    "I want {} here",
)
DOMAIN_CHANGE = (
    "the same thing as {}",
    "the same as {}",
    "turn it into {}",
    "show it as {}",
    "what it shows, as {}",
)

Cell = TypeVar("Cell", bound=Hashable)


def draw_queries(
    domain: str,
    split: str,
    cells: Mapping[tuple[str, str], Sequence[Picture]],
    limit: int,
    noun_of: Callable[[str], str],
) -> tuple[Query, ...]:
    """Up to ``limit`` queries of both kinds, balanced over what is wanted and where the reference comes from.

    Args:
        cells: (domain, class) -> pictures of the gallery; none of them empty.
        noun_of: folder name -> noun with its article.

    Raises:
        UserError: the pictures give no query.
    """
    own = [category for name, category in cells if name == domain]
    kinds: dict[str, dict[tuple[str, str, str], Sequence[Picture]]] = {
        "class": {(w, domain, c): cells[domain, c] for w in own for c in own if c != w},
        "domain": {(w, d, w): cells[d, w] for w in own for d, c in cells if d != domain and c == w},
    }
    there = {kind: sum(map(len, of_kind.values())) for kind, of_kind in kinds.items()}
    by_domain = min(there["domain"], max(limit // 2, limit - there["class"]))
    count = {"class": limit - by_domain, "domain": by_domain}
    queries = []
    for kind, of_kind in kinds.items():
        for (wanted, _, _), reference in balanced(of_kind, count[kind]):
            name = f"{split}/{reference.key} -> {domain}/{wanted}"
            forms, noun = (CLASS_CHANGE, wanted) if kind == "class" else (DOMAIN_CHANGE, domain)
            text = forms[stable_hash("text", name) % len(forms)].format(noun_of(noun))
            targets = tuple(picture.key for picture in cells[domain, wanted])
            queries.append(Query(name, reference, text, targets, {"change": kind}))
    if not queries:
        raise UserError(
            f"domain '{domain}' has too few pictures in its {split} split: a query needs two of its "
            "classes, or one class in two domains"
        )
    return tuple(queries)


def balanced(cells: Mapping[Cell, Sequence[Picture]], limit: int) -> list[tuple[Cell, Picture]]:
    """Take up to ``limit`` pictures, one of each cell in turn, both in the order of a stable hash."""
    ranked = []
    for cell, pictures in cells.items():
        order = sorted(pictures, key=lambda picture: stable_hash(cell, picture.key))
        ranked += [(rank, stable_hash("cell", cell), cell, picture) for rank, picture in enumerate(order)]
    ranked.sort(key=lambda row: row[:2])
    return [(cell, picture) for _, _, cell, picture in ranked[:limit]]
