"""The records of a stream: queries, galleries and domains, beside items and examples.

Two rules let fingerprints and checks walk the fields of any record, so that a new field is never forgotten: a
field at its default adds nothing to a fingerprint, and words that a text tower reads stand in fields called
``text`` or ``texts``, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from clplat.data.examples import Candidate, Example, Pair, Triplet
from clplat.data.items import Item, Picture, as_item

__all__ = [
    "Candidate",
    "Domain",
    "Example",
    "Gallery",
    "Item",
    "Pair",
    "Picture",
    "Protocol",
    "Query",
    "RetrievalSet",
    "Triplet",
]


@dataclass(frozen=True)
class Query:
    """An evaluation query. ``targets`` are the keys of all right answers in the gallery.

    ``tags`` split the results, e.g. ``{"combination": "unseen"}``.
    """

    id: str
    reference: Picture
    text: str
    targets: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


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
class Protocol:
    """How a number was made: named, logged and hashed with every result.

    Args:
        name: e.g. ``"catalogue/near-miss"``.
        exclude_reference: the query's own reference picture is no candidate.
        ks: the cut-offs of R@K and mAP@K.
        primary: the metric that comparisons and R heat maps show, e.g. ``"R@5"`` or ``"mAP@10"``.
    """

    name: str
    exclude_reference: bool = True
    ks: tuple[int, ...] = (1, 5, 10)
    primary: str = "R@5"


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and the gallery that they are ranked against, under a protocol."""

    queries: tuple[Query, ...]
    gallery: Gallery
    protocol: Protocol


@dataclass(frozen=True)
class Domain:
    """One step of the stream: training examples, and queries with their gallery for validation and test.

    ``anchors`` are training pictures on which projections between model versions may be fitted.

    Args:
        name: unique in its stream.
        train: what is learnt from; empty for a domain that is only evaluated.
        val: queries for choosing settings.
        test: queries for what is reported.
        reference: items beside the stream that a strategy may look at, such as unpaired pictures and texts.
    """

    name: str
    train: Sequence[Example]
    val: RetrievalSet
    test: RetrievalSet
    reference: Sequence[Item] = ()

    @property
    def anchors(self) -> list[Picture]:
        """The distinct training pictures of queries and targets, in order of first use."""
        shown = (item.picture for example in self.train for item in (example.query, example.target))
        return list({picture.key: picture for picture in shown if picture is not None}.values())
