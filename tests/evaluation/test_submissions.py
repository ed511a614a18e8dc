"""Submissions hold what the lists say, and what a server would refuse is refused here, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clplat.data.records import Gallery, Picture, Protocol, Query, RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import asked
from clplat.evaluation.lists import Lists, best_of, load_lists, save_lists
from clplat.evaluation.submissions import check, contents, write


def picture(i: int) -> Picture:
    return Picture(f"test1/test1-{i}-0-img1.png", lambda: Image.new("RGB", (4, 4)))


@pytest.fixture
def held() -> RetrievalSet:
    """Hidden queries in the manner of CIRR: a group of six with the reference in it."""
    gallery = Gallery("test1", [picture(i) for i in range(60)])
    keys = [item.key for item in gallery.items]
    queries = tuple(
        Query(f"cirr/{i}", picture(i), "red", (), candidates=tuple(keys[i : i + 6]), extra={"id": i})
        for i in range(5)
    )
    return RetrievalSet(queries, gallery, Protocol("cirr"), labels="hidden")


@pytest.fixture
def lists(held: RetrievalSet) -> Lists:
    draw = torch.Generator().manual_seed(0)
    q, g = torch.randn(5, 8, generator=draw), torch.randn(60, 8, generator=draw)
    rows = asked(held)
    return replace(best_of(q, g, rows.exclude), own=best_of(q, g, rows.exclude, among=rows.candidates))


def test_the_files_of_cirr_and_circo(held: RetrievalSet, lists: Lists, tmp_path: Path) -> None:
    save_lists(tmp_path / "0.safetensors", {"test": {"cirr": lists}})
    kept = load_lists(tmp_path / "0.safetensors")["test"]["cirr"]
    paths = write(tmp_path / "out", held, kept, "cirr")
    recall, subset = (json.loads(path.read_text()) for path in paths)
    assert [path.name for path in paths] == ["recall.json", "recall_subset.json"]
    assert recall["version"] == subset["version"] == "rc2" and subset["metric"] == "recall_subset"
    assert recall["3"] == [f"test1-{g}-0-img1" for g in lists.rows[3].tolist()] and len(recall["3"]) == 50
    assert lists.own is not None
    assert subset["3"] == [f"test1-{g}-0-img1" for g in lists.own.rows[3, :3].tolist()]
    assert set(subset["3"]) < {f"test1-{g}-0-img1" for g in range(4, 9)}, "its group without the reference"
    [(name, circo)] = contents(held, lists, "circo").items()
    assert name == "circo" and set(circo) == {"0", "1", "2", "3", "4"} and circo["3"] == recall["3"]


def spoiled(file: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda written: change(written[file])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("recall_subset"), "recall_subset must have one list for each of the 5 queries"),
        (spoiled("recall", lambda f: f.pop("version")), "recall must have one list"),
        (spoiled("recall", lambda f: f.pop("2")), "recall must have one list"),
        (spoiled("recall", lambda f: f.update({"9": f["2"]})), "recall must have one list"),
        (spoiled("recall", lambda f: f["2"].pop()), "recall: query '2' needs 50 different names"),
        (spoiled("recall_subset", lambda f: f["2"].__setitem__(0, f["2"][1])), "query '2' needs 3 different"),
        (spoiled("recall", lambda f: f["2"].__setitem__(0, "lost")), "'2' has 'lost', which is not in the"),
        (
            spoiled("recall", lambda f: f["2"].__setitem__(0, "test1-2-0-img1")),
            "'2' has its own reference 'test1-2-0-img1'",
        ),
    ],
)
def test_what_a_server_would_refuse_is_refused(
    held: RetrievalSet, lists: Lists, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    written = contents(held, lists, "cirr")
    check(held, written, "cirr")
    spoil(written)
    with pytest.raises(UserError, match=message) as error:
        check(held, written, "cirr")
    assert "\n" not in str(error.value)


def test_sets_that_a_format_cannot_hold(held: RetrievalSet, lists: Lists, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown format of submissions 'ciro'; did you mean 'circo'"):
        contents(held, lists, "ciro")
    with pytest.raises(UserError, match="these queries have none"):
        contents(held, replace(lists, own=None), "cirr")
    named = replace(held, queries=tuple(replace(q, extra={}) for q in held.queries))
    with pytest.raises(UserError, match="circo numbers its queries from 0 to 4; the first here is 'cirr/0'"):
        contents(named, lists, "circo")
    with pytest.raises(
        UserError, match=r"there is no .*7\.safetensors: no such version, or one of release 0\.1\.0"
    ):
        load_lists(tmp_path / "7.safetensors")
