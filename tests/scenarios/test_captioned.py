"""Captioned pictures: every format is one stream, both directions are exact, and time is TiC's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.config.recipes import recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.evaluation.evaluator import Evaluator
from clplat.evaluation.probes import image_text_recall
from clplat.parts import RetrievalProbe
from clplat.testing import ScenarioContract, tiny_collate, tiny_retriever, twins
from scenarios.captioned import Captioned

SETS = {"flickr30k": "flickr30k/dataset_flickr30k.json", "coco": "coco/dataset_coco.json"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("captioned")
    for name in SETS:
        twins.captioned(folder, name)
    for form in ("csv", "tsv", "jsonl", "coco"):
        twins.captioned(folder, "flickr30k", form)
    return str(folder)


class TestCaptioned(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> Captioned:
        return Captioned(
            self.root, SETS, outside={"outside": "coco/dataset_coco.json"}, pictures={"outside": "coco"}
        )


def held(scenario: Captioned) -> Any:
    return [
        (
            [(e.query.key, e.target.text) for e in d.train],
            {split: [(q.id, q.text, q.targets) for q in one.queries] for split, one in d.sets.items()},
        )
        for d in scenario.build()[0]
    ]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_table_is_the_stream_of_karpathys_file(form: str, root: str) -> None:
    theirs = Captioned(root, {"flickr30k": SETS["flickr30k"]})
    ours = Captioned(root, {"flickr30k": f"flickr30k/captions.{form}"})
    assert held(ours) == held(theirs)
    assert ours.fingerprint() == theirs.fingerprint()
    [domain] = ours.build()[0]
    assert (len(domain.train), len(domain.val.queries), len(domain.sets["test/i2t"].queries)) == (24, 8, 4)
    assert "flickr30k/train 12 of 29,000" in theirs.remarks[0]
    assert list(theirs.published) == list(theirs.report["counts"])


def test_cocos_captions_have_no_splits_and_get_them_by_name(root: str) -> None:
    scenario = Captioned(root, {"mine": "flickr30k/captions.json"}, held_out=0.3, validation=0.2)
    [domain] = scenario.build()[0]
    counts = [
        len({key.partition("#")[0] for key in keys})
        for keys in (
            [e.id for e in domain.train],
            [q.id for q in domain.val.queries],
            [q.id for q in domain.test.queries],
        )
    ]
    assert sum(counts) == 20 and min(counts) > 0 and scenario.remarks == []


def test_both_directions_and_both_galleries_by_hand(root: str) -> None:
    """R@K in float64, a sort per query; a picture is found by any of its captions."""
    domains, _ = Captioned(root, SETS).build()
    model, collate = tiny_retriever().eval(), tiny_collate()
    shown, tokenize = collate.pixels.images, collate.tokenize
    evaluator = Evaluator(
        domains, [], split="test", pictures=shown, tokenize=tokenize, composers={"own": None}
    )
    row = evaluator.row(model)
    found = {"test": row.metrics} | {name: one.metrics for name, one in row.sets.items()}
    assert set(found) == {"test", "test/i2t", "test/t2i-union", "test/i2t-union"}
    pictures = {
        i.key: i.picture for d in domains for i in d.sets["test/t2i-union"].gallery.items if i.picture
    }
    texts = {i.key: i.text for d in domains for i in d.sets["test/i2t-union"].gallery.items if i.text}
    with torch.no_grad():
        seen = dict(zip(pictures, model.encode_images(shown(list(pictures.values()))).double(), strict=True))
        read = dict(zip(texts, model.encode_texts(tokenize(list(texts.values()))).double(), strict=True))
    for number, domain in enumerate(domains):
        own = [key for key in pictures if f"/{domain.name}/" in key]
        for name in found:
            asks, answers = (read, seen) if name in ("test", "test/t2i-union") else (seen, read)
            there = [key for key in answers if name.endswith("union") or key.partition("#")[0] in own]
            queries = [key for key in asks if key.partition("#")[0] in own]
            hits = [by_hand(asks[q], {a: answers[a] for a in there}, q, k=5) for q in queries]
            assert found[name]["R@5"][number] == pytest.approx(100 * sum(hits) / len(hits), abs=1e-6), name


def by_hand(asked: torch.Tensor, answers: dict[str, torch.Tensor], query: str, k: int) -> bool:
    order = sorted(answers, key=lambda key: -float(asked @ answers[key]))
    return any(key.partition("#")[0] == query.partition("#")[0] for key in order[:k])


def test_a_probe_of_several_captions_counts_each_of_them() -> None:
    draw = torch.Generator().manual_seed(0)
    images, texts = torch.randn(7, 8, generator=draw), torch.randn(17, 8, generator=draw)
    owners = [i % 7 for i in range(17)]
    found = image_text_recall(images, texts, ks=(1, 3), owners=owners)
    scores = images.double() @ texts.double().T
    for k in (1, 3):
        i2t = [any(owners[t] == i for t in scores[i].argsort(descending=True)[:k].tolist()) for i in range(7)]
        t2i = [owners[t] in scores[:, t].argsort(descending=True)[:k].tolist() for t in range(17)]
        assert found[f"i2t R@{k}"] == pytest.approx(100 * sum(i2t) / 7)
        assert found[f"t2i R@{k}"] == pytest.approx(100 * sum(t2i) / 17)
    with pytest.raises(ValueError, match="each of 17 texts needs one of 8 pictures"):
        image_text_recall(torch.randn(8, 8, generator=draw), texts, owners=owners)


def test_outside_the_stream_is_a_zero_shot_probe(root: str) -> None:
    scenario = Captioned(root, {"flickr30k": SETS["flickr30k"]}, outside={"coco": SETS["coco"]})
    [probe] = scenario.build()[1]
    assert isinstance(probe, RetrievalProbe) and probe.group == "zero-shot"
    assert (len(probe.pictures), len(probe.texts), probe.owners) == (4, 8, (0, 0, 1, 1, 2, 2, 3, 3))


def years(keys: Sequence[str]) -> set[int]:
    return {2014 + int(key.partition(".jpg")[0][-4:]) % 4 for key in keys}


def test_time_makes_a_domain_of_each_year_or_period(root: str) -> None:
    tables = {"flickr30k": "flickr30k/captions.csv"}
    by_year = Captioned(root, tables, by="time").build()[0]
    assert [domain.name for domain in by_year] == ["2014", "2015", "2016", "2017"]
    for domain in by_year:
        assert years([e.query.key for e in domain.train] + [q.id for q in domain.test.queries]) == {
            int(domain.name)
        }
    late, early = Captioned(root, tables, by="time", periods=["2016-2017", "2014"]).build()[0]
    assert years([e.query.key for e in late.train]) == {2016, 2017} and years(
        [e.id for e in early.train]
    ) == {2014}
    assert [d.name for d in Captioned(root, tables, by="column").build()[0]] == ["flickr30k-0", "flickr30k-1"]


@pytest.mark.parametrize("name", ["vlcl", "tic_yfcc", "tic_redcaps"])
def test_published_streams_are_made_of_their_tables(name: str, root: str, tmp_path: Path) -> None:
    config = dict(recipe(name).config["scenario"])
    for number, (table, path) in enumerate(config["tables"].items()):
        form = "karpathy" if path.endswith(f"dataset_{table}.json") else Path(path).suffix[1:]
        twins.captioned(tmp_path, table, form, seed=number)
        if "captions" not in Path(path).name and form != "karpathy":
            (tmp_path / table / f"captions.{form}").rename(tmp_path / path)
    if config.get("by") == "time":
        config["periods"] = ["2014-2015", "2016", "2017"]
    scenario = resolve({"scenario": config | {"root": str(tmp_path)}}).make("scenario")
    domains, _ = scenario.build()
    assert len(domains) == (8 if name == "vlcl" else 3)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.json", '{"images": [{"filename": "1.jpg"}]}', "an image without 'filename' or 'sentences'"),
        ("a.json", '{"images": [], "annotations": []}', "holds no captions"),
        (
            "a.json",
            '{"images": [], "annotations": [{"image_id": 3}]}',
            "annotation is of image 3, which is not",
        ),
        (
            "a.csv",
            "picture,words\n1.jpg,hello\n",
            r"no column for the caption \(usual: caption.*columns '{caption: NAME}'",
        ),
        ("a.csv", "picture,caption\n1.jpg,\n", "entry 1: picture '1.jpg' has an empty caption"),
        (
            "a.csv",
            "picture,caption,split\n1.jpg,hi,tests\n",
            r"entry 1: unknown split 'tests' \(allowed: train",
        ),
        (
            "a.csv",
            "picture,caption,split\n1.jpg,hi,train\n1.jpg,ho,test\n",
            "entry 2: picture '1.jpg' is in test here",
        ),
    ],
)
def test_a_bad_file_gets_one_clear_line(file: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        Captioned(str(tmp_path), {"mine": file}).build()
    assert "\n" not in str(caught.value)


def test_times_are_years_dates_or_seconds(tmp_path: Path) -> None:
    rows = [
        {"image": f"{i}.jpg", "text": f"thing {i}", "date": d}
        for i, d in enumerate([d for d in ("2013", "2013-05-02T10:00:00", 1388000000) for _ in range(20)])
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for i in range(60):
        (tmp_path / f"{i}.jpg").touch()
    [domain] = Captioned(str(tmp_path), {"mine": "a.jsonl"}, by="time").build()[0]
    assert domain.name == "2013"
    with pytest.raises(UserError, match="no picture is of the period 1999"):
        Captioned(str(tmp_path), {"mine": "a.jsonl"}, by="time", periods=["1999", "2013"]).build()
    with pytest.raises(UserError, match="'2013-1999' is no period of years"):
        Captioned(str(tmp_path), {"mine": "a.jsonl"}, by="time", periods=["2013-1999"]).build()


def test_a_missing_picture_is_refused_or_declared(tmp_path: Path) -> None:
    twins.captioned(tmp_path, "coco")
    next((tmp_path / "coco/images").glob("*0003.jpg")).unlink()
    tables = {"coco": SETS["coco"]}
    with pytest.raises(
        UserError, match="captioned: 1 of 20 pictures are missing: captioned/coco/images/coco_00003"
    ):
        Captioned(str(tmp_path), tables).build()
    declared = Captioned(str(tmp_path), tables, missing="declare")
    [domain] = declared.build()[0]
    assert len(domain.test.queries) == 6 and len(domain.sets["test/i2t"].queries) == 3
    assert "left out: 3 queries" in declared.remarks[-1]
    twins.captioned(tmp_path, "flickr30k")
    around = {"tables": {"flickr30k": SETS["flickr30k"]}, "outside": tables}
    with pytest.raises(
        UserError, match="1 pictures of outside 'coco' are missing: captioned/coco/images/coco_00003"
    ):
        Captioned(str(tmp_path), **around).build()  # type: ignore[arg-type]
    left = Captioned(str(tmp_path), **around, missing="declare")  # type: ignore[arg-type]
    assert len(left.build()[1][0].pictures) == 3
    assert left.remarks[-1] == "1 pictures of outside 'coco' are missing"
