"""Fashion200k, read from a folder in its official layout; recall and words by TIRG's rules by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.testing import ScenarioContract
from clplat.testing.twins import fashion200k
from scenarios.fashion200k import Fashion200k


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fashion200k(tmp_path_factory.mktemp("fashion200k"))


class TestFashion200k(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: Path) -> None:
        self.root = root

    def make(self) -> Fashion200k:
        return Fashion200k(str(self.root), train=20)


def captions(root: Path, split: str) -> dict[str, str]:
    found = {}
    for path in sorted((root / "labels").glob(f"*{split}*")):
        for line in path.read_text().splitlines():
            name, _, said = line.split("\t")
            found[f"fashion200k/{name}"] = said.replace("&", "andmark")
    return found


def by_hand(source: str, target: str) -> str:
    gone = [word for word in source.split() if word not in target.split()] + [source.split()[-1]]
    come = [word for word in target.split() if word not in source.split()] + [target.split()[-1]]
    return f"replace {gone[0]} with {come[0]}"


@pytest.mark.parametrize(
    "options", [{}, {"gallery": "category"}, {"domains": "one"}], ids=["all", "category", "one"]
)
def test_recall_is_that_of_tirg(root: Path, options: dict[str, Any]) -> None:
    said = captions(root, "test")
    pairs = [line.split() for line in (root / "test_queries.txt").read_text().splitlines()]
    domains, _ = Fashion200k(str(root), train=20, **options).build()
    assert sum(len(domain.test.queries) for domain in domains) == len(pairs) == 16
    draw = torch.Generator().manual_seed(3)
    for domain in domains:
        held = domain.test
        keys = [item.key for item in held.gallery.items]
        queries = torch.nn.functional.normalize(torch.randn(len(held.queries), 8, generator=draw), dim=1)
        gallery = torch.nn.functional.normalize(torch.randn(len(keys), 8, generator=draw), dim=1)
        values = measure(held, asked(held), queries, gallery).values
        for k in (1, 5, 10):
            hits = 0
            for query, embedding in zip(held.queries, queries.double().numpy(), strict=True):
                one, other = (f"fashion200k/{name}" for name in pairs[int(query.id) - 1])
                assert query.reference is not None and query.reference.key == one
                assert query.text == by_hand(said[one], said[other])
                scores = gallery.double().numpy() @ embedding
                scores[keys.index(one)] = -1e10
                hits += said[other] in [said[keys[i]] for i in np.argsort(-scores)[:k]]
            assert float(values[f"R@{k}"].double().mean()) == pytest.approx(
                hits / len(held.queries), abs=1e-6
            )


def test_training_triplets_change_one_word(root: Path) -> None:
    said = captions(root, "train")
    for domain in Fashion200k(str(root), train=60).build()[0]:
        assert len(domain.train) == 60
        for example in domain.train:
            one, other = said[example.reference.key], said[example.target.key]
            assert example.text == by_hand(one, other) and example.label == other
            assert sum(a != b for a, b in zip(one.split(), other.split(), strict=True)) == 1
            assert domain.name in one
        assert len({example.text for example in domain.train}) > 5


@pytest.mark.parametrize(
    ("file", "line", "why"),
    [
        (
            "test_queries.txt",
            "women/a.jpeg women/b.jpeg",
            r"line 1: 'women/a.jpeg' is in no file of test labels",
        ),
        ("test_queries.txt", "women/a.jpeg", "line 1: two paths are expected"),
        (
            "labels/dress_test_detect_all.txt",
            "women/a.jpeg 0.9 red",
            "line 1: it needs a path, a score and a",
        ),
    ],
)
def test_lines_that_do_not_fit_are_refused(file: str, line: str, why: str, tmp_path: Path) -> None:
    path = fashion200k(tmp_path) / file
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UserError, match=why):
        Fashion200k(str(tmp_path)).build()


def test_a_single_domain_has_a_single_gallery(root: Path) -> None:
    with pytest.raises(ValueError, match="a single domain has a single gallery"):
        Fashion200k(str(root), domains="one", gallery="category")
