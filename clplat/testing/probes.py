"""What every set of probes must do."""

from __future__ import annotations

from collections.abc import Iterator

from clplat.data.fingerprint import stream_fingerprint
from clplat.data.records import Picture, Probe
from clplat.parts.probes._base import Probes
from clplat.testing.part import PlainPartContract

__all__ = ["ProbesContract"]


class ProbesContract(PlainPartContract[Probes]):
    """Contract tests of a set of probes: subclass, override `make` with a small one, and pytest runs them.

    Example:
        >>> from scenarios.probes.catalogue import CatalogueProbes
        >>> class TestSmallPictures(ProbesContract):
        ...     def make(self) -> Probes:
        ...         return CatalogueProbes(size=32)
    """

    # -- the contract -------------------------------------------------------------------------------------

    def test_its_probes_are_complete(self) -> None:
        probes: list[Probe] = self.make().build()
        assert probes and len({probe.name for probe in probes}) == len(probes)
        for probe in probes:
            keys, where = [picture.key for picture in probe.pictures], f"probe '{probe.name}'"
            assert keys and len(set(keys)) == len(keys), f"{where}: no pictures, or one of them twice"
            assert all(text.strip() for text in probe.texts), f"{where}: an empty text"
            if probe.kind == "retrieval":
                assert len(probe.texts) == len(keys) and not probe.labels, f"{where}: a caption per picture"
            else:
                assert len(probe.labels) == len(keys), f"{where}: a label per picture"
                assert set(probe.labels) == set(range(len(probe.texts))), f"{where}: a prompt for each label"

    def test_building_twice_gives_the_same(self) -> None:
        probes = self.make()
        built = (probes.build(), probes.build(), self.make().build())
        found = {stream_fingerprint((), each) for each in built}
        assert len(found) == 1, "two equal sets of probes hold different ones"

    def test_its_pictures_can_be_drawn_again(self) -> None:
        for probe in self.make().build():
            for picture in (probe.pictures[0], probe.pictures[-1]):
                one, two = picture.load(), picture.load()
                assert one.mode == "RGB" and min(one.size) > 0
                assert one.tobytes() == two.tobytes(), f"picture '{picture.key}' differs from call to call"

    def test_equal_keys_are_equal_pictures(self) -> None:
        seen: dict[str, Picture] = {}
        for picture in _pictures(self.make().build()):
            other = seen.setdefault(picture.key, picture)
            assert other.caption == picture.caption, f"two pictures share the key '{picture.key}'"


def _pictures(probes: list[Probe]) -> Iterator[Picture]:
    for probe in probes:
        yield from probe.pictures
