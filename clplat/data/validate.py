"""What every stream must pass before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from clplat.data.records import Domain, Example, Gallery, RetrievalSet
from clplat.errors import UserError

T = TypeVar("T", bound=Hashable)


def validate(retrieval_set: RetrievalSet, where: str = "") -> None:
    """Check one set of queries and its gallery.

    Args:
        retrieval_set: the queries, their gallery and protocol.
        where: named at the start of a message, e.g. ``"domain 'photo', test"``.

    Raises:
        UserError: no queries or an empty gallery; a repeated gallery key, query id or answer; a query without
            a right answer, or with one that is not in the gallery; a query whose excluded reference is one of
            its right answers.
    """
    start = f"{where}: " if where else ""
    gallery = retrieval_set.gallery
    if not retrieval_set.queries:
        raise UserError(f"{start}there are no queries")
    if not gallery.items:
        raise UserError(f"{start}gallery '{gallery.name}' is empty")
    what = "picture" if all(item.text is None for item in gallery.items) else "item"
    _unique(f"{start}gallery '{gallery.name}' holds {what}", (item.key for item in gallery.items))
    _unique(f"{start}query id", (query.id for query in retrieval_set.queries))
    keys = {item.key for item in gallery.items}
    for query in retrieval_set.queries:
        if keys.isdisjoint(query.targets):
            wanted = _some(query.targets) or "none is named"
            raise UserError(
                f"{start}query '{query.id}' has no right answer in gallery '{gallery.name}' ({wanted})"
            )
        if absent := [key for key in query.targets if key not in keys]:
            raise UserError(
                f"{start}of the right answers of query '{query.id}' these are not in gallery "
                f"'{gallery.name}': {_some(absent)}"
            )
        _unique(f"{start}query '{query.id}' names the right answer", query.targets)
        if retrieval_set.protocol.exclude_reference and query.reference.key in query.targets:
            raise UserError(
                f"{start}query '{query.id}' has its own reference '{query.reference.key}' as a right answer, "
                f"which protocol '{retrieval_set.protocol.name}' excludes from the gallery"
            )


def validate_domain(domain: Domain) -> None:
    """Check a domain: its training examples, both retrieval sets, and that they share no pictures.

    A domain may have no training examples: it is evaluated and nothing is learnt from it. Texts, such as
    class prompts, may stand in training data and in a gallery.

    Raises:
        UserError: a repeated example id; an example of another domain or with an empty text; a picture of an
            example or of the reference data in the gallery of val or test; anything that `validate` refuses.
    """
    where = f"domain '{domain.name}'"
    _unique(f"{where}: {_noun(domain.train)} id", (example.id for example in domain.train))
    for example in domain.train:
        _check_example(where, example, domain.name)
    items = [item for example in domain.train for item in example.items] + list(domain.reference)
    seen = {item.picture.key for item in items if item.picture is not None}
    for split, part in (("val", domain.val), ("test", domain.test)):
        validate(part, f"{where}, {split}")
        _disjoint(f"{where}, {split}", seen, part.gallery)


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


def _disjoint(where: str, seen: set[str], gallery: Gallery) -> None:
    pictures = [item.picture.key for item in gallery.items if item.picture is not None]
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
