"""Swapped and replaced words make a caption wrong, and nothing but the words tells."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clplat.mechanisms.words import replacements, swapped_phrases, swapped_words, tagged

SAID = [
    "a",
    "the",
    "red",
    "small",
    "bag",
    "dog",
    "holding",
    "with",
    "and",
    ",",
    "slowly",
    "Odd",
    "an",
    "elephant",
]
TEXTS = st.lists(st.sampled_from(SAID), min_size=1, max_size=12).map(" ".join)


def bag(text: str) -> Counter[str]:
    """Words and marks, whatever the article and the capital."""
    words = re.findall(r"[\w'-]+|[^\w\s]", text.lower())
    return Counter("a" if word == "an" else word for word in words)


@given(TEXTS)
def test_swaps_keep_the_words_and_change_the_text(text: str) -> None:
    made = [other for kind in ("noun", "adjective", "adverb", "verb") for other in swapped_words(text, kind)]
    for other in [*made, *swapped_phrases(text)]:
        assert other != text and bag(other) == bag(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a brown and white cat", "adjective"),
        ("a red, blue and green bag", "adjective"),
        ("a small red striped bag", "adjective"),
        ("an orange knee length dotted dress", "adjective"),
        ("a gray chair and a black chair", "adjective"),
        ("an apple, a banana and a carrot", "noun"),
        ("elephants bathing and playing in the water", "verb"),
        ("a dog beside a dog", "noun"),
        ("a dog", "noun"),
    ],
)
def test_what_only_reorders_is_no_negative(text: str, kind: str) -> None:
    assert swapped_words(text, kind) == []


@pytest.mark.parametrize(
    ("text", "kind", "wrong"),
    [
        ("a red shoe and a blue bag", "adjective", "a blue shoe and a red bag"),
        ("a child holding a flower and petting a yak", "verb", "a child petting a flower and holding a yak"),
        ("a bag with a short handle and a bow", "noun", "a bag with a short bow and a handle"),
        ("A dog on an elephant.", "noun", "An elephant on a dog."),
        ("two mirrors next to two sinks", "noun", "two sinks next to two mirrors"),
    ],
)
def test_what_changes_the_meaning_is_found(text: str, kind: str, wrong: str) -> None:
    assert wrong in swapped_words(text, kind)


def test_phrases_take_their_article_along() -> None:
    assert swapped_phrases("A little girl holds an umbrella.") == ["An umbrella holds a little girl."]
    assert swapped_phrases("a dog and a cat") == []


def test_a_replacement_excludes_what_it_replaces() -> None:
    colours = replacements("an orange bag", "adjective")
    assert "a red bag" in colours and "an orange bag" not in colours and len(colours) == 10
    assert replacements("a cat and a dog", "verb") == []
    assert "the man standing on a horse" in replacements("the man sitting on a horse", "verb")
    assert "a grey bag" not in replacements("a gray bag", "adjective")  # the same in another spelling
    # What is there already may be what stays: a dog beside a dog would be no sure negative.
    assert "a dog and a dog" not in replacements("a dog and a cat", "noun")


def test_unknown_words_are_nouns_and_endings_tell() -> None:
    kinds = {word.said: word.kind for word in tagged("gleaming hooded zorbs quickly go to 7 friendly x")}
    assert kinds == {
        "gleaming": "verb",
        "hooded": "adjective",
        "zorbs": "noun",
        "quickly": "adverb",
        "go": "noun",
        "to": "function",
        "7": "function",
        "friendly": "adjective",
        "x": "noun",
    }
