"""Every mistake that would make a number wrong is refused in one line that names its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image

from clplat.data.fingerprint import queries_fingerprint, stream_fingerprint
from clplat.data.items import as_item
from clplat.data.records import (
    Candidate,
    Domain,
    Gallery,
    Item,
    Pair,
    Picture,
    Protocol,
    Query,
    RetrievalSet,
    Triplet,
)
from clplat.data.validate import validate, validate_domain
from clplat.data.walk import words
from clplat.errors import UserError
from clplat.parts import ClassificationProbe
from clplat.testing import tiny_domains
from scenarios import Catalogue


def picture(key: str) -> Picture:
    return Picture(key, lambda: Image.new("RGB", (4, 4)))


def good_set(split: str = "test") -> RetrievalSet:
    gallery = Gallery("g", tuple(picture(f"{split}{i}") for i in range(4)))
    answers = [tuple(f"{split}{i + step}" for step in (1, 2)) for i in range(2)]
    queries = tuple(Query(f"q{i}", gallery.pictures[i], "make it red", answers[i]) for i in range(2))
    return RetrievalSet(queries, gallery, Protocol("p"))


def good_domain() -> Domain:
    shown = [picture(f"train{i}") for i in range(4)]
    train = [Triplet(f"t{i}", shown[i], "red", shown[i + 1], "red", "d") for i in range(3)]
    return Domain("d", train, good_set("val"), good_set("test"))


def test_what_is_right_passes() -> None:
    validate(good_set())
    validate_domain(good_domain())


def query(part: RetrievalSet, **changes: Any) -> RetrievalSet:
    return replace(part, queries=(part.queries[0], replace(part.queries[1], **changes)))


def gallery(part: RetrievalSet, *keys: str) -> RetrievalSet:
    return replace(part, gallery=Gallery("g", tuple(picture(key) for key in keys)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda part: replace(part, queries=()), "here: there are no queries"),
        (lambda part: gallery(part), "here: gallery 'g' is empty"),
        (
            lambda part: gallery(part, "test1", "test2", "test1"),
            "here: gallery 'g' holds picture 'test1' 2 times",
        ),
        (lambda part: query(part, id="q0"), "here: query id 'q0' 2 times"),
        (
            lambda part: query(part, targets=("lost", "gone")),
            r"here: query 'q1' has no right answer in gallery 'g' \(lost, gone\)",
        ),
        (
            lambda part: query(part, targets=()),
            r"query 'q1' has no right answer in gallery 'g' \(none is named\)",
        ),
        (lambda part: query(part, targets=tuple("abcde")), r"\(a, b, c, \.\.\. 5 in all\)"),
        (lambda part: query(part, targets=("test2", "lost")), "'q1' these are not in gallery 'g': lost"),
        (
            lambda part: query(part, targets=("test2", "test2")),
            "query 'q1' names the right answer 'test2' 2 times",
        ),
        (lambda part: query(part, targets=("test1", "test2")), "query 'q1' has its own reference 'test1'"),
    ],
)
def test_a_wrong_set_is_refused(spoil: Callable[[RetrievalSet], RetrievalSet], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(spoil(good_set()), "here")
    assert "\n" not in str(error.value)


def test_the_reference_may_be_an_answer_where_it_is_not_excluded() -> None:
    part = query(good_set(), targets=("test1", "test2"))
    validate(replace(part, protocol=Protocol("p", exclude_reference=False)))


def triplet(stream: Domain, /, **changes: Any) -> Domain:
    return replace(stream, train=[*stream.train[:2], replace(stream.train[2], **changes)])


def said(stream: Domain, text: str) -> Domain:
    return triplet(stream, query=Item.of(stream.train[2].reference, text))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: triplet(d, id="t1"), "domain 'd': triplet id 't1' 2 times"),
        (lambda d: triplet(d, domain="e"), "domain 'd': triplet 't2' says that it is of domain 'e'"),
        (lambda d: said(d, " "), "domain 'd': triplet 't2' has no modification text"),
        (
            lambda d: triplet(d, target=as_item(picture("test0"))),
            "domain 'd', test: 1 of 4 gallery pictures .* on: test0",
        ),
        (
            lambda d: triplet(d, negatives=(Candidate(picture("val3"), "blue"),)),
            "domain 'd', val: 1 of 4 .*: val3",
        ),
        (lambda d: replace(d, val=replace(d.val, queries=())), "domain 'd', val: there are no queries"),
    ],
)
def test_a_wrong_domain_is_refused(spoil: Callable[[Domain], Domain], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate_domain(spoil(good_domain()))


def test_the_fingerprint_sees_every_change() -> None:
    domain = good_domain()
    probe = ClassificationProbe("general", (picture("x"),), ("a cat", "a dog"), (0,))
    streams = [
        ([domain], []),
        ([domain], [probe]),
        ([domain], [replace(probe, labels=(1,))]),
        ([domain, replace(domain, name="e")], []),
        ([replace(domain, name="e"), domain], []),
        ([said(domain, "blue")], []),
        ([triplet(domain, weight=0.5)], []),
        ([triplet(domain, negatives=(Candidate(picture("y"), "blue"),))], []),
        ([replace(domain, test=query(domain.test, targets=("test2",)))], []),
        ([replace(domain, test=query(domain.test, tags={"change": "class"}))], []),
        ([replace(domain, test=replace(domain.test, protocol=Protocol("p", exclude_reference=False)))], []),
    ]
    assert len({stream_fingerprint(*stream) for stream in streams}) == len(streams)
    assert stream_fingerprint([good_domain()]) == stream_fingerprint([good_domain()])


def test_streams_of_release_0_1_0_keep_their_fingerprints() -> None:
    domains = tiny_domains()
    assert stream_fingerprint(domains) == "e804b872fdea4d97d31d366b7ad6db406c12f3d5b3c7484bd3b5fd7401450318"
    queries = "1d5d3c0157f520711ef9bbce9ee14fcde78dd2965512bc1e3272bd9b1f6d30cf"
    assert queries_fingerprint(domains, "test") == queries
    with_negatives = Catalogue(domains=2, train=6, queries=4, gallery=20, negatives=2)
    known = "49cacd6d4f8c4538c3ca104c8c337067c838df336c3d6d38a2ea3e1d92f8acc5"
    assert with_negatives.fingerprint() == known


@pytest.mark.parametrize(
    "change",
    [
        {"groups": {"person": "1"}},
        {"extra": {"caption": "red"}},
        {"target": Item.of(text="red")},
        {"target": Item("other", picture("train3"))},
        {"target": Item.of(picture("train3"), "red")},
        {"query": Item.of(picture("train2"))},
        {"query": Item.of(text="red")},
        {"query": Item("other", picture("train2"), "red")},
        {"negatives": (Candidate("blue", "blue"),)},
        {"negatives": (Candidate("green", "blue"),)},
    ],
    ids=str,
)
def test_no_field_of_an_example_is_forgotten(change: dict[str, Any]) -> None:
    plain, changed = good_domain(), triplet(good_domain(), **change)
    validate_domain(changed)
    assert stream_fingerprint([plain]) != stream_fingerprint([changed])


def test_a_field_that_somebody_adds_is_in_the_fingerprints_and_its_words_are_checked() -> None:
    @dataclass(frozen=True)
    class Richer(Query):
        texts: tuple[str, ...] = ()

    domain = good_domain()
    asked = [
        Richer(q.id, q.reference, q.text, q.targets, texts=("and blue",) * i)
        for i, q in enumerate(domain.test.queries)
    ]
    plain = replace(
        domain, test=replace(domain.test, queries=(Richer(**vars(asked[0])), domain.test.queries[1]))
    )
    richer = replace(domain, test=replace(domain.test, queries=tuple(asked)))
    for one in (stream_fingerprint, lambda stream: queries_fingerprint(stream, "test")):
        assert one([plain]) == one([domain]) != one([richer])
    assert "and blue" in set(words([richer])) > set(words([domain]))


def test_reference_items_count_and_may_not_be_in_a_gallery() -> None:
    beside = replace(good_domain(), reference=(Item.of(picture("other")), Item.of(text="a dog")))
    validate_domain(beside)
    assert stream_fingerprint([beside]) != stream_fingerprint([good_domain()])
    with pytest.raises(UserError, match="1 of 4 gallery pictures are also trained on: val1"):
        validate_domain(replace(beside, reference=(Item.of(picture("val1")),)))


def test_pairs_texts_and_a_domain_without_training_data_are_ordinary() -> None:
    pairs = [
        Pair("p0", picture("a"), "a red square", "d"),
        Pair("p1", "a red square", picture("b"), "d"),
        Pair("p2", "rot", "red", "d", negatives=[Candidate("blue", "blue", "colour")]),
    ]
    validate_domain(replace(good_domain(), train=pairs))
    validate_domain(replace(good_domain(), train=()))
    with pytest.raises(UserError, match="domain 'd': example 'p0' has an empty text"):
        validate_domain(replace(good_domain(), train=[Pair("p0", picture("a"), " ", "d")]))
    with pytest.raises(ValueError, match="item 'x' needs a picture, a text or both"):
        Item("x")


def test_galleries_of_texts_and_of_pictures() -> None:
    prompts = Gallery("g", ["a dog", Item("cat", text="a cat")])
    assert [item.key for item in prompts.items] == ["a dog", "cat"]
    with pytest.raises(ValueError, match="gallery 'g' holds more than pictures: item 'a dog' has a text"):
        _ = prompts.pictures
    shown = (picture("a"), picture("b"))
    assert Gallery("g", shown) == Gallery("g", pictures=shown) and Gallery("g", shown).pictures == shown
    asked = Query("q", picture("x"), "what is it", ("cat",))
    validate(RetrievalSet((asked,), prompts, Protocol("p")))
    with pytest.raises(UserError, match="gallery 'g' holds item 'cat' 2 times"):
        validate(RetrievalSet((asked,), Gallery("g", [*prompts.items, prompts.items[1]]), Protocol("p")))


def hidden(part: RetrievalSet) -> RetrievalSet:
    return replace(part, labels="hidden", queries=tuple(replace(q, targets=()) for q in part.queries))


def measuring(part: RetrievalSet, metric: str) -> RetrievalSet:
    return replace(part, protocol=Protocol("p", metrics=(metric,), primary=metric))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda p: query(p, reference=None, text=None),
            "query 'q1' has neither a reference picture nor a text",
        ),
        (
            lambda p: query(p, text=""),
            "query 'q1' has an empty text; leave it out, or give it by picture",
        ),
        (lambda p: query(p, texts=("red", " ")), "query 'q1' has an empty text"),
        (lambda p: query(p, exclude=("lost",)), "query 'q1' excludes what is not in gallery 'g': lost"),
        (lambda p: query(p, exclude=("test2",)), "query 'q1' excludes its own right answer 'test2'"),
        (lambda p: query(p, candidates=("lost",)), "'q1' has as candidates what is not in gallery 'g': lost"),
        (lambda p: query(p, candidates=("test0",) * 2), "'q1' names the candidate 'test0' 2 times"),
        (
            lambda p: query(p, main="test0"),
            "'q1' has the main answer 'test0', which is none of its right answers",
        ),
        (lambda p: measuring(p, "R_main@1"), "'q0' names no main answer, which R_main@1 of 'p' needs"),
        (
            lambda p: measuring(p, "R_sub@1"),
            "'q0' has no right answer among candidates of its own, which R_sub@1",
        ),
        (lambda p: replace(p, labels="secret"), r"unknown labels 'secret' \(allowed: known, hidden\)"),
        (lambda p: replace(p, labels="hidden"), "'q0' names a right answer, but the labels are hidden"),
    ],
)
def test_every_field_of_a_query_is_checked(
    spoil: Callable[[RetrievalSet], RetrievalSet], message: str
) -> None:
    with pytest.raises(UserError, match=f"^here: .*{message}") as error:
        validate(spoil(good_set()), "here")
    assert "\n" not in str(error.value)


def test_queries_of_words_of_pictures_of_several_texts_and_without_labels_pass() -> None:
    validate(query(good_set(), reference=None))
    validate(query(good_set(), text=None))
    validate(query(good_set(), text=None, texts=("red", "in red")))
    validate(query(good_set(), exclude=("test0",), candidates=("test1", "test2"), main="test3"))
    validate(hidden(good_set()))
    domain = good_domain()
    validate_domain(Domain("d", domain.train, sets={"val": domain.val, "test": hidden(domain.test)}))
    with pytest.raises(UserError, match="domain 'd' has no queries"):
        validate_domain(Domain("d", domain.train))


@pytest.mark.parametrize(
    "change",
    [
        {"reference": None},
        {"text": None},
        {"texts": ("red",)},
        {"main": "test2"},
        {"exclude": ("test0",)},
        {"candidates": ("test2",)},
        {"candidates": ()},
        {"extra": {"aspect": "colour"}},
    ],
    ids=str,
)
def test_no_field_of_a_query_is_forgotten(change: dict[str, Any]) -> None:
    domain = good_domain()
    changed = replace(domain, test=query(domain.test, **change))
    for one in (stream_fingerprint, lambda stream: queries_fingerprint(stream, "test")):
        assert one([domain]) != one([changed])
