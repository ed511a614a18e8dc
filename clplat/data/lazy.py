"""Training examples that are made when they are asked for: a walk over a stream must not make all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from clplat.data.examples import Example
from clplat.data.items import Item, Picture

__all__ = ["Block", "LazyExamples", "domains_of"]


@dataclass(frozen=True)
class Block:
    """Some thousand examples in their order, column by column, or as they are.

    Args:
        examples: an iterator that makes them one by one.
        plain: the columns id, key of the reference, text, key of the target, label, negatives (each a key, a
            label, a kind and a scope) and weight, where each is a picture with a text that leads to a
            picture, and where there is nothing more; None otherwise.
    """

    examples: Sequence[Example]
    plain: tuple[Sequence[Any], ...] | None = None


class LazyExamples(Sequence[Example]):
    """A domain's training examples as columns.

    It is a sequence like any other; whoever walks over all of it asks for columns. What the walks find equals
    what they find in the tuple of the same examples.
    """

    #: Name of the domain that all of them are of.
    domain: str

    @property
    @abstractmethod
    def sound(self) -> bool:
        """Whether `clplat.data.validate` has nothing against them: ids are unique, no text is empty."""

    @property
    @abstractmethod
    def anchors(self) -> Sequence[Picture]:
        """The distinct pictures of queries and targets, in order of first use."""

    @property
    @abstractmethod
    def asked(self) -> Sequence[Item]:
        """The queries that are a picture with a text."""

    @property
    @abstractmethod
    def said(self) -> Sequence[str]:
        """The distinct texts of queries and targets, in order of first use."""

    @abstractmethod
    def labels(self, keys: Collection[str]) -> Mapping[str, str]:
        """The labels of targets by the keys of their pictures; of several the last."""

    @abstractmethod
    def shown(self, keys: Collection[str] | None = None) -> set[str]:
        """Keys of the pictures that they show, negatives included; those of these keys."""

    @abstractmethod
    def words(self) -> Iterator[str]:
        """All their texts; equal ones come once or several times."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """All of them, in their order."""

    @abstractmethod
    def without(self, gone: frozenset[str]) -> LazyExamples:
        """Without what needs one of these pictures; a negative goes alone."""


def domains_of(examples: Sequence[Example]) -> Iterator[str]:
    """The domain of each; no example is made for it."""
    if isinstance(examples, LazyExamples):
        return repeat(examples.domain, len(examples))
    return (example.domain for example in examples)
