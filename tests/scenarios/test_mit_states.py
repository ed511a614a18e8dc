"""MIT-States, read from folders in their official layout; recall against TIRG's rule by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.testing import ScenarioContract
from clplat.testing.twins import mit_states
from scenarios.mit_states import MITStates


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mit_states(tmp_path_factory.mktemp("states"))


class TestMITStates(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: Path) -> None:
        self.root = root

    def make(self) -> MITStates:
        return MITStates(str(self.root), train=20, also=["adjective", "noun"])


def test_a_query_is_each_other_state_of_a_held_out_noun(root: Path) -> None:
    (domain,), _ = MITStates(str(root), train=20).build()
    assert len(domain.test.queries) == 3 * 3 * 2 + 2 * 3 * 1, "fish has three states, tea two"
    assert {example.groups["noun"] for example in domain.train} == {"apple", "door"}
    for example in domain.train:
        old, new = ((item.caption or "").split() for item in (example.reference, example.target.picture))  # type: ignore[union-attr]
        assert old[1] == new[1] and old[0] != new[0] == example.text
    assert not any("adj" in item.key for item in domain.test.gallery.items)


@pytest.mark.parametrize("name", ["test", "test/adjective", "test/noun"])
def test_recall_is_that_of_tirg(root: Path, name: str) -> None:
    held = MITStates(str(root), train=20, also=["adjective", "noun"]).build()[0][0].sets[name]
    draw = torch.Generator().manual_seed(3)
    queries = torch.nn.functional.normalize(torch.randn(len(held.queries), 8, generator=draw), dim=1)
    gallery = torch.nn.functional.normalize(torch.randn(len(held.gallery.items), 8, generator=draw), dim=1)
    values = measure(held, asked(held), queries, gallery).values
    captions = [item.picture.caption for item in held.gallery.items if item.picture is not None]
    rows = {item.key: i for i, item in enumerate(held.gallery.items)}
    for k in (1, 5, 10):
        hits = 0
        for query, embedding in zip(held.queries, queries.double().numpy(), strict=True):
            scores = gallery.double().numpy() @ embedding
            assert query.reference is not None and query.text is not None
            scores[rows[query.reference.key]] = -1e10
            shown = [(captions[i] or "").split() for i in np.argsort(-scores)[:k]]
            wanted = [query.text, query.tags["noun"]]
            places = {"test": (0, 1), "test/adjective": (0,), "test/noun": (1,)}[name]
            hits += any(all(words[i] == wanted[i] for i in places) for words in shown)
        assert float(values[f"R@{k}"].double().mean()) == pytest.approx(hits / len(held.queries), abs=1e-6)


def test_words_for_the_change_are_an_option(root: Path) -> None:
    domain = MITStates(str(root), train=5, text="the same, but {adjective}").build()[0][0]
    assert all(example.text.startswith("the same, but ") for example in domain.train)
    with pytest.raises(ValueError, match=r"text needs \{adjective\} in it, not 'changed'"):
        MITStates(str(root), text="changed")


def test_a_root_without_such_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images" / "red fish").mkdir(parents=True)
    with pytest.raises(UserError, match="has no folder '<adjective> <noun>' of a noun for training"):
        MITStates(str(tmp_path)).build()
    with pytest.raises(UserError, match="mit_states: no such folder"):
        MITStates(str(tmp_path / "nowhere")).refuse_missing()
