"""What every stream must pass before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence, Set
from typing import TypeVar

from clplat.data.lazy import LazyExamples
from clplat.data.records import Domain, Example, Gallery, Query, RetrievalSet
from clplat.errors import UserError

T = TypeVar("T", bound=Hashable)


def validate(retrieval_set: RetrievalSet, where: str = "") -> None:
    """Check one set of queries and its gallery.

    Args:
        retrieval_set: the queries, their gallery and protocol.
        where: named at the start of a message, e.g. ``"domain 'photo', test"``.

    Raises:
        UserError: no queries or an empty gallery; a repeated gallery key, query id, answer or candidate; a
            query of nothing or of an empty text; one without a right answer, or with one that is not in the
            gallery or is excluded; an exclusion or a candidate that is not in the gallery; a main answer that
            is none; answers in a set whose labels are hidden; a metric that needs what a query does not name.
    """
    start = f"{where}: " if where else ""
    gallery = retrieval_set.gallery
    if not retrieval_set.queries:
        raise UserError(f"{start}there are no queries")
    if not gallery.items:
        raise UserError(f"{start}gallery '{gallery.name}' is empty")
    if retrieval_set.labels not in ("known", "hidden"):
        raise UserError(f"{start}unknown labels '{retrieval_set.labels}' (allowed: known, hidden)")
    what = "picture" if all(item.text is None for item in gallery.items) else "item"
    _unique(f"{start}gallery '{gallery.name}' holds {what}", (item.key for item in gallery.items))
    _unique(f"{start}query id", (query.id for query in retrieval_set.queries))
    keys = {item.key for item in gallery.items}
    for query in retrieval_set.queries:
        _check_query(f"{start}query '{query.id}'", query, gallery.name, keys)
        if retrieval_set.labels == "hidden":
            if query.targets or query.main is not None:
                raise UserError(f"{start}query '{query.id}' names a right answer, but the labels are hidden")
        else:
            _check_answers(start, query, retrieval_set, keys)


def validate_domain(domain: Domain) -> None:
    """Check a domain: its training examples, all its retrieval sets, and that they share no pictures.

    A domain may have no training examples: it is evaluated and nothing is learnt from it. Texts, such as
    class prompts, may stand in training data and in a gallery.

    Raises:
        UserError: a repeated example id; an example of another domain or with an empty text; a picture of an
            example or of the reference data in a gallery; no sets; anything that `validate` refuses.
    """
    where = f"domain '{domain.name}'"
    train = domain.train
    if not (isinstance(train, LazyExamples) and train.domain == domain.name and train.sound):
        _unique(f"{where}: {_noun(train)} id", (example.id for example in train))
        for example in train:
            _check_example(where, example, domain.name)
    seen = {item.picture.key for item in domain.reference if item.picture is not None}
    if not isinstance(train, LazyExamples):
        items = (item for example in train for item in example.items)
        seen |= {item.picture.key for item in items if item.picture is not None}
    if not domain.sets:
        raise UserError(f"{where} has no queries: give it val, test or other sets")
    for split, part in domain.sets.items():
        validate(part, f"{where}, {split}")
        _disjoint(f"{where}, {split}", seen, train, part.gallery)


def _check_query(what: str, query: Query, gallery: str, keys: Set[str]) -> None:
    """What every query needs, whether its answers are known or not."""
    if query.reference is None and not query.said:
        raise UserError(f"{what} has neither a reference picture nor a text")
    if any(not text.strip() for text in query.said):
        raise UserError(f"{what} has an empty text; leave it out, or give it by picture alone (text=None)")
    for verb, named in (("excludes", query.exclude), ("has as candidates", query.candidates or ())):
        if absent := [key for key in named if key not in keys]:
            raise UserError(f"{what} {verb} what is not in gallery '{gallery}': {_some(absent)}")
    if query.candidates is not None:
        _unique(f"{what} names the candidate", query.candidates)


def _check_answers(start: str, query: Query, held: RetrievalSet, keys: Set[str]) -> None:
    what, name = f"{start}query '{query.id}'", held.gallery.name
    if keys.isdisjoint(query.targets):
        wanted = _some(query.targets) or "none is named"
        raise UserError(f"{what} has no right answer in gallery '{name}' ({wanted})")
    if absent := [key for key in query.targets if key not in keys]:
        raise UserError(
            f"{start}of the right answers of query '{query.id}' these are not in gallery '{name}': "
            f"{_some(absent)}"
        )
    _unique(f"{what} names the right answer", query.targets)
    own = query.reference.key if held.protocol.exclude_reference and query.reference is not None else None
    if own in query.targets:
        raise UserError(
            f"{what} has its own reference '{own}' as a right answer, which protocol "
            f"'{held.protocol.name}' excludes from the gallery"
        )
    if both := [key for key in query.exclude if key in query.targets]:
        raise UserError(f"{what} excludes its own right answer '{both[0]}'")
    if query.main is not None and query.main not in query.targets:
        raise UserError(f"{what} has the main answer '{query.main}', which is none of its right answers")
    over = {metric.over: metric.name for metric in held.protocol.measured}
    if "main" in over and query.main is None:
        raise UserError(f"{what} names no main answer, which {over['main']} of '{held.protocol.name}' needs")
    if "sub" in over and not set(query.targets) & set(query.candidates or ()):
        raise UserError(
            f"{what} has no right answer among candidates of its own, which {over['sub']} of "
            f"'{held.protocol.name}' needs"
        )


def _check_example(where: str, example: Example, domain: str) -> None:
    what = f"{where}: {_noun([example])} '{example.id}'"
    if example.domain != domain:
        raise UserError(f"{what} says that it is of domain '{example.domain}'")
    if example.query.picture is not None and example.query.text is not None and not example.text.strip():
        raise UserError(f"{what} has no modification text")
    if any(item.text is not None and not item.text.strip() for item in example.items):
        raise UserError(f"{what} has an empty text")


def _noun(examples: Sequence[Example]) -> str:
    """What these examples are called: triplets where each query is a picture with a text."""
    composed = all(e.query.picture is not None and e.query.text is not None for e in examples)
    return "triplet" if composed else "example"


def _disjoint(where: str, seen: set[str], train: Sequence[Example], gallery: Gallery) -> None:
    pictures = [item.picture.key for item in gallery.items if item.picture is not None]
    if isinstance(train, LazyExamples):
        seen = seen | train.shown(pictures)
    if shared := [key for key in pictures if key in seen]:
        raise UserError(
            f"{where}: {len(shared)} of {len(pictures)} gallery pictures are also trained on: {_some(shared)}"
        )


def _unique(what: str, names: Iterable[T]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{what} '{name}' {count} times; once is allowed")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", ... {len(names)} in all" if len(names) > 3 else "")
