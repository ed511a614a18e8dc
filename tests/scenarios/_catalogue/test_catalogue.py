"""The catalogue's promises: exact answers, near misses, honest splits, equal pictures for equal keys."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.data.fingerprint import stream_fingerprint
from clplat.data.records import Domain, Picture
from clplat.data.validate import validate_domain
from clplat.errors import UserError
from scenarios._catalogue import (
    ATTRIBUTES,
    CATEGORIES,
    DOMAINS,
    GENERAL,
    STYLES,
    Item,
    build_domain,
    held_out,
    pretraining_pairs,
    probes,
    render,
)
from scenarios._catalogue.items import changed, generator, home, sample_item, vary
from scenarios._catalogue.language import clauses, describe, modification

_OPENING = re.compile(r"^(it |i want one that |the same but it |should be one that |the \w+ )?")


@pytest.fixture(scope="module")
def domain() -> Domain:
    return build_domain("bag-dark", train=300, negatives=2)


def shown(picture: Picture) -> Item:
    """The product of a picture."""
    item: Item = picture.load.args[0]  # type: ignore[attr-defined]
    return item


def understand(text: str, reference: Item) -> Item:
    """Read a modification text clause by clause, knowing only what each clause means for this reference."""
    meanings: dict[str, set[tuple[str, str]]] = {}
    for attribute, values in ATTRIBUTES[reference.category].items():
        for value in values:
            if value != reference[attribute]:
                for clause in clauses(attribute, reference[attribute], value):
                    meanings.setdefault(clause, set()).add((attribute, value))
    verb, item = "", reference
    for piece in re.split(r", | and also | and ", _OPENING.sub("", text, count=1)):
        found = meanings.get(piece, set()) | (meanings.get(f"{verb} {piece}", set()) if verb else set())
        assert len(found) == 1, (text, piece, found)
        verb = piece.split(" ")[0] if piece in meanings else verb
        item = item.replace(*found.pop())
    return item


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Item, Item]:
    category = draw(st.sampled_from(CATEGORIES))
    table = ATTRIBUTES[category]
    reference = Item(category, tuple(draw(st.sampled_from(values)) for values in table.values()))
    target = reference
    for name in draw(st.sets(st.sampled_from(list(table)), min_size=1, max_size=3)):
        target = target.replace(name, draw(st.sampled_from([v for v in table[name] if v != reference[name]])))
    return reference, target


@settings(max_examples=150, deadline=None)
@given(pair=pairs(), seed=st.integers(0, 10**6))
def test_text_and_reference_determine_the_target(pair: tuple[Item, Item], seed: int) -> None:
    reference, target = pair
    assert understand(modification(reference, target, generator(seed)), reference) == target


def test_comparatives_are_said_only_where_one_answer_fits() -> None:
    assert "is longer" in clauses("length", "knee-length", "long")
    assert "is longer" not in clauses("length", "short", "long")
    assert "is a bit longer" in clauses("length", "short", "knee-length")
    assert "is much longer" in clauses("length", "short", "long")
    assert "has longer sleeves" not in clauses("sleeves", "sleeveless", "long")


def test_texts_come_in_many_wordings() -> None:
    before = Item("dress", ("blue", "plain", "short", "short", "none"))
    after = before.replace("colour", "red").replace("sleeves", "long")
    assert len({modification(before, after, generator(seed)) for seed in range(200)}) > 80


def test_full_descriptions_name_one_product_each() -> None:
    for category in CATEGORIES:
        items = {sample_item(category, generator(category, i)) for i in range(400)}
        assert len({describe(item) for item in items}) == len(items)


@pytest.mark.parametrize("name", DOMAINS[:6])
def test_records_are_valid_and_sized_as_asked(name: str) -> None:
    domain = build_domain(name, train=40, queries=60, gallery=150)
    validate_domain(domain)
    assert (len(domain.train), len(domain.test.queries), len(domain.test.gallery.pictures)) == (40, 60, 150)
    assert (len(domain.val.queries), len(domain.val.gallery.pictures)) == (30, 75)


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(DOMAINS),
    seed=st.integers(0, 10**6),
    gallery=st.integers(20, 120),
    share=st.floats(0.05, 1),
)
def test_exactly_the_pictures_of_the_right_product_answer(
    name: str, seed: int, gallery: int, share: float
) -> None:
    part = build_domain(name, train=1, queries=max(1, int(share * gallery)), gallery=gallery, seed=seed).test
    there = {p.key: shown(p) for p in part.gallery.pictures}
    assert len(there) == gallery
    for query in part.queries:
        target = understand(query.text, shown(query.reference))
        assert set(query.targets) == {key for key, item in there.items() if item == target}
        assert query.targets and query.reference.key in there and query.reference.key not in query.targets
        assert query.tags == {"combination": "unseen" if held_out(target) else "seen"}


def test_every_query_has_near_misses_of_both_kinds(domain: Domain) -> None:
    there = {shown(p) for p in domain.test.gallery.pictures}
    for query in domain.test.queries:
        reference = shown(query.reference)
        target = understand(query.text, reference)
        moved = changed(reference, target)
        near = [changed(item, target)[0] for item in there if len(changed(item, target)) == 1]
        assert any(name in moved for name in near), "none keeps the reference's look"
        assert any(name not in moved for name in near), "none has what the text says on another base"


def test_held_out_combinations_are_tested_and_never_trained(domain: Domain) -> None:
    for triplet in domain.train:
        pictures = [item.picture for item in triplet.items]
        assert not any(held_out(shown(picture)) for picture in pictures)
    tags = Counter(query.tags["combination"] for query in domain.test.queries)
    assert min(tags.values()) >= 20


def test_one_pattern_in_five_is_held_out_for_every_colour() -> None:
    for category in CATEGORIES:
        base = sample_item(category, generator(0))
        for colour in ATTRIBUTES[category]["colour"]:
            item = base.replace("colour", colour)
            assert sum(held_out(item.replace("pattern", p)) for p in ATTRIBUTES[category]["pattern"]) == 1


def test_splits_share_neither_pictures_nor_reference_products(domain: Domain) -> None:
    keys, bases = {}, {}
    keys["train"] = {p.key for p in domain.anchors} | {e.picture.key for t in domain.train for e in t.extras}
    bases["train"] = {shown(t.reference) for t in domain.train}
    for split, part in (("val", domain.val), ("test", domain.test)):
        keys[split] = {p.key for p in part.gallery.pictures}
        bases[split] = {shown(q.reference) for q in part.queries}
    for first, second in combinations(keys, 2):
        assert keys[first].isdisjoint(keys[second]) and bases[first].isdisjoint(bases[second])
    assert all(home(item) == split for split, items in bases.items() for item in items)


def test_training_labels_name_the_target_and_negatives_are_near(domain: Domain) -> None:
    for triplet in domain.train:
        target = shown(triplet.target.picture)
        assert triplet.label == f"bag-dark/{target.key}"
        assert understand(triplet.text, shown(triplet.reference)) == target
        assert len(triplet.extras) == 2 and len({extra.label for extra in triplet.extras}) == 2
        for extra in triplet.extras:
            assert extra.kind == "near_miss" and len(changed(shown(extra.picture), target)) == 1
    assert build_domain("bag-dark", train=3).train[0].extras == ()


@pytest.mark.parametrize("category", CATEGORIES)
def test_four_negatives_can_always_be_had(category: str) -> None:
    train = build_domain(f"{category}-studio", train=300, negatives=4).train
    assert {len(triplet.extras) for triplet in train} == {4}


def test_equal_arguments_give_equal_records_and_pixels() -> None:
    first, again, other = (build_domain("top-sketch", 30, 20, 40, seed=seed) for seed in (1, 1, 2))
    assert stream_fingerprint([first], probes(1)) == stream_fingerprint([again], probes(1))
    assert stream_fingerprint([first]) != stream_fingerprint([other])
    a, b = (d.train[0].target.picture.load() for d in (first, again))
    assert a.mode == "RGB" and a.size == (96, 96) and a.tobytes() == b.tobytes()


def test_equal_keys_are_equal_pictures_across_seeds_and_sizes_have_their_own() -> None:
    known: dict[str, object] = {}
    for seed in (0, 1):
        for picture in build_domain("shoe-textured", 200, 20, 40, seed=seed).anchors:
            assert known.setdefault(picture.key, picture.load.args) == picture.load.args  # type: ignore[attr-defined]
    small = build_domain("shoe-textured", 1, 1, 20, size=32).train[0].target.picture
    assert small.key not in known and small.load().size == (32, 32)


@pytest.mark.parametrize("style", [GENERAL, *STYLES])
def test_every_attribute_shows_in_every_style(style: str) -> None:
    for category in CATEGORIES:
        item = sample_item(category, generator("shows", category))
        base = np.asarray(render(item, GENERAL, "x", 48), dtype=np.int16)
        for name in ATTRIBUTES[category]:
            other = vary(item, [name], generator(name))
            difference = np.abs(np.asarray(render(other, GENERAL, "x", 48), dtype=np.int16) - base).max(2)
            assert (difference > 40).sum() >= 12, (item, name)
        for picture in (render(item, style, str(i), size) for i in range(2) for size in (33, 48)):
            assert np.asarray(picture).std() > 5


def test_one_product_has_several_pictures() -> None:
    item = sample_item("coat", generator(5))
    a, b = (render(item, "studio", name, 48) for name in "ab")
    assert a.tobytes() != b.tobytes()


def test_pictures_are_as_this_version_of_the_keys_says() -> None:
    """Fails when pictures change: raise ``_VERSION`` in domains.py, and put the new means here."""
    means = {}
    for style in (GENERAL, *STYLES):
        strip = [render(sample_item(c, generator("pinned", c)), style, "pinned", 48) for c in CATEGORIES]
        means[style] = float(np.mean([np.asarray(picture) for picture in strip]))
    assert means == pytest.approx(PINNED, abs=0.5)


PINNED: dict[str, float] = {
    "general": 188.81,
    "studio": 157.99,
    "sketch": 222.98,
    "textured": 154.18,
    "dark": 63.47,
    "cluttered": 133.72,
    "poster": 137.11,
}


def test_pretraining_pictures_have_captions_with_the_words_of_queries() -> None:
    pictures = pretraining_pairs(2000, seed=3)
    captions = [picture.caption or "" for picture in pictures]
    assert len({picture.key for picture in pictures}) == 2000 and all(captions)
    assert {shown(picture).category for picture in pictures} == set(CATEGORIES)
    known = {word for caption in captions for word in caption.split()}
    known |= {word.strip(",") for word in known}
    asked = {
        word.strip(",")
        for name in DOMAINS[:6]
        for triplet in build_domain(name, 200).train
        for word in triplet.text.split()
    }
    # Comparatives and "instead of" need a reference, which a caption does not have.
    compared = "instead rather than of in place but same i want should be less tall bit lot much slightly"
    assert {word for word in asked - known - set(compared.split()) if not word.endswith("er")} == set()


def test_unknown_domain_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'dress-studio'"):
        build_domain("dress-studo")
