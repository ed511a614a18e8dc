"""Streams that are dealt out of another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans

import clplat
from clplat.config.raw import read_config
from clplat.data.images import Preprocess
from clplat.data.records import Domain
from clplat.data.validate import validate_domain
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.testing import ScenarioContract
from scenarios._continual.concepts import k_means
from scenarios.catalogue import Catalogue
from scenarios.continual import Continual

SMALL: dict[str, Any] = {"train": 12, "queries": 10, "gallery": 20}


class Dated:
    """The catalogue, where every record has a year and a shop."""

    def __init__(self, forget: str = "") -> None:
        self.forget = forget
        self._built = self._dated(*Catalogue(domains=2, **SMALL).build())

    def build(self) -> Any:
        return self._built

    def _dated(self, domains: list[Domain], probes: Any) -> Any:
        return [self._domain(domain) for domain in domains], probes

    def _domain(self, domain: Domain) -> Domain:
        train = [
            replace(example, groups={"year": str(990 + i), "shop": "ab"[i % 2]})
            for i, example in enumerate(domain.train)
        ]
        sets = {}
        for name, held in domain.sets.items():
            queries = [
                replace(query, tags={"shop": "ba"[i % 2]}, extra={"year": 985 + 4 * i})
                for i, query in enumerate(held.queries)
            ]
            sets[name] = replace(held, queries=tuple(queries))
        if self.forget:
            train[3] = replace(train[3], groups={self.forget: "1"})
        return Domain(domain.name, train, sets=sets)

    def benchmark(self) -> Any: ...

    def fingerprint(self) -> str: ...


class TestContinual(ScenarioContract):
    def make(self) -> Continual:
        return Continual(
            Catalogue(domains=2, **SMALL), gallery="growing", order=["top-sketch", "dress-studio"]
        )


def all_records(domains: list[Domain]) -> tuple[int, dict[str, int]]:
    sets: dict[str, int] = {}
    for domain in domains:
        for name, held in domain.sets.items():
            sets[name] = sets.get(name, 0) + len(held.queries)
    return sum(len(domain.train) for domain in domains), sets


@pytest.mark.parametrize("gallery", ["source", "union", "growing"])
@pytest.mark.parametrize(
    "how", [{"by": "domain"}, {"by": "tag", "tag": "shop"}, {"by": "time", "tag": "year", "parts": 3}]
)
def test_every_record_is_in_one_experience(how: dict[str, Any], gallery: Any) -> None:
    source = Dated()
    domains, probes = Continual(source, gallery=gallery, **how).build()
    assert all_records(domains) == all_records(source.build()[0]) and probes == source.build()[1]
    for domain in domains:
        validate_domain(domain)


def test_times_are_cut_into_equal_parts_of_what_is_learnt() -> None:
    domains, _ = Continual(Dated(), by="time", tag="year", parts=3).build()
    assert [domain.name for domain in domains] == ["990 to 993", "994 to 997", "998 to 1001"], (
        "990 is a number"
    )
    assert [len(domain.train) for domain in domains] == [8, 8, 8]
    for domain, low, high in zip(domains, (0, 994, 998), (993, 997, 9999), strict=True):
        assert all(low <= int(example.groups["year"]) <= high for example in domain.train)
        assert all(low <= query.extra["year"] <= high for query in domain.test.queries)


def test_a_growing_gallery_holds_what_has_arrived() -> None:
    stream = Continual(Dated(), by="tag", tag="shop", gallery="growing")
    (first, second), whole = (
        stream.build()[0],
        Continual(Dated(), by="tag", tag="shop", gallery="union").build()[0],
    )
    keys = [{item.key for item in domain.test.gallery.items} for domain in (first, second, whole[0])]
    assert keys[0] < keys[1] == keys[2]
    assert len(keys[1] - keys[0]) >= 4, "nothing arrives with the second experience"
    answers = {key for query in first.test.queries for key in query.targets}
    assert answers <= keys[0]
    assert first.test.protocol.name.endswith("/growing")
    reverse = Continual(Dated(), by="tag", tag="shop", gallery="growing", order=["b", "a"]).build()[0]
    assert [domain.name for domain in reverse] == ["b", "a"]
    assert {item.key for item in reverse[0].test.gallery.items} < keys[1]


def test_a_source_that_is_dealt_as_it_is_stays_as_it_is() -> None:
    source = Catalogue(domains=2, **SMALL)
    assert Continual(source).fingerprint() == source.fingerprint()


def test_concepts_are_what_pictures_show() -> None:
    source = Catalogue(domains=["dress-studio", "shoe-textured", "bag-dark"], **SMALL)
    stream = Continual(source, by="concept", parts=3, gallery="union", seed=0)
    domains, _ = stream.build()
    assert [domain.name for domain in domains] == ["concept-0", "concept-1", "concept-2"]
    assert all_records(domains) == all_records(source.build()[0])
    for domain in domains:
        validate_domain(domain)
    learnt = [[example.reference for example in domain.train] for domain in domains]
    assert [len(shown) for shown in learnt] == sorted(map(len, learnt), reverse=True), "largest first"
    asked = [[query.reference for query in domain.test.queries] for domain in domains]
    backbone = Backbone.load("clplat-tiny")
    pixels = Preprocess(backbone.image_size)
    features = [[_features(backbone, pixels, picture) for picture in shown] for shown in learnt]
    means = torch.stack([torch.stack(rows).mean(dim=0) for rows in features])
    for place, shown in enumerate(asked):
        for row in [*features[place], *(_features(backbone, pixels, picture) for picture in shown)]:
            assert int((means - row).norm(dim=1).argmin()) == place, "a record is not with its nearest"
    again = Continual(source, by="concept", parts=3, gallery="union", seed=0)
    assert again.fingerprint() == stream.fingerprint()


def _features(backbone: Backbone, pixels: Preprocess, picture: Any) -> torch.Tensor:
    with torch.no_grad():
        row = backbone.image(pixels(picture.load())[None]).pooled[0]
    return torch.nn.functional.normalize(row, dim=0).double()


def test_clusters_are_as_tight_as_those_of_another_implementation() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 8, generator=draw, dtype=torch.float64)
    ours = torch.cdist(rows, k_means(rows, 5, draw)).amin(dim=1).square().sum()
    theirs = KMeans(5, n_init=8, random_state=0).fit(rows.numpy()).inertia_
    assert float(ours) == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"by": "tag"}, "by 'tag' needs the name of a tag"),
        ({"by": "concept", "tag": "shop"}, "by 'concept' takes no tag"),
        ({"parts": 0}, "parts must be at least 1, not 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Continual(Dated(), **options)


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        (
            Dated(),
            {"by": "tag", "tag": "shops"},
            r"has no tag 'shops'; did you mean 'shop'\? \(it has: shop, year\)",
        ),
        (
            Dated("town"),
            {"by": "tag", "tag": "shop"},
            r"training example '.*' has no tag 'shop' \(it has: town\)",
        ),
        (Dated(), {"by": "time", "tag": "shop", "parts": 3}, "does not give 3 parts"),
        (Dated(), {"by": "time", "tag": "year", "parts": 12}, "no query of 'val' belongs to"),
        (Dated(), {"order": ["dress-studio"]}, "order must name each experience once"),
        (Dated(), {"order": ["dress-studo"]}, "did you mean 'dress-studio'"),
    ],
)
def test_data_that_do_not_fit_are_refused(source: Dated, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        Continual(source, **options).build()


def test_sets_that_are_measured_differently_cannot_be_mixed() -> None:
    source = Dated()
    domain = source.build()[0][0]
    held = domain.test
    other = replace(held, protocol=replace(held.protocol, name="other"))
    source.build()[0][0] = Domain(domain.name, domain.train, sets={**domain.sets, "test": other})
    with pytest.raises(UserError, match="the sets 'test' of this benchmark have several protocols"):
        Continual(source, by="tag", tag="shop").build()


def test_a_scenario_holds_a_scenario(tmp_path: Any) -> None:
    options = {f"scenario.source.{name}": value for name, value in {"domains": 2, **SMALL}.items()}
    raw = {"scenario": "continual", "scenario.source": "catalogue", **options, "scenario.gallery": "growing"}
    result = clplat.run({**raw, "strategy": "frozen", "probes": "none"}, tmp_path / "run")
    assert len(result["metrics"]["R@5"]) == 3
    again = clplat.run(read_config(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert again["metrics"] == result["metrics"]
