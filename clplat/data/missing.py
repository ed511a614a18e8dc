"""Pictures that a benchmark names and that are not there: refused, or left out and declared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from clplat.data.lazy import LazyExamples
from clplat.data.records import Domain, Example, Gallery, Item, Query, RetrievalSet
from clplat.errors import UserError, unknown_name

__all__ = ["Absent", "MissingPictures", "without_missing", "without_pictures"]

#: The values of a scenario's option ``missing``. What is kept cannot be read: it is for looking at a stream.
MissingPictures = Literal["refuse", "declare", "keep"]


@dataclass(frozen=True)
class Absent:
    """What was left out of a stream: pictures by key, and how much of each set went with them.

    Args:
        pictures: keys that are not there.
        of: distinct pictures that the stream names.
        lost: ``"<domain>/train"`` and ``"<domain>/<set>"`` -> what was left out: ``triplets``, ``queries``,
            ``gallery``, ``answers`` (a query keeps its other right answers).
    """

    pictures: tuple[str, ...] = ()
    of: int = 0
    lost: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def report(self) -> dict[str, Any]:
        """Plain values for a log and for the result."""
        return {
            "pictures": len(self.pictures),
            "of": self.of,
            "first": list(self.pictures[:20]),
            "lost": self.lost,
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know, in a line, or nothing."""
        return [self._said()] if self.pictures else []

    def _said(self) -> str:
        first = ", ".join(self.pictures[:3]) + (", ..." if len(self.pictures) > 3 else "")
        went: dict[str, int] = {}
        for counts in self.lost.values():
            for what, count in counts.items():
                went[what] = went.get(what, 0) + count
        lost = ", ".join(f"{count} {_NOUNS[what]}" for what, count in went.items())
        return (
            f"{len(self.pictures)} of {self.of} pictures are missing: {first}; left out: {lost or 'nothing'}"
        )


_NOUNS = {
    "triplets": "training triplets",
    "queries": "queries",
    "answers": "right answers",
    "gallery": "gallery entries",
}


def without_missing(
    domains: Sequence[Domain], absent: Collection[str], policy: MissingPictures, scenario: str
) -> tuple[list[Domain], Absent]:
    """Take what needs a missing picture out of a stream, or refuse the stream.

    A training example goes with its query or its target; a negative goes alone. A query goes with its
    reference, or with the last of its right answers; a gallery loses its entry.

    Args:
        domains: as the benchmark names them; pictures that are not there included.
        absent: keys of pictures that are not there.
        policy: ``"refuse"`` raises where there are any, ``"declare"`` leaves them out and says so, ``"keep"``
            changes nothing, as ``clplat data check`` wants it: reading one is then an error.
        scenario: its name, for messages.

    Returns:
        The domains without them, and what was left out: for the scenario's ``report`` and ``remarks``.

    Raises:
        UserError: pictures are missing and are refused; or nothing is left of a set.
    """
    if policy not in get_args(MissingPictures):
        raise unknown_name("value of missing", policy, get_args(MissingPictures))
    if policy == "keep":
        return list(domains), Absent()
    gone = frozenset(absent)
    named = {key for domain in domains for key in _keys(domain)} if gone else set()
    if not gone & named:
        return list(domains), Absent()
    lost: dict[str, dict[str, int]] = {}
    galleries: dict[int, Gallery] = {}
    left = [_domain(domain, gone, lost, galleries, scenario) for domain in domains]
    found = Absent(tuple(sorted(gone & named)), len(named), lost)
    if policy == "refuse":
        raise UserError(
            f"scenario {scenario}: {found.remarks[0].replace('left out', 'they take with them')}; put them "
            "there, or measure without them and say so: --scenario.missing declare"
        )
    return left, found


def without_pictures(
    domains: Sequence[Domain], gone: Collection[str]
) -> tuple[list[Domain], dict[str, dict[str, int]]]:
    """The same for any pictures, by key; sets may end up without queries.

    Returns:
        The domains without them, and what was left out, as `Absent.lost`.
    """
    lost: dict[str, dict[str, int]] = {}
    galleries: dict[int, Gallery] = {}
    return [_domain(domain, frozenset(gone), lost, galleries) for domain in domains], lost


def _keys(domain: Domain) -> Iterable[str]:
    if isinstance(domain.train, LazyExamples):
        yield from domain.train.shown()
    else:
        yield from (key for example in domain.train for key in _pictures(example.items))
    yield from _pictures(domain.reference)
    for held in domain.sets.values():
        yield from _pictures(held.gallery.items)
        yield from (q.reference.key for q in held.queries if q.reference is not None)


def _pictures(items: Iterable[Item]) -> Iterable[str]:
    return (item.picture.key for item in items if item.picture is not None)


def _there(item: Item, gone: Collection[str]) -> bool:
    return item.picture is None or item.picture.key not in gone


def _domain(
    domain: Domain,
    gone: frozenset[str],
    lost: dict[str, Any],
    galleries: dict[int, Gallery],
    scenario: str = "",
) -> Domain:
    train = _examples(domain.train, gone)
    _count(lost, f"{domain.name}/train", triplets=len(domain.train) - len(train))
    sets = {}
    for name, held in domain.sets.items():
        gallery = galleries.get(id(held.gallery))
        if gallery is None:  # sets that share a gallery go on sharing it
            kept = [item for item in held.gallery.items if _there(item, gone)]
            whole = len(kept) == len(held.gallery.items)
            gallery = held.gallery if whole else Gallery(held.gallery.name, kept)
            galleries[id(held.gallery)] = gallery
        out = frozenset(i.key for i in held.gallery.items if not _there(i, gone))
        pairs = [(query, _query(query, held, out, gone)) for query in held.queries]
        queries = [left for _, left in pairs if left is not None]
        if not queries and scenario:
            raise UserError(
                f"scenario {scenario}: no query is left in {domain.name}/{name} without missing pictures"
            )
        _count(
            lost,
            f"{domain.name}/{name}",
            queries=len(held.queries) - len(queries),
            answers=sum(len(q.targets) - len(left.targets) for q, left in pairs if left is not None),
            gallery=len(held.gallery.items) - len(gallery.items),
        )
        sets[name] = replace(held, queries=tuple(queries), gallery=gallery)
    reference = [item for item in domain.reference if _there(item, gone)]
    return Domain(domain.name, train, reference=reference, sets=sets)


def _examples(train: Sequence[Example], gone: frozenset[str]) -> Sequence[Example]:
    if isinstance(train, LazyExamples):
        return train.without(gone)
    return [left for example in train if (left := _example(example, gone)) is not None]


def _example(example: Example, gone: frozenset[str]) -> Example | None:
    if not (_there(example.query, gone) and _there(example.target, gone)):
        return None
    negatives = tuple(candidate for candidate in example.negatives if _there(candidate.item, gone))
    return example if len(negatives) == len(example.negatives) else replace(example, negatives=negatives)


def _query(query: Query, held: RetrievalSet, out: frozenset[str], gone: frozenset[str]) -> Query | None:
    if query.reference is not None and query.reference.key in gone:
        return None
    targets = tuple(key for key in query.targets if key not in out)
    if held.labels == "known" and (not targets or (query.main is not None and query.main in out)):
        return None
    candidates = query.candidates and tuple(key for key in query.candidates if key not in out)
    answered = held.labels == "known" and not set(query.targets).isdisjoint(query.candidates or ())
    if answered and set(targets).isdisjoint(candidates or ()):
        return None  # nothing among its own candidates answers it any more
    exclude = tuple(key for key in query.exclude if key not in out)
    if (targets, candidates, exclude) == (query.targets, query.candidates, query.exclude):
        return query
    return replace(query, targets=targets, candidates=candidates, exclude=exclude)


def _count(lost: dict[str, Any], where: str, **counts: int) -> None:
    if some := {what: count for what, count in counts.items() if count}:
        lost[where] = some
