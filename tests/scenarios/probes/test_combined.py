"""Sets of probes together."""

from __future__ import annotations

import pytest

from clplat.config.resolve import resolve
from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.evaluation.probes import RetrievalProbe
from clplat.parts.probes._base import Probe, Probes
from clplat.parts.probes._combined import CombinedProbes
from clplat.testing import ProbesContract
from scenarios.probes.catalogue import CatalogueProbes


class Few(Probes):
    """One picture of the catalogue's under a name of its own."""

    def build(self) -> list[Probe]:
        pictures: tuple[Picture, ...] = tuple(CatalogueProbes().build()[0].pictures[:2])
        return [RetrievalProbe("few", pictures, tuple(str(p.caption) for p in pictures))]


class TestCombined(ProbesContract):
    def make(self) -> Probes:
        return CombinedProbes([CatalogueProbes(), Few()])


def test_probes_of_all_sets_in_their_order() -> None:
    names = [probe.name for probe in CombinedProbes([Few(), CatalogueProbes()]).build()]
    assert names == ["few", *(probe.name for probe in CatalogueProbes().build())]


def test_one_name_twice_is_refused() -> None:
    with pytest.raises(UserError, match="two sets of probes have a probe called 'few'"):
        CombinedProbes([Few(), Few()]).build()
    with pytest.raises(UserError, match="names 'catalogue' twice"):
        resolve({"probes": "catalogue,catalogue"})
