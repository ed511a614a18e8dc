"""Training examples that are made when they are asked for: a walk over a stream must not make all."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from typing import Any, TypeVar, overload

from clplat.data.examples import Example
from clplat.data.items import Item, Picture

__all__ = ["Block", "Chosen", "Joined", "LazyExamples", "Taken", "domains_of", "first_place", "places_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Some thousand examples in their order, column by column, or as they are.

    Args:
        examples: an iterator that makes them one by one.
        plain: the columns id, key of the reference, text, key of the target and label as large texts of
            Arrow, lists of negatives (each a key, a label, a kind and a scope) and of weights, either None
            where there are none; of examples that are a picture with a text that leads to a picture, with
            nothing more; None of others.
    """

    examples: Sequence[Example]
    plain: tuple[Any, ...] | None = None


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

    def places(self) -> Iterator[tuple[str, int] | None]:
        """Where each lies, see `places_of`."""
        return map(_place, self)

    @abstractmethod
    def without(self, gone: frozenset[str]) -> LazyExamples:
        """Without what needs one of these pictures; a negative goes alone."""


class Joined(Sequence[Example]):
    """Sequences of examples one behind the other, such as a domain's and a memory's."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self.parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | Sequence[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        place = range(len(self))[place]
        part = bisect_right(self._ends, place)
        return self.parts[part][place - (self._ends[part - 1] if part else 0)]


class Chosen(Sequence[Example]):
    """Some of a sequence of examples, by their places in it."""

    def __init__(self, examples: Sequence[Example], places: Sequence[int]) -> None:
        self.examples, self.places = examples, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | Sequence[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        return self.examples[int(self.places[range(len(self))[place]])]


class Taken(Sequence[T]):
    """Entries of a sequence that are made when they are asked for.

    Example:
        >>> Taken(str, range(10))[::4][1]
        '4'
    """

    def __init__(self, make: Callable[[int], T], places: range) -> None:
        self._make, self._places = make, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return Taken(self._make, self._places[place])
        return self._make(self._places[place])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def domains_of(examples: Sequence[Example]) -> Iterator[str]:
    """The domain of each; no example is made for it."""
    if isinstance(examples, Joined):
        return chain.from_iterable(map(domains_of, examples.parts))
    if isinstance(examples, Chosen):
        every = list(domains_of(examples.examples))
        return (every[place] for place in examples.places)
    if isinstance(examples, LazyExamples):
        return repeat(examples.domain, len(examples))
    return (example.domain for example in examples)


def places_of(examples: Sequence[Example]) -> Iterator[tuple[str, int] | None]:
    """Where each lies in a file of many: its reference, else its target; None where neither does."""
    if isinstance(examples, Joined):
        return chain.from_iterable(map(places_of, examples.parts))
    if isinstance(examples, Chosen):
        every = list(places_of(examples.examples))
        return (every[place] for place in examples.places)
    return examples.places() if isinstance(examples, LazyExamples) else map(_place, examples)


def first_place(pictures: Iterable[Picture | None]) -> tuple[str, int] | None:
    """The place of the first picture that has one."""
    return next((picture.place for picture in pictures if picture is not None and picture.place), None)


def _place(example: Example) -> tuple[str, int] | None:
    return first_place((example.query.picture, example.target.picture))
