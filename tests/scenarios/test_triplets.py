"""A table of one's own: equal in every format, complete, and wrong cells are named by their rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from clplat.errors import UserError
from clplat.testing import ScenarioContract
from clplat.testing.twins import FORMS, triplets
from clplat.testing.twins._drawing import put
from scenarios.triplets import Triplets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same stream in every format."""
    folder = tmp_path_factory.mktemp("tables")
    for form in FORMS:
        triplets(folder, form)
    return folder


class TestTriplets(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> Triplets:
        return Triplets(str(self.folder / "data.jsonl"))


class TestTripletsInShards(TestTriplets):
    def make(self) -> Triplets:
        return Triplets(str(self.folder / "shards"))


def test_every_format_gives_the_same_stream(folder: Path) -> None:
    prints = {Triplets(str(triplets(folder, form))).fingerprint() for form in FORMS}
    assert len(prints) == 1


def write(folder: Path, *lines: str, name: str = "data.csv") -> str:
    """A table of lines, beside pictures of the names a.png to f.png."""
    folder.mkdir(exist_ok=True)
    for letter in "abcdef":
        put(folder / f"{letter}.png")
    (folder / name).write_bytes("\r\n".join(lines).encode())
    return str(folder / name)


HEAD = "reference,text,target,split"
GOOD = ("a.png,red,b.png,train", "c.png,blue,d.png,val", "e.png,green,f.png,test")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEAD, *GOOD, "a.png,red"], r"data.csv, row 4: 2 cells, but the header names 4 columns"),
        ([HEAD, *GOOD, "a.png,,b.png,train"], r"row 4: column 'text' is empty, as in 1 of 4 .*partial true"),
        ([HEAD, *GOOD, "a.png,red,NaN,train"], r"row 4: column 'target' is empty"),
        ([HEAD, *GOOD, "a.png,red,b.png,trian"], r"row 4: unknown split 'trian'; did you mean 'train'"),
        ([HEAD, *GOOD, 'a.png,"red,b.png,train'], r"row 4: .*cells, but the header"),
        ([HEAD, *GOOD, 'a.png,red,"[""b.png""",train'], r"row 4: column 'target' begins as a JSON list"),
        ([HEAD], r"has a header and no rows|has no rows"),
        (["picture,text,to", "a,b,c"], r"no column is the target.*--scenario.columns.*its columns: picture"),
        (["target,more", "a,b"], r"no column is the reference or the text; name them: .*NAME, text: NAME}'"),
        (
            ["reference,words,target", "a,b,c"],
            r"no column is the text; name it: .*'{text: NAME}', or an empty",
        ),
        (
            ["text,shown,target", "a,b,c"],
            r"no column is the reference; name it: .*\(its columns: text, shown",
        ),
        ([HEAD + ",split", *GOOD], r"the header has 'split' twice"),
        ([HEAD, *GOOD, "zz.png,red,b.png,train"], r"1 of 7 pictures are missing: triplets/zz.png"),
        ([HEAD, *GOOD, "e.png,red,a.png,train"], r"gallery pictures are also trained on: triplets/e.png"),
        ([HEAD + ",weight", *(line + ",x" for line in GOOD)], r"row 1: column 'weight' holds 'x'"),
    ],
)
def test_a_wrong_table_gets_one_clear_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Triplets(write(tmp_path / "t", *lines)).build()
    assert "\n" not in str(caught.value)


def test_a_table_of_pictures_alone_says_so_and_what_has_no_role_is_said(tmp_path: Path) -> None:
    lines = [",".join(cell for i, cell in enumerate(line.split(",")) if i != 1) for line in GOOD]
    path = write(tmp_path / "t", "reference,to,split", *lines)
    scenario = Triplets(path, columns={"text": "", "target": "to"})
    assert all(example.query.text is None for example in scenario.build()[0][0].train)
    assert scenario.remarks == []
    path = write(tmp_path / "u", HEAD + ",shop", *(line + ",x" for line in GOOD))
    assert Triplets(path).remarks == ["columns of data.csv without a role: shop"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"reference": "a.png"', ""], r"row 1 is no JSON"),
        (["[1, 2]"], r"row 1: a row must be an object, not 1"),
        (['{"reference": "a.png", "text": "x", "target": NaN}'], r"row 1: column 'target' is empty"),
        (
            ['{"reference": "a.png", "text": "x", "target": [["b"]]}'],
            r"row 1: column 'target' has a list of more",
        ),
        (['{"reference": "a.png", "text": "x", "target": ["b.png", ""]}'], r"row 1: .*an empty entry"),
    ],
)
def test_wrong_json_gets_one_clear_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Triplets(write(tmp_path / "t", *lines, name="data.jsonl")).build()


def test_mistyped_names_get_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "t", HEAD, *GOOD)
    with pytest.raises(UserError, match=r"no such table: .*did you mean 'data.csv'"):
        Triplets(str(tmp_path / "t" / "dta.csv")).build()
    with pytest.raises(UserError, match=r"unknown column of data.csv .*did you mean 'target'"):
        Triplets(path, columns={"target": "traget"}).build()
    with pytest.raises(ValueError, match="unknown role in columns 'refrence'; did you mean 'reference'"):
        Triplets(path, columns={"refrence": "a"})
    with pytest.raises(UserError, match="unknown domain 'al'; did you mean 'all'"):
        Triplets(path, order=["al"]).build()


def test_lists_cells_and_names_are_read_as_they_are_meant(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t",
        "\ufeffref;words;answers;split;colour;w",
        "a.png;rouge, plus clair|très rouge;b.png|c.png;train;red;2",
        "",
        "d.png;blau;e.png|f.png;TEST;blue;",
    )
    roles = {"text": "words", "tags": "colour", "weight": "w", "groups": "colour"}
    scenario = Triplets(path, columns=roles, separator="|", metrics=["R@1"], primary="R@1")
    ((domain,), _) = scenario.build()
    assert [example.text for example in domain.train] == ["rouge, plus clair", "très rouge"]
    one = domain.train[0]
    assert one.weight == 2 and dict(one.groups) == {"colour": "red"} and one.id == "1/0"
    assert [(n.item.key, n.label, n.kind) for n in one.negatives] == [
        ("triplets/c.png", "triplets/b.png", "positive")
    ]
    (query,) = domain.test.queries
    assert query.targets == ("triplets/e.png", "triplets/f.png") and query.tags == {"colour": "blue"}
    assert "val" not in domain.sets and domain.test.protocol.name == "triplets/domain-union/split-by-column"
    assert scenario.report["columns"]["reference"] == "ref"


def pairs(count: int, chain: bool = False) -> list[str]:
    """Rows without splits: each of two pictures of its own, or each beginning where the last one ended."""
    step = 1 if chain else 2
    return [f"p{step * i},more,p{step * i + 1},{2000 + i % 7}-01-0{1 + i % 9}" for i in range(count)]


def test_no_picture_is_in_two_splits(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    path = tmp_path / "t" / "data.csv"
    head = "reference,text,target,time"
    path.write_text("\n".join([head, *pairs(200)]))
    whole = Triplets(str(path), missing="refuse")
    with pytest.raises(UserError, match=r"400 of 400 pictures are missing|no query is left"):
        whole.build()
    for i in range(401):
        put(tmp_path / "t" / f"p{i}.png") if i < 2 else os.link(
            tmp_path / "t/p0.png", tmp_path / f"t/p{i}.png"
        )
    ((domain,), _) = Triplets(str(path)).build()
    sizes = [len(domain.train), len(domain.val.queries), len(domain.test.queries)]
    assert sum(sizes) == 200 and sizes[0] > 90 and min(sizes) > 10
    path.write_text("\n".join([head, *reversed(pairs(200))]))
    ((again,), _) = Triplets(str(path)).build()
    assert {e.reference.key for e in again.train} == {e.reference.key for e in domain.train}
    path.write_text("\n".join([head, *pairs(200, chain=True)]))
    with pytest.raises(
        UserError, match=r"200 of 200 rows share pictures.*split_by pictures, which keeps the \d+"
    ):
        Triplets(str(path)).build()
    crossing = Triplets(str(path), split_by="pictures")
    ((left,), _) = crossing.build()
    kept = len(left.train) + len(left.val.queries) + len(left.test.queries)
    assert 60 < kept < 120 and f"{200 - kept} of 200 rows" in crossing.remarks[0]


def test_time_makes_domains_of_equal_size(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).permutation(
        [f"a.png,red,b.png,train,{year}" for year in range(2000, 2030)]
    )
    tests = [f"c.png,blue,d.png,test,{year}-06-01" for year in (2001, 2012, 2025)]
    dated = [f"{row}-05-31" for row in rows]
    path = write(tmp_path / "t", HEAD + ",time", *dated, *tests)
    scenario = Triplets(path, periods=3)
    assert [len(domain.train) for domain in scenario.build()[0]] == [10, 10, 10]
    assert scenario.report["periods"]["period-1"] == ["2000-05-31", "2009-05-31"]
    with pytest.raises(UserError, match="row 31: 'soon' is no time"):
        Triplets(
            write(tmp_path / "t", HEAD + ",time", *dated, "a.png,red,b.png,train,soon"), periods=3
        ).build()


def test_a_gallery_of_its_own(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t", "reference,text,target,split", "a.png,red,b.png,train", "e.png,green,sku,test"
    )
    items = tmp_path / "t" / "items.csv"
    items.write_text("name,picture,text\nsku,f.png,a shoe\nwords,,only words\nc,c.png,\na.png,a.png,\n")
    scenario = Triplets(path, gallery=str(items))
    ((domain,), _) = scenario.build()
    assert [(i.key, i.picture and i.picture.key, i.text) for i in domain.test.gallery.items] == [
        ("triplets/sku", "triplets/f.png", "a shoe"),
        ("triplets/words", None, "only words"),
        ("triplets/c.png", "triplets/c.png", None),
    ]
    assert domain.test.protocol.name == "triplets/gallery-items/split-by-column"
    assert scenario.remarks == ["1 items of gallery items.csv are left out: they are trained on"]
    pictures = Triplets(write(tmp_path / "t", HEAD, *GOOD), gallery=str(tmp_path / "t"))
    assert len(pictures.build()[0][0].test.gallery.items) == 4
    items.write_text("name,text\nsku,\n")
    with pytest.raises(UserError, match=r"items.csv, row 1: item 'sku' has neither"):
        Triplets(path, gallery=str(items)).build()


def test_missing_pictures_are_declared(tmp_path: Path) -> None:
    lines = [HEAD, *GOOD, "e.png,red,gone.png,test", "gone too.png,red,b.png,train"]
    scenario = Triplets(write(tmp_path / "t", *lines), missing="declare")
    ((domain,), _) = scenario.build()
    assert len(domain.train) == 1 and len(domain.test.queries) == 1
    assert scenario.remarks[0].startswith(
        "2 of 8 pictures are missing: triplets/gone too.png, triplets/gone.png"
    )


def test_sets_without_answers_are_hidden_as_a_whole(tmp_path: Path) -> None:
    lines = (HEAD, *GOOD[:2], "e.png,green,,test", "f.png,grey,,test")
    table = write(tmp_path, *lines)
    [domain] = Triplets(table, hidden=True, gallery="all").build()[0]
    assert (domain.val.labels, domain.test.labels) == ("known", "hidden")
    assert [query.targets for query in domain.test.queries] == [(), ()]
    with pytest.raises(UserError, match=r"row 3: column 'target' is empty, .* by --scenario\.hidden true"):
        Triplets(table).build()
    table = write(tmp_path, *lines[:3], "e.png,green,f.png,test", "f.png,grey,,test", name="half.csv")
    with pytest.raises(UserError, match="row 4: it has no target, but other rows of 'test/"):
        Triplets(table, hidden=True).build()
    table = write(tmp_path, HEAD, "a.png,red,,train", *GOOD[1:], name="train.csv")
    with pytest.raises(UserError, match="row 1: it has no target, and its split is train"):
        Triplets(table, hidden=True).build()


@pytest.mark.parametrize("form", ["parquet", "datasets"])
def test_pictures_inside_columns_are_those_of_the_files(tmp_path: Path, form: str) -> None:
    folder = triplets(tmp_path / "files").parent
    for number, path in enumerate(sorted(folder.rglob("*.png"))):  # inside columns, equal ones are one
        with Image.open(path) as picture:
            picture.putpixel((0, 0), (number, 0, 0))
            picture.save(path)
    plain = Triplets(str(folder / "data.jsonl"))
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    held = [
        {
            **{name: row[name] for name in ("id", "texts", "domain", "split")},
            **{n: {"bytes": (folder / row[n]).read_bytes(), "path": None} for n in ("reference", "target")},
        }
        for row in rows
    ]
    table = tmp_path / "data.parquet"
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist(held), table, row_group_size=10)
    else:
        table = tmp_path / "saved"
        made = datasets.Dataset.from_list(held)
        for name in ("reference", "target"):
            made = made.cast_column(name, datasets.Image())
        made.save_to_disk(table)
    own = Triplets(str(table))
    for one, other in zip(own.build()[0], plain.build()[0], strict=True):
        assert [e.query.text for e in one.train] == [e.query.text for e in other.train]
        shown = {item.key: item.picture for d in (one, other) for item in d.test.gallery.items}
        for mine, its in zip(one.test.queries, other.test.queries, strict=True):
            pairs = [(mine.reference, its.reference), (shown[mine.targets[0]], shown[its.targets[0]])]
            for ours, theirs in pairs:
                assert ours is not None and theirs is not None
                assert ours.load().tobytes() == theirs.load().tobytes()
    assert own.fingerprint() == Triplets(str(table)).fingerprint()
