"""Drawn captions of equal and of other meaning."""

from __future__ import annotations

from typing import Any

from clplat.parts import Contrasts
from clplat.testing import ProbesContract
from scenarios._catalogue.items import ATTRIBUTES
from scenarios._catalogue.language import describe, retold
from scenarios.probes.compositions import Compositions


class TestCompositions(ProbesContract):
    def make(self) -> Compositions:
        return Compositions(count=3, size=16)


def test_both_captions_say_everything_and_the_wrong_one_replaces_one_attribute() -> None:
    for probe in Compositions(count=30).build():
        assert isinstance(probe, Contrasts)
        attribute = probe.name.partition("/")[2]
        for case in probe.cases:
            load: Any = case.picture.load
            item = load.args[0]
            assert case.right == (describe(item), retold(item)) and case.wrong[0] not in case.right
            others = [item.replace(attribute, value) for value in ATTRIBUTES[item.category][attribute]]
            assert case.wrong[0] in [describe(other) for other in others]


def test_retold_texts_are_distinct_where_the_products_are() -> None:
    for probe in Compositions(count=30).build():
        assert isinstance(probe, Contrasts)
        said = {describe(case.picture.load.args[0]): case.right[1] for case in probe.cases}  # type: ignore[attr-defined]
        assert len(set(said.values())) == len(said)
