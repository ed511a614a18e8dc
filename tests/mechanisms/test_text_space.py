"""Which parts read texts."""

from __future__ import annotations

from types import SimpleNamespace

from clplat.mechanisms.text_space import TextSpace, spaces_of


def test_parts_that_are_a_number_or_a_method_hold_no_spaces() -> None:
    """As of `crops`, whose ``parts`` are a method, and `quantised`, whose are a number."""
    space = TextSpace()
    held = [SimpleNamespace(parts=16), SimpleNamespace(parts=lambda: []), SimpleNamespace(space=space)]
    assert list(spaces_of(*held, SimpleNamespace(parts=[SimpleNamespace(space=space)]))) == [space, space]
