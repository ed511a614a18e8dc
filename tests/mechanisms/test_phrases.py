"""What texts of the streams add and take away."""

from __future__ import annotations

import pytest

from clplat.mechanisms.phrases import Change, changes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("is red instead of blue and has no collar", [("red", "blue"), ("", "collar")]),
        ("comes with a bow in place of laces", [("bow", "laces")]),
        ("make it red", [("red", "")]),
        ("is without a belt but longer", [("", "belt"), ("longer", "")]),
        ("change it to Blue Shoes", [("blue shoes", "")]),
        ("replace the dog with two cats", [("two cats", "dog")]),
        ("in colour Blue instead", [("blue", "")]),
        ("shows dogs, not cats", [("dogs", ""), ("", "cats")]),
        ("in it", [("in it", "")]),  # of no known form: all of it is added
        ("", [("", "")]),
    ],
)
def test_clauses_are_read(text: str, found: list[tuple[str, str]]) -> None:
    assert changes(text) == [Change(*one) for one in found]
