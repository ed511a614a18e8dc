"""Captions rewritten by rules."""

from __future__ import annotations

import pytest

from clplat.mechanisms.rewriting import rewritings, rewritten

DRESS = "a short red plain dress with long sleeves, a round neck and a bow"


@pytest.mark.parametrize(
    ("caption", "text", "after"),
    [
        (
            DRESS,
            "is blue instead of red",
            "a short blue plain dress with long sleeves, a round neck and a bow",
        ),
        (
            DRESS,
            "is striped, has a v neck",
            "a short red striped dress with long sleeves, a v neck and a bow",
        ),
        (
            DRESS,
            "has much shorter sleeves",
            "a short red plain dress with short sleeves, a round neck and a bow",
        ),
        (DRESS, "is longer", "a long red plain dress with long sleeves, a round neck and a bow"),
        (DRESS, "has no bow", "a short red plain dress with long sleeves, a round neck"),
        (
            DRESS,
            "has buttons instead of a bow",
            "a short red plain dress with long sleeves, a round neck and buttons",
        ),
        ("a bag with studs", "has a bow rather than studs", "a bag with a bow"),
        ("a red bag", "make it orange", "an orange bag"),
        ("A red bag", "is orange", "An orange bag"),
        ("a red top with short sleeves", "is long sleeved", "a red top with long sleeves"),
        ("a red top with a belt and a bow", "comes without a belt", "a red top with a bow"),
        ("a red bag", "is red", "a red bag"),
        ("a dog", "add a ball", "a dog, with a ball"),
        ("red watches for women", "in steel for men", "red watches for men, with a steel"),
        ("a red bag", "", "a red bag"),
        ("", "is red", "is red"),
    ],
)
def test_a_change_replaces_adds_or_removes(caption: str, text: str, after: str) -> None:
    assert rewritten(caption, text) == after


def test_several_ways_are_distinct_and_begin_with_the_plain_one() -> None:
    said = rewritings("a red bag", "is blue", 9)
    assert said[0] == "a blue bag" and len(set(said)) == 5
    assert rewritings("a red bag", "is blue", 0) == ("a blue bag",)


@pytest.mark.parametrize("text", ["(", "no", "without", "instead of", "and , .", "*" * 50, "is [a-z]+", "\n"])
def test_any_text_gives_some_caption(text: str) -> None:
    assert rewritten("a red bag with a bow", text)
