"""CIRCO as its annotations say, its numbers as the server's code makes them, and its file for the server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.cli import main
from clplat.data.records import Gallery, RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.evaluation.submissions import check
from clplat.runs.experiment import run
from clplat.testing import ScenarioContract
from clplat.testing.twins import circo
from scenarios.circo import CIRCO


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(circo(tmp_path_factory.mktemp("circo")))


class TestCIRCO(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> CIRCO:
        return CIRCO(self.root)


def public(held: RetrievalSet, entries: Any, queries: Tensor, gallery: Tensor) -> dict[str, list[float]]:
    """As the server measures, a query at a time, in floats of Python."""
    numbers = [int(item.key.rpartition("/")[2].partition(".")[0]) for item in held.gallery.items]
    gallery = gallery.double()
    out: dict[str, list[float]] = {f"{of}@{k}": [] for of in ("mAP", "R_main") for k in (5, 10, 25, 50)}
    for entry, row in zip(entries, queries.double(), strict=True):
        scores = gallery @ row  # those of the best 50, or as many, in the order of a stable sort of all
        kept = (scores >= scores.topk(min(50, len(scores))).values[-1]).nonzero()[:, 0]
        order = kept[torch.argsort(scores[kept], descending=True, stable=True)][:50].tolist()
        found = [numbers[i] for i in order]
        for k in (5, 10, 25, 50):
            hits, total = 0, 0.0
            for place, number in enumerate(found[:k], start=1):
                if number in entry["gt_img_ids"]:
                    hits += 1
                    total += hits / place
            out[f"mAP@{k}"].append(total / min(len(entry["gt_img_ids"]), k))
            out[f"R_main@{k}"].append(float(entry["target_img_id"] in found[:k]))
    return out


def compared(held: RetrievalSet, entries: Any, width: int) -> None:
    """Every metric, over all queries and over those of each aspect."""
    draw = torch.Generator().manual_seed(width)
    queries = torch.randn(len(held.queries), width, generator=draw)
    gallery = torch.randn(len(held.gallery.items), width, generator=draw)
    values, wanted = (
        measure(held, asked(held), queries, gallery).values,
        public(held, entries, queries, gallery),
    )
    for name, each in wanted.items():
        assert values[name].mean().item() == pytest.approx(sum(each) / len(each), abs=1e-8), name
    for aspect in {aspect for entry in entries for aspect in entry["semantic_aspects"]}:
        mine = [i for i, query in enumerate(held.queries) if query.tags.get(aspect) == "yes"]
        theirs = [
            w for w, e in zip(wanted["mAP@10"], entries, strict=True) if aspect in e["semantic_aspects"]
        ]
        assert values["mAP@10"][mine].mean().item() == pytest.approx(sum(theirs) / len(theirs), abs=1e-8)


def test_numbers_are_those_of_the_server(root: str) -> None:
    entries = json.loads((Path(root) / "annotations/val.json").read_text())
    compared(CIRCO(root).build()[0][0].val, entries, 4)


@pytest.mark.slow
def test_the_official_files_and_submissions(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared_data("circo")
    files = {name: json.loads((source / f"annotations/{name}.json").read_text()) for name in ("val", "test")}
    given = {n: json.loads((source / f"submission_examples/submission_{n}.json").read_text()) for n in files}
    named = {e["reference_img_id"] for held in files.values() for e in held}
    named |= {number for entry in files["val"] for number in entry["gt_img_ids"]}
    named |= {number for held in given["test"].values() for number in held}
    # COCO's own list is not among the files: the other names of a gallery as large are any other numbers.
    others = (number for number in range(1, 581930) if number not in named)
    numbers = sorted([*named, *islice(others, 123_403 - len(named))])
    coco = tmp_path / "COCO2017_unlabeled"
    (coco / "annotations").mkdir(parents=True)
    (tmp_path / "annotations").symlink_to(source / "annotations")
    listed = [{"file_name": f"{n:012d}.jpg", "id": n} for n in numbers]
    (coco / "annotations/image_info_unlabeled2017.json").write_text(json.dumps({"images": listed}))
    (coco / "unlabeled2017").mkdir()
    for number in numbers:
        os.close(os.open(coco / f"unlabeled2017/{number:012d}.jpg", os.O_CREAT))
    scenario = CIRCO(str(tmp_path))
    [domain] = scenario.build()[0]
    assert scenario.report["counts"] == scenario.published and scenario.remarks == []
    assert len(domain.val.gallery.items) == 123_403
    assert len({aspect for query in domain.val.queries for aspect in query.tags}) == 9
    assert domain.test.labels == "hidden" and all(query.targets == () for query in domain.test.queries)
    compared(domain.val, files["val"], 8)
    check(domain.test, {"circo": given["test"]}, "circo")
    fewer = Gallery("fewer", domain.test.gallery.items[:1000])
    with pytest.raises(UserError, match=r"query '0' has .*, which is not in the gallery"):
        check(replace(domain.test, gallery=fewer), {"circo": given["test"]}, "circo")
    with pytest.raises(UserError, match="circo must have one list for each of the 800 queries"):
        check(domain.test, {"circo": given["val"]}, "circo")


def test_test_is_ranked_and_written_as_the_server_takes_it(
    root: str, small_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "circo", "root": root, "text": "concept"},
        "strategy": "frozen",
        "probes": "none",
        "evaluation": {"split": "val"},
    }
    result = run(config, tmp_path / "run")
    assert result["protocol"]["name"] == "circo/concept" and "negation=yes" in result["tags"]
    assert result["sets"]["test"]["metrics"] == {}
    assert main(["submit", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    written = json.loads((tmp_path / "out/circo.json").read_text())
    assert list(written) == [str(i) for i in range(8)]
    assert all(len(set(found)) == 50 and all(isinstance(n, int) for n in found) for found in written.values())
    with pytest.raises(UserError, match=r"hides the labels of 'test'; choose --evaluation\.split val"):
        run(config | {"evaluation": {"split": "test"}}, tmp_path / "never")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: e.pop("shared_concept"), "it lacks '2.shared_concept'"),
        (lambda e: e.update(gt_ids=[]), "'2.gt_ids' Extra inputs"),
        (lambda e: e.pop("gt_img_ids"), "query 2: right answers belong to val"),
        (lambda e: e["gt_img_ids"].append(1), r"query 2: picture 1 is not in image_info_unlabeled2017\.json"),
        (lambda e: e.update(id=1), "query id 'circo/val/1' 2 times; once is allowed"),
    ],
)
def test_bad_entries_are_refused_with_the_place(
    tmp_path: Path, spoil: Callable[[Any], Any], message: str
) -> None:
    path = circo(tmp_path, pictures=12) / "annotations/val.json"
    held = json.loads(path.read_text())
    spoil(held[2])
    path.write_text(json.dumps(held))
    with pytest.raises(UserError, match=message):
        CIRCO(str(tmp_path)).build()
