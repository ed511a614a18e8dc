"""Drawn questions of negation: the right captions are true, the wrong ones are not."""

from __future__ import annotations

from collections import Counter
from typing import Any

from clplat.testing import ProbesContract
from scenarios._catalogue.wording import DETAILS
from scenarios.probes.negation import Negation


class TestNegation(ProbesContract):
    def make(self) -> Negation:
        return Negation(count=6, size=16)


def true_of(detail: str, text: str) -> bool:
    """Whether a product with this one detail is as the text says."""
    said, _, denied = text.replace(" but without ", " without ").partition(" without ")
    claimed = said.partition(" with ")[2]
    there = DETAILS[detail]
    return (not claimed or claimed == there) and denied != there


def test_exactly_the_right_captions_are_true() -> None:
    probe = Negation(count=30)
    assert Counter(case.kind for case in probe.cases) == {"positive": 30, "negative": 30, "hybrid": 30}
    for case in probe.cases:
        load: Any = case.picture.load
        detail = load.args[0]["detail"]
        assert all(true_of(detail, text) for text in case.right), (detail, case.right)
        assert not any(true_of(detail, text) for text in case.wrong), (detail, case.wrong)
