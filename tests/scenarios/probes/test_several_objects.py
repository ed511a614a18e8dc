"""Two objects: what is false in a caption is the object at the place and of the size that the kind says."""

from __future__ import annotations

import pytest
from PIL import ImageColor

from clplat.config.recipes import recipe
from clplat.testing import ProbesContract
from scenarios.probes.several_objects import SeveralObjects


class TestSeveralObjects(ProbesContract):
    def make(self) -> SeveralObjects:
        return SeveralObjects(count=4, size=32)


class TestFiveObjects(TestSeveralObjects):
    def make(self) -> SeveralObjects:
        return SeveralObjects(count=2, size=64, objects=5)


def test_every_object_is_seen_and_its_size_is_what_the_kind_says() -> None:
    """The published probe: five objects, all drawn apart, the large one at one end of the caption."""
    probe = recipe("comco").config["probes"]
    case, last = (SeveralObjects(count=1, objects=probe["objects"]).cases[number] for number in (0, 3))
    said = case.right[0].split(" and ")
    assert len(set(said)) == 5 and last.right[0].split(" and ") == [*said[1:], said[0]]
    colours: dict[tuple[int, ...], int] = {}
    for many, colour in case.picture.load().getcolors(96 * 96) or []:
        colours[colour] = many
    inked = {ImageColor.getrgb(thing.split()[1]) for thing in said}
    assert inked == set(colours) - {(255, 255, 255)}
    of_large = ImageColor.getrgb(said[0].split()[1])
    assert colours[of_large] == max(count for colour, count in colours.items() if colour in inked)
    with pytest.raises(ValueError, match="objects must be 2 to 5, not 6"):
        SeveralObjects(objects=6)


def test_one_object_of_the_caption_is_false() -> None:
    probe = SeveralObjects(count=5)
    assert len(probe.cases) == 20 and len({case.picture.key for case in probe.cases}) == 5
    for number, case in enumerate(probe.cases):
        right, wrong = (text.split(" and ") for text in (case.right[0], case.wrong[0]))
        assert case.kind == ("first large", "last small", "first small", "last large")[number % 4]
        false = 0 if case.kind.startswith("first") else 1
        assert right[1 - false] == wrong[1 - false] and right[false] != wrong[false]
        large = probe.cases[number // 4 * 4].right[0].split(" and ")[0]
        assert (right[false] == large) == case.kind.endswith("large")
