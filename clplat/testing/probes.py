"""What every set of probes must do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

import torch

from clplat.data.fingerprint import stream_fingerprint
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Picture
from clplat.evaluation.evaluator import Evaluator
from clplat.evaluation.model_view import VersionView
from clplat.evaluation.probes import ClassificationProbe, RetrievalProbe
from clplat.parts.adapters.full import Full
from clplat.parts.probes._base import ModelView, Probe, Probes, checked_probes
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import generator_untouched
from clplat.testing.part import PlainPartContract
from clplat.testing.tiny import SIZE, nudge, tiny_domains, tiny_retriever

__all__ = ["ProbesContract", "tiny_views"]


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
        probes = checked_probes(self.make().build())
        assert probes and len({probe.name for probe in probes}) == len(probes)
        for probe in probes:
            keys, where = [picture.key for picture in probe.pictures], f"probe '{probe.name}'"
            assert len(set(keys)) == len(keys), f"{where}: one of its pictures twice"
            assert all(text.strip() for text in probe.texts), f"{where}: an empty text"
            if isinstance(probe, RetrievalProbe | ClassificationProbe):
                assert keys, f"{where}: no pictures"
            if isinstance(probe, ClassificationProbe):
                assert set(probe.labels) == set(range(len(probe.texts))), f"{where}: a prompt for each label"

    def test_building_twice_gives_the_same(self) -> None:
        probes = self.make()
        built = (probes.build(), probes.build(), self.make().build())
        found = {stream_fingerprint((), each) for each in built}
        assert len(found) == 1, "two equal sets of probes hold different ones"

    def test_its_pictures_can_be_drawn_again(self) -> None:
        for probe in self.make().build():
            for picture in (*probe.pictures[:1], *probe.pictures[-1:]):
                one, two = picture.load(), picture.load()
                assert one.mode == "RGB" and min(one.size) > 0
                assert one.tobytes() == two.tobytes(), f"picture '{picture.key}' differs from call to call"

    def test_equal_keys_are_equal_pictures(self) -> None:
        seen: dict[str, Picture] = {}
        for picture in _pictures(self.make().build()):
            other = seen.setdefault(picture.key, picture)
            assert other.caption == picture.caption, f"two pictures share the key '{picture.key}'"

    def test_it_measures_the_same_numbers_of_every_version(self) -> None:
        for probe in self.make().build():
            untrained, trained = tiny_views()
            found, where = probe.measure(untrained), f"probe '{probe.name}'"
            assert found and all(map(math.isfinite, found.values())), f"{where}: {found}"
            assert probe.headline is None or probe.headline in found, f"{where}: no '{probe.headline}'"
            assert set(probe.measure(trained)) == set(found), f"{where}: other numbers of another version"

    def test_measuring_repeats_and_changes_nothing(self) -> None:
        model = tiny_views()[1].encoder
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for probe in self.make().build():
            with generator_untouched(f"probe '{probe.name}' changes torch's global generator"):
                first, second = probe.measure(tiny_views()[1]), probe.measure(tiny_views()[1])
            assert first == second, f"probe '{probe.name}' gives other numbers at the second time"
        after = model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items()), "the model was changed"
        assert not model.training, "the model was left in training mode"


def _pictures(probes: Sequence[Probe]) -> Iterator[Picture]:
    for probe in probes:
        yield from probe.pictures


@cache
def _world() -> tuple[Evaluator, list[ComposedRetriever]]:
    models = [tiny_retriever(Full()).eval(), tiny_retriever(Full()).eval()]
    nudge(models[1], 0.1)
    evaluator = Evaluator(
        tiny_domains(),
        (),
        split="test",
        pictures=PixelStore(Preprocess(SIZE)).images,
        tokenize=models[0].backbone.tokenize,
        composers={"own": models[0].composer},
    )
    return evaluator, models


def tiny_views() -> tuple[ModelView, ModelView]:
    """The untrained model, and one that was trained a little."""
    evaluator, models = _world()
    rows = [evaluator.row(model) for model in models]
    untrained = evaluator.view(lambda: models[0], 0, lambda: rows[0].galleries, rows[0].queries)
    older = [untrained]

    def earlier(version: int) -> VersionView:
        return older[version]

    trained = evaluator.view(lambda: models[1], 1, lambda: rows[1].galleries, rows[1].queries, earlier)
    return untrained, trained
