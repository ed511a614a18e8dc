"""What every scenario must do."""

from __future__ import annotations

from typing import Any

from clplat.data.counts import differing
from clplat.data.records import Domain, Example, RetrievalSet
from clplat.data.validate import validate_domain
from clplat.testing.part import PlainPartContract

__all__ = ["ScenarioContract"]


class ScenarioContract(PlainPartContract[Any]):
    """Contract tests of a scenario: subclass, override `make` with a small one, and pytest runs them all.

    Example:
        >>> from scenarios.catalogue import Catalogue
        >>> class TestCatalogue(ScenarioContract):
        ...     def make(self) -> Catalogue:
        ...         return Catalogue(domains=2, train=10, queries=10, gallery=20)
    """

    # -- the contract -------------------------------------------------------------------------------------

    def test_its_domains_are_valid(self) -> None:
        domains, _ = self.make().build()
        assert domains and len({domain.name for domain in domains}) == len(domains)
        for domain in domains:
            validate_domain(domain)

    def test_its_benchmark_has_an_experience_for_each_domain(self) -> None:
        scenario = self.make()
        domains, probes = scenario.build()
        benchmark = scenario.benchmark()
        for stream in (benchmark.train_stream, benchmark.test_stream):
            assert [experience.domain for experience in stream] == list(domains)
            assert [experience.current_experience for experience in stream] == list(range(len(domains)))
        for domain, train, test in zip(domains, benchmark.train_stream, benchmark.test_stream, strict=True):
            assert len(train.dataset) == len(domain.train)
            assert all(isinstance(example, Example) for example in train.dataset)
            assert len(test.dataset) == len(_asked(domain).queries)
        outside = [stream for stream in benchmark.streams.values() if stream.name == "probe"]
        assert [e.probe for stream in outside for e in stream] == list(probes)

    def test_building_twice_gives_the_same_stream(self) -> None:
        scenario = self.make()
        first, second, other = scenario.build(), scenario.build(), self.make().build()
        assert all(a is b for a, b in zip(first[0], second[0], strict=True)), "build() builds again"
        assert first[0] == other[0], "two equal scenarios hold different domains"
        assert [probe.name for probe in first[1]] == [probe.name for probe in other[1]]

    def test_its_fingerprint_is_that_of_its_content(self) -> None:
        scenario = self.make()
        prints = {scenario.fingerprint(), scenario.fingerprint(), self.make().fingerprint()}
        assert len(prints) == 1 and len(prints.pop()) == 64

    def test_what_its_source_published_is_counted(self) -> None:
        """Each published count stands in the report under its name, and a remark says where one differs."""
        scenario = self.make()
        published = dict(getattr(scenario, "published", {}))
        counts = scenario.report["counts"] if published else {}
        assert published.keys() <= counts.keys(), "a published count has no counterpart in report['counts']"
        remarks = getattr(scenario, "remarks", ())
        if other := differing(counts, published):
            said = f"no remark says that {other[0]} is {counts[other[0]]} of {published[other[0]]}"
            assert any(other[0] in line for line in remarks), said

    def test_its_pictures_can_be_drawn_again(self) -> None:
        for domain in self.make().build()[0]:
            shown = [item.picture for example in domain.train[:1] for item in example.items]
            galleries = [item.picture for held in domain.sets.values() for item in held.gallery.items[:1]]
            for picture in (*shown, _asked(domain).queries[0].reference, *galleries):
                if picture is None:
                    continue
                one, two = picture.load(), picture.load()
                assert one.mode == "RGB" and min(one.size) > 0
                assert one.tobytes() == two.tobytes(), f"picture '{picture.key}' differs from call to call"

    def test_equal_keys_are_equal_pictures(self) -> None:
        seen: dict[str, Any] = {}
        for domain in self.make().build()[0]:
            held = [item for one in domain.sets.values() for item in one.gallery.items]
            shown = [item.picture for item in held if item.picture is not None]
            for picture in (*domain.anchors, *shown):
                other = seen.setdefault(picture.key, picture)
                assert other.caption == picture.caption, f"two pictures share the key '{picture.key}'"


def _asked(domain: Domain) -> RetrievalSet:
    """The test set; of a domain without one, its first set."""
    return domain.sets.get("test", next(iter(domain.sets.values())))
