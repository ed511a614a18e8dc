"""Two objects: what is false in a caption is the object at the place and of the size that the kind says."""

from __future__ import annotations

from clplat.testing import ProbesContract
from scenarios.probes.several_objects import SeveralObjects


class TestSeveralObjects(ProbesContract):
    def make(self) -> SeveralObjects:
        return SeveralObjects(count=4, size=32)


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
