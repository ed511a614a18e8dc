"""Training examples: a query item, the target item that answers it, and typed negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from clplat.data.items import Item, Picture, as_item

__all__ = ["Candidate", "Example", "Pair", "Triplet"]

T = TypeVar("T")


@dataclass(frozen=True, init=False)
class Candidate:
    """A further candidate of an example beside its target: a typed hard negative or one more positive.

    Args:
        item: a picture, a text, or an `Item`.
        label: what it shows; a candidate whose label equals a query's label answers that query.
        kind: type of the negative, e.g. ``"near_miss"`` or ``"swapped_words"``; logged and selectable.
        scope: ``"batch"`` lets every query of the batch see it, ``"anchor"`` only its own example's.

    Example:
        >>> Candidate("a blue bag with a red cat", label="", kind="swapped_words").item.text
        'a blue bag with a red cat'
    """

    item: Item
    label: str
    kind: str = "near_miss"
    scope: Literal["batch", "anchor"] = "batch"

    def __init__(
        self,
        item: Item | Picture | str,
        label: str,
        kind: str = "near_miss",
        scope: Literal["batch", "anchor"] = "batch",
    ) -> None:
        for name, value in (("item", as_item(item)), ("label", label), ("kind", kind), ("scope", scope)):
            object.__setattr__(self, name, value)

    @property
    def picture(self) -> Picture:
        """Its picture.

        Raises:
            ValueError: it has none.
        """
        return _there(self.item.picture, f"candidate '{self.item.key}' has no picture")


@dataclass(frozen=True)
class Example:
    """A training example; `Triplet` and `Pair` make the two usual ones.

    Args:
        id: unique in its domain; named when a loss is not finite.
        query: what asks: a picture, a text, or both.
        target: what answers.
        label: what the answer must show. Targets with equal labels answer each other's queries, so that a
            batch never takes a right answer for a negative.
        negatives: further candidates, pictures or texts (typed negatives, more positives).
        groups: what it belongs to, by the name of the grouping, such as ``{"person": "17"}``.
        extra: what was computed of it beforehand, plain data by name, such as a caption by another model.
        weight: of this example in the loss.

    Example:
        >>> Example("0", Item.of(text="a dog"), Item.of(text="ein Hund"), label="dog", domain="german").text
        'a dog'
    """

    id: str
    query: Item
    target: Item
    label: str
    domain: str
    negatives: tuple[Candidate, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0

    @property
    def reference(self) -> Picture:
        """The query's picture.

        Raises:
            ValueError: it has none.
        """
        return _there(self.query.picture, f"the query of example '{self.id}' has no picture")

    @property
    def text(self) -> str:
        """The query's text.

        Raises:
            ValueError: it has none.
        """
        return _there(self.query.text, f"the query of example '{self.id}' has no text")

    @property
    def extras(self) -> tuple[Candidate, ...]:
        """The same as ``negatives``."""
        return self.negatives

    @property
    def items(self) -> tuple[Item, ...]:
        """All that is embedded of it: the query, the target, then the negatives."""
        return (self.query, self.target, *(negative.item for negative in self.negatives))


def Triplet(
    id: str,
    reference: Picture,
    text: str,
    target: Picture | Item,
    label: str,
    domain: str,
    extras: Sequence[Candidate] = (),
    weight: float = 1.0,
    *,
    groups: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Example:
    """The example of composed retrieval: reference picture + modification text -> target picture.

    Args:
        id: see `Example` for this and what follows.
        reference: the picture that is changed.
        text: the change, in words.
        target: the picture that the change leads to.
        label: what the target shows.
        domain: name of its domain.
        extras: further candidates.
        weight: of this example in the loss.
        groups: what it belongs to.
        extra: what was computed of it beforehand.

    Example:
        >>> shoe, boot = (Picture(key, lambda: Image.new("RGB", (8, 8))) for key in ("shoe", "boot"))
        >>> Triplet("0", shoe, "make it a boot", boot, label="boot", domain="shoes").target.key
        'boot'
    """
    query, more = Item.of(reference, text), (dict(groups or {}), dict(extra or {}))
    return Example(id, query, as_item(target), label, domain, tuple(extras), *more, weight)


def Pair(
    id: str,
    query: Picture | str | Item,
    target: Picture | str | Item,
    domain: str,
    label: str | None = None,
    negatives: Sequence[Candidate] = (),
    weight: float = 1.0,
    *,
    groups: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Example:
    """An example without composition: a picture and its caption, a caption and its picture, two texts.

    Args:
        id: see `Example` for this and what follows.
        query: a picture, a text, or an `Item`.
        target: what answers it.
        domain: name of its domain.
        label: what the target shows; by default its text or its picture's key, so that equal captions answer
            each other's pictures.
        negatives: further candidates, such as texts with swapped words.
        weight: of this example in the loss.
        groups: what it belongs to.
        extra: what was computed of it beforehand.

    Example:
        >>> shoe = Picture("shoe", lambda: Image.new("RGB", (8, 8)))
        >>> Pair("0", shoe, "a red shoe", domain="shoes").label
        'a red shoe'
    """
    asks, answers, more = as_item(query), as_item(target), (dict(groups or {}), dict(extra or {}))
    label = answers.key if label is None else label
    return Example(id, asks, answers, label, domain, tuple(negatives), *more, weight)


def _there(held: T | None, otherwise: str) -> T:
    if held is None:
        raise ValueError(otherwise)
    return held
