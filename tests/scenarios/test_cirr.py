"""CIRR as its annotations say, its numbers as the public code makes them, and its two submission files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.cli import main
from clplat.data.records import RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.runs.experiment import run
from clplat.testing import ScenarioContract
from clplat.testing.twins import cirr
from scenarios.cirr import CIRR


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(cirr(tmp_path_factory.mktemp("cirr")))


class TestCIRR(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> CIRR:
        return CIRR(self.root)


def public(
    held: RetrievalSet, members: list[list[str]], queries: Tensor, gallery: Tensor
) -> dict[str, float]:
    """As the public codes measure: names by distance, the reference deleted, then the group's among them."""
    names = [Path(item.key).stem for item in held.gallery.items]
    hits: dict[str, list[bool]] = {f"R@{k}": [] for k in (1, 5, 10, 50)} | {
        f"R_sub@{k}": [] for k in (1, 2, 3)
    }
    for query, group, row in zip(held.queries, members, queries.double(), strict=True):
        assert query.reference is not None
        own, target = Path(query.reference.key).stem, Path(query.targets[0]).stem
        order = [names[i] for i in torch.argsort(1 - gallery.double() @ row, stable=True).tolist()]
        order.remove(own)
        inside = [name for name in order if name in group]
        for name, found in hits.items():
            of, k = name.split("@")
            found.append(target in (inside if of == "R_sub" else order)[: int(k)])
    return {name: 100 * sum(found) / len(found) for name, found in hits.items()}


def test_numbers_are_those_of_the_public_code(root: str) -> None:
    held = CIRR(root).build()[0][0].val
    entries = json.loads((Path(root) / "cirr/captions/cap.rc2.val.json").read_text())
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        queries, gallery = torch.randn(14, 6, generator=draw), torch.randn(60, 6, generator=draw)
        wanted = public(held, [e["img_set"]["members"] for e in entries], queries, gallery)
        values = measure(held, asked(held), queries, gallery).values
        assert {name: 100 * values[name].mean().item() for name in wanted} == pytest.approx(wanted, abs=1e-6)
        mean = (wanted["R@5"] + wanted["R_sub@1"]) / 2
        assert 100 * values["mean(R@5, R_sub@1)"].mean().item() == pytest.approx(mean, abs=1e-6)


def test_what_the_annotations_say_is_kept(root: str) -> None:
    scenario = CIRR(root)
    [domain] = scenario.build()[0]
    entries = json.loads((Path(root) / "cirr/captions/cap.rc2.val.json").read_text())
    assert [query.extra["target_soft"] for query in domain.val.queries] == [e["target_soft"] for e in entries]
    assert all(len(query.candidates or ()) == 5 for query in domain.val.queries)
    assert domain.sets["test1"].labels == "hidden" and len(domain.sets["test1"].gallery.items) == 60
    assert domain.train[0].extra["id"] == 12 and domain.train[0].reference.key.startswith(
        "cirr/train/7/train-"
    )
    assert scenario.remarks[0].startswith(
        "this is not the whole published benchmark: train/queries 14 of 28,225"
    )
    assert "test1" not in CIRR(root, hidden=False).build()[0][0].sets


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: e.pop("caption"), "it lacks '2.caption'"),
        (lambda e: e.pop("target_hard"), "entry 2: target_hard belongs to train and val"),
        (lambda e: e.update(reference="dev-9-9-img9"), "entry 2: 'dev-9-9-img9' is none of the split's"),
        (lambda e: e["img_set"]["members"].pop(), "entry 2: its group must be six pictures"),
        (lambda e: e.update(target_hard=e["reference"]), "its own reference 'cirr/dev/.*' as a right answer"),
    ],
)
def test_bad_entries_are_refused_with_the_place(
    tmp_path: Path, spoil: Callable[[Any], Any], message: str
) -> None:
    path = cirr(tmp_path, groups=3) / "cirr/captions/cap.rc2.val.json"
    held = json.loads(path.read_text())
    spoil(held[2])
    path.write_text(json.dumps(held))
    with pytest.raises(UserError, match=message):
        CIRR(str(tmp_path)).build()


def test_test1_is_ranked_and_written_as_the_server_takes_it(
    root: str, small_backbone: Path, tmp_path: Path
) -> None:
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "cirr", "root": root},
        "strategy": "frozen",
        "probes": "none",
        "evaluation": {"split": "val"},
    }
    result = run(config, tmp_path / "run")
    assert result["sets"]["test1"]["metrics"] == {} and "R_sub@1" in result["metrics"]
    assert main(["submit", str(tmp_path / "run"), "--split", "test1", "--to", str(tmp_path / "out")]) == 0
    entries = json.loads((Path(root) / "cirr/captions/cap.rc2.test1.json").read_text())
    for name, count in (("recall", 50), ("recall_subset", 3)):
        written = json.loads((tmp_path / f"out/{name}.json").read_text())
        assert written.pop("version") == "rc2" and written.pop("metric") == name
        assert list(written) == [str(entry["pairid"]) for entry in entries]
        for entry in entries:
            names = written[str(entry["pairid"])]
            assert len(set(names)) == count and entry["reference"] not in names
            assert name == "recall" or set(names) < set(entry["img_set"]["members"])
