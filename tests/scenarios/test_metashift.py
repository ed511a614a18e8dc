"""MetaShift: contexts in sequence, complete right answers, and pictures of one thing alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from clplat.config.recipes import recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.testing import ScenarioContract, twins
from scenarios.metashift import Metashift

CONTEXTS = ["sofa", "laptop", "bench"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(twins.metashift(tmp_path_factory.mktemp("metashift")))


def small(root: str, **more: object) -> Metashift:
    return Metashift(root, ["cat", "dog"], CONTEXTS, **{"least": 10, "train": 20, "queries": 12, **more})  # type: ignore[arg-type]


class TestMetashift(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> Metashift:
        return small(self.root)


def test_answers_are_all_pictures_of_the_thing_in_the_context(root: str) -> None:
    held = pickle.loads((Path(root) / "full-candidate-subsets.pkl").read_bytes())
    both = held["cat(sofa)"] & held["dog(sofa)"]
    assert len(both) == 1
    for place, domain in enumerate(small(root).build()[0]):
        there = {key.partition("/")[2] for key in (item.key for item in domain.test.gallery.items)}
        assert not there & both
        for query in domain.test.queries:
            wanted = held[f"{query.tags['thing']}({domain.name})"] & there
            assert {key.partition("/")[2] for key in query.targets} == wanted
            assert query.reference is not None and query.reference.key.partition("/")[2] not in wanted
            assert domain.name in (query.text or "")
        for triplet in domain.train:
            thing = triplet.label.partition("(")[0]
            sources = set().union(*(held[f"{thing}({c})"] for c in CONTEXTS[:place] or CONTEXTS[1:2]))
            assert triplet.reference.key.partition("/")[2] in sources
            assert triplet.target.key.partition("/")[2] in held[f"{thing}({domain.name})"]


def test_the_published_stream_and_what_is_not_there(root: str, tmp_path: Path) -> None:
    config = dict(recipe("metashift").config["scenario"])
    twins.metashift(tmp_path, config["subjects"], config["contexts"], each=30)
    scenario = resolve({"scenario": config | {"root": str(tmp_path), "train": 5}}).make("scenario")
    assert [domain.name for domain in scenario.build()[0]] == config["contexts"]
    with pytest.raises(UserError, match="unknown thing 'hat'; did you mean 'cat'"):
        Metashift(root, ["cat", "hat"], CONTEXTS).build()
    with pytest.raises(UserError, match="no thing has 20 pictures with context 'moon'; lower least"):
        Metashift(root, ["cat", "dog"], ["sofa", "laptop", "moon"], least=20).build()
    (tmp_path / "full-candidate-subsets.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"is no file of MetaShift: it wants to run os\.system"):
        Metashift(str(tmp_path), ["cat"], CONTEXTS).build()
