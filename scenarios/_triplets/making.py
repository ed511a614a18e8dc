"""Domains of the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from clplat.data.example_table import ExampleTable
from clplat.data.folders import SPLITS
from clplat.data.named_items import NamedItems
from clplat.data.records import Domain, Gallery, Protocol, RetrievalSet
from clplat.errors import UserError

from .building import queries_of, training
from .galleries import OwnGallery, named_gallery
from .hidden import is_hidden
from .splitting import shown_names

__all__ = ["Maker"]

Labels: TypeAlias = Literal["known", "hidden"]


class Maker:
    """Makes the domains of a table.

    Args:
        items: what names stand for.
        protocol: of all sets.
        where: the table, for messages.
        own: the gallery that was given.
        shared: without one, all domains share a gallery of all that they refer to.
        joined: the texts of a row are one.
        limit: the most queries per domain and split.
    """

    def __init__(
        self,
        items: NamedItems,
        protocol: Protocol,
        where: str,
        own: OwnGallery | None,
        shared: bool,
        joined: bool,
        limit: int | None,
    ) -> None:
        self.items, self.protocol, self.where, self.own = items, protocol, where, own
        self.shared, self.joined, self.limit = shared, joined, limit
        #: Items of the given gallery that are left out, since they are trained on.
        self.trained_on = 0
        self._galleries: dict[tuple[str, ...], Gallery] = {}

    def domains(self, parts: dict[tuple[str, str], Any], stream: list[str]) -> list[Domain]:
        """The domains in stream order."""
        tables = {
            name: training(name, parts[name, "train"], self.items, self.joined)
            for name in stream
            if (name, "train") in parts
        }
        seen = self._trained(tables.values())
        found = []
        for name in stream:
            sets = {}
            for split in SPLITS[1:]:
                if (name, split) in parts:
                    asked = queries_of(parts[name, split], self.items, self.joined, self.limit)
                    gallery = self._gallery(name, split, parts, stream, seen)
                    labels: Labels = "hidden" if is_hidden(parts[name, split]) else "known"
                    sets[split] = RetrievalSet(asked, gallery, self.protocol, labels)
            if not sets:
                raise UserError(
                    f"domain '{name}' of {self.where} has no rows for val or test: it has too few rows, "
                    "or its column of splits says train alone"
                )
            found.append(Domain(name, tables.get(name, ()), sets=sets))
        return found

    def _trained(self, tables: Iterable[ExampleTable]) -> set[str]:
        """Keys of the pictures of an own gallery that are trained on."""
        if self.own is None:
            return set()
        keys = {self.items.prefix + shown for shown, _ in self.own.held.values() if shown is not None}
        return {key for table in tables for key in table.shown(keys)}

    def _gallery(
        self, domain: str, split: str, parts: dict[tuple[str, str], Any], stream: list[str], seen: set[str]
    ) -> Gallery:
        if self.own is not None:
            names = self.own.names(domain, split)
            shown = [self.own.held[name][0] for name in names]
            left = [
                n for n, p in zip(names, shown, strict=True) if p is None or self.items.prefix + p not in seen
            ]
            self.trained_on = max(self.trained_on, len(names) - len(left))
            place, names = (domain,) if self.own.domain else (), left
        else:
            place = (domain,) if not self.shared else ()
            named = [shown_names(parts[d, split])[0] for d in place or stream if (d, split) in parts]
            names = sorted({name for some in named for name in some.to_pylist()})
        if (*place, split) not in self._galleries:
            title = "/".join((self.items.pictures.source, *place, split))
            self._galleries[(*place, split)] = named_gallery(title, names, self.items)
        return self._galleries[(*place, split)]
