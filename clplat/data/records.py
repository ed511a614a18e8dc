"""The records of a stream: domains and probes, beside items, examples, queries and galleries.

Two rules let fingerprints and checks walk the fields of any record, so that a new field is never forgotten: a
field at its default adds nothing to a fingerprint, and words that a text tower reads stand in fields called
``text`` or ``texts``, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clplat.data.examples import Candidate, Example, Pair, Triplet
from clplat.data.items import Item, Picture
from clplat.data.lazy import LazyExamples
from clplat.data.protocol import Metric, Protocol
from clplat.data.queries import Gallery, Query, RetrievalSet

__all__ = [
    "Candidate",
    "Domain",
    "Example",
    "Gallery",
    "Item",
    "Metric",
    "Pair",
    "Picture",
    "Protocol",
    "Query",
    "RetrievalSet",
    "Triplet",
]


@dataclass(frozen=True, init=False)
class Domain:
    """One step of the stream: training examples, and queries with their gallery for validation and test.

    Further sets are other protocols on the same data, such as another gallery or another way to join
    captions. ``test/<name>`` is measured beside ``test``, ``val/<name>`` beside ``val``, any other name
    beside both. A set whose labels are hidden is ranked whatever is measured.

    Args:
        name: unique in its stream.
        train: what is learnt from; empty for a domain that is only evaluated.
        val: queries for choosing settings, the same as ``sets["val"]``.
        test: queries for what is reported, the same as ``sets["test"]``.
        reference: items beside the stream that a strategy may look at, such as unpaired pictures and texts.
        sets: all sets by name; ``val`` and ``test`` where the data have them.

    Example:
        >>> asked = RetrievalSet((), Gallery("g"), Protocol("p"))
        >>> list(Domain("dress", sets={"test/union": asked, "val": asked, "test": asked}).sets)
        ['val', 'test', 'test/union']
    """

    name: str
    train: Sequence[Example] = ()
    sets: Mapping[str, RetrievalSet] = field(default_factory=dict)
    reference: Sequence[Item] = ()

    def __init__(
        self,
        name: str,
        train: Sequence[Example] = (),
        val: RetrievalSet | None = None,
        test: RetrievalSet | None = None,
        reference: Sequence[Item] = (),
        *,
        sets: Mapping[str, RetrievalSet] | None = None,
    ) -> None:
        both = {key: value for key, value in (("val", val), ("test", test)) if value is not None}
        held = dict(sets or {}) | both
        ordered = {key: held.pop(key) for key in ("val", "test") if key in held}
        for what, value in (("name", name), ("train", train), ("reference", reference)):
            object.__setattr__(self, what, value)
        object.__setattr__(self, "sets", ordered | held)

    @property
    def val(self) -> RetrievalSet:
        """The queries for choosing settings.

        Raises:
            ValueError: the domain has none.
        """
        return self._set("val")

    @property
    def test(self) -> RetrievalSet:
        """The queries for what is reported.

        Raises:
            ValueError: the domain has none.
        """
        return self._set("test")

    def beside(self, split: str) -> dict[str, RetrievalSet]:
        """The further sets that are looked at where ``split`` is measured."""
        other = [key for key in ("val", "test") if key != split]
        return {
            key: held
            for key, held in self.sets.items()
            if key != split
            and (held.labels == "hidden" or not any(key == o or key.startswith(f"{o}/") for o in other))
        }

    def _set(self, key: str) -> RetrievalSet:
        if key not in self.sets:
            raise ValueError(
                f"domain '{self.name}' has no set '{key}' (it has: {', '.join(self.sets) or 'none'})"
            )
        return self.sets[key]

    @property
    def anchors(self) -> Sequence[Picture]:
        """The distinct training pictures of queries and targets, in order of first use."""
        if isinstance(self.train, LazyExamples):
            return self.train.anchors
        shown = (item.picture for example in self.train for item in (example.query, example.target))
        return list({picture.key: picture for picture in shown if picture is not None}.values())
