"""The catalogue as a stream."""

from __future__ import annotations

from typing import Any

import pytest

from clplat.data.validate import validate_domain
from clplat.parts import ClassificationProbe, RetrievalProbe
from clplat.testing import ScenarioContract
from scenarios._catalogue import DOMAINS
from scenarios.catalogue import Catalogue

SMALL: dict[str, Any] = {"train": 12, "queries": 10, "gallery": 40}


class TestCatalogue(ScenarioContract):
    def make(self) -> Catalogue:
        return Catalogue(domains=2, **SMALL)


def names(scenario: Catalogue) -> list[str]:
    return [domain.name for domain in scenario.build()[0]]


def test_default_stream_has_five_domains_of_the_documented_size() -> None:
    domains, probes = Catalogue().build()
    assert [d.name for d in domains] == list(DOMAINS[:5])
    assert len({d.name.split("-")[0] for d in domains}) == len({d.name.split("-")[1] for d in domains}) == 5
    sizes = {(len(d.train), len(d.test.queries), len(d.test.gallery.pictures)) for d in domains}
    assert sizes == {(600, 120, 300)}
    assert [type(p) for p in probes] == [RetrievalProbe, ClassificationProbe]
    for domain in domains:
        validate_domain(domain)


def test_domains_can_be_counted_named_and_ordered() -> None:
    assert names(Catalogue(domains=36, **{**SMALL, "train": 1})) == list(DOMAINS)
    assert names(Catalogue(domains=["bag-poster", "shoe-dark"], **SMALL)) == ["bag-poster", "shoe-dark"]
    swapped = Catalogue(domains=2, order=["top-sketch", "dress-studio"], **SMALL)
    assert names(swapped) == ["top-sketch", "dress-studio"]


def test_a_domain_is_the_same_wherever_it_stands_in_the_stream() -> None:
    first = Catalogue(domains=2, **SMALL).build()[0][1]
    alone = Catalogue(domains=["top-sketch"], **SMALL).build()[0][0]
    assert first == alone


def test_fingerprint_is_stable_and_tells_data_apart() -> None:
    base = Catalogue(domains=2, **SMALL)
    assert base.fingerprint() == Catalogue(domains=2, seed=0, **SMALL).fingerprint()
    swapped = ["top-sketch", "dress-studio"]
    changes: list[dict[str, Any]] = [{"seed": 1}, {"size": 64}, {"negatives": 1}, {"order": swapped}]
    prints = {Catalogue(domains=2, **{**SMALL, **change}).fingerprint() for change in changes}
    assert len(prints | {base.fingerprint()}) == 5


def test_the_same_objects_at_every_call() -> None:
    scenario = Catalogue(domains=1, **SMALL)
    assert scenario.build()[0][0] is scenario.build()[0][0]
    assert scenario.probes() is scenario.build()[1]


def test_benchmark_has_an_experience_for_each_domain_and_probe() -> None:
    benchmark = Catalogue(domains=3, **SMALL).benchmark()
    assert [e.domain.name for e in benchmark.train_stream] == list(DOMAINS[:3])
    assert [e.domain.name for e in benchmark.test_stream] == list(DOMAINS[:3])
    assert len(benchmark.streams["probe"]) == 2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"domains": 0}, "domains must be 1 to 36, not 0"),
        ({"domains": 37}, "domains must be 1 to 36, not 37"),
        ({"domains": []}, "named once each"),
        ({"domains": ["bag-dark", "bag-dark"]}, "named once each"),
        ({"domains": ["bag-drak"]}, "unknown domain 'bag-drak'; did you mean 'bag-dark'"),
        ({"domains": 2, "order": ["dress-studio", "bag-dark"]}, "order names 'bag-dark'"),
        ({"domains": 2, "order": ["dress-studio"]}, "top-sketch is missing"),
        ({"train": 0}, "train must be 1 to"),
        ({"queries": -1}, "queries must be 1 to 300, not -1"),
        ({"queries": 90, "gallery": 40}, "queries must be 1 to 40, not 90"),
        ({"gallery": 5}, "gallery must be 20 to 1000, not 5"),
        ({"negatives": 5}, "negatives must be 0 to 4, not 5"),
        ({"size": -96}, "size must be 16 to 1024, not -96"),
    ],
)
def test_bad_values_get_one_clear_line(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        Catalogue(**bad)
    assert said in str(caught.value) and "\n" not in str(caught.value)
