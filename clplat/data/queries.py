"""Queries, the galleries that they are ranked against, and both under a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from clplat.data.items import Item, Picture, as_item
from clplat.data.protocol import Protocol

__all__ = ["Gallery", "Query", "RetrievalSet"]


@dataclass(frozen=True)
class Query:
    """An evaluation query: a reference picture with a text, or one of the two alone.

    Args:
        id: unique in its set.
        reference: the picture that is changed; None for a query of words.
        text: the change in words; None for a query by picture.
        targets: the keys of all right answers in the gallery; none where the labels are hidden.
        tags: split the results, e.g. ``{"combination": "unseen"}``.
        texts: further texts that say the same: each is embedded, and the unit rows are averaged.
        main: of several right answers the one that the query was made from, for ``R_main@K``.
        exclude: keys of the gallery that are no candidates for this query, beside its reference.
        candidates: keys of its own set of candidates, for ``R_sub@K``.
        extra: what else is known of it, plain data by name.

    Example:
        >>> Query("0", None, "a red shoe", ("7",), texts=("a shoe in red",)).said
        ('a red shoe', 'a shoe in red')
    """

    id: str
    reference: Picture | None
    text: str | None
    targets: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    main: str | None = None
    exclude: tuple[str, ...] = ()
    candidates: tuple[str, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> tuple[str, ...]:
        """All its texts."""
        return (*([self.text] if self.text is not None else []), *self.texts)

    @property
    def items(self) -> tuple[Item, ...]:
        """What is embedded of it: an item for each of its texts, or its picture alone.

        Raises:
            ValueError: it has neither.
        """
        if not self.said:
            return (Item(self.id, self.reference),)
        return tuple(Item(self.id, self.reference, text) for text in self.said)


@dataclass(frozen=True, init=False)
class Gallery:
    """The items that queries are ranked against. Galleries of equal name hold the same items.

    Args:
        name: names it in results and on disk.
        items: pictures, texts or items; a picture or a text stands for the item that holds nothing else.
        pictures: the same for pictures only, in place of ``items``.

    Example:
        >>> Gallery("prompts", ["a photo of a dog", Item("cat", text="a photo of a cat")]).items[1].key
        'cat'
    """

    name: str
    items: tuple[Item, ...]

    def __init__(
        self,
        name: str,
        items: Sequence[Item | Picture | str] = (),
        *,
        pictures: Sequence[Picture] | None = None,
    ) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "items", tuple(map(as_item, items if pictures is None else pictures)))

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, where every item is one.

        Raises:
            ValueError: an item has a text, or no picture.
        """
        other = next((item for item in self.items if item.picture is None or item.text is not None), None)
        if other is not None:
            raise ValueError(f"gallery '{self.name}' holds more than pictures: item '{other.key}' has a text")
        return tuple(item.picture for item in self.items if item.picture is not None)


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and the gallery that they are ranked against, under a protocol.

    ``labels="hidden"`` says that the right answers are not known here, as of a test set that a server scores:
    the queries are ranked and what is found is kept, and nothing is measured.
    """

    queries: tuple[Query, ...]
    gallery: Gallery
    protocol: Protocol
    labels: Literal["known", "hidden"] = "known"
