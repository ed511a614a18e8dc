"""LaSCo, read from a folder in its official layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.testing import ScenarioContract
from clplat.testing.twins import lasco
from scenarios.lasco import LaSCo


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lasco(tmp_path_factory.mktemp("lasco"))


class TestLaSCo(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: Path) -> None:
        self.root = root

    def make(self) -> LaSCo:
        return LaSCo(str(self.root))


def test_the_corpus_is_joined_with_queries_by_id(root: Path) -> None:
    (domain,), _ = LaSCo(str(root)).build()
    entries = json.loads((root / "lasco_val.json").read_text())
    gallery = {item.key for item in domain.val.gallery.items}
    for query, entry in zip(domain.val.queries, entries, strict=True):
        assert query.id == str(entry["qid"]) and query.text == entry["query-text"]
        assert query.targets == (f"lasco/{entry['target-image'][1]}",)
        assert query.reference is not None and query.reference.key == f"lasco/{entry['query-image'][1]}"
        assert query.reference.key in gallery, "one picture has two names"
    assert len(domain.train) == 10 and list(domain.sets) == ["val"]


def _other_form(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "qid": entry["qid"],
        "query-text": entry["query-text"],
        "query-image-id": entry["query-image"][0],
        "query-image-path": entry["query-image"][1],
        "target-image-id": entry["target-image"][0],
        "target-image-path": entry["target-image"][1],
    }


def test_both_published_forms_are_the_same_stream(root: Path, tmp_path: Path) -> None:
    twin = lasco(tmp_path)
    for name in ("lasco_train.json", "lasco_val.json"):
        entries = json.loads((twin / name).read_text())
        (twin / name).write_text(json.dumps([_other_form(entry) for entry in entries]))
    assert LaSCo(str(twin)).fingerprint() == LaSCo(str(root)).fingerprint()


def test_fewer_training_triplets_are_the_first(root: Path) -> None:
    first = LaSCo(str(root), train=4).build()[0][0].train
    assert list(first) == list(LaSCo(str(root)).build()[0][0].train[:4])
    assert len(LaSCo(str(root), train=0).build()[0][0].train) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"target-image": [77777, "val2014/x.jpg"]}, "target 77777 of query .* is not in the corpus"),
        ({"query-text": 3}, "entry 2: query-text is no text"),
        ({"qid": None, "target-image": [1]}, "entry 2: not enough values to unpack"),
    ],
)
def test_entries_that_do_not_fit_are_refused(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = lasco(tmp_path) / "lasco_val.json"
    entries = json.loads(path.read_text())
    entries[2] |= change
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=why):
        LaSCo(str(tmp_path)).build()


def test_an_entry_without_a_text_is_refused(tmp_path: Path) -> None:
    path = lasco(tmp_path) / "lasco_train.json"
    entries = json.loads(path.read_text())
    del entries[1]["query-text"]
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match="entry 1: it has no 'query-text'"):
        LaSCo(str(tmp_path)).build()
