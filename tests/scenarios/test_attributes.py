"""A table of items as a stream: complete answers, no picture on both sides, phrases of any language."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from clplat.config.recipes import recipe
from clplat.data.records import Domain
from clplat.errors import UserError
from clplat.testing import ScenarioContract
from clplat.testing.twins import attributes as twin
from scenarios._attributes.items import ShopItem, in_periods
from scenarios._attributes.phrases import ENGLISH, read_phrases
from scenarios.attributes import Attributes

NAMES = ["type", "colour", "gender"]
SHARED = Path(os.environ.get("CLPLAT_SHARED_DATA", "nowhere")) / "products"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twin(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def rows(shop: Path) -> dict[str, dict[str, str]]:
    """Row by the key of its picture, read again by hand."""
    head, *lines = [line.split(",") for line in shop.read_text(encoding="utf-8").splitlines()]
    found = [dict(zip(head, line, strict=True)) for line in lines]
    return {f"{shop.parent.name}/{row['picture']}": row for row in found}


def made(shop: Path, **options: Any) -> Attributes:
    usual: dict[str, Any] = {"domain": ["type"], "train": 40, "queries": 30, "columns": {"title": "name"}}
    return Attributes(str(shop), NAMES, **usual | options)


class TestAttributes(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _shop(self, shop: Path) -> None:
        self.shop = shop

    def make(self) -> Attributes:
        return made(self.shop, train=12, queries=10)


def check(domains: list[Domain], rows: dict[str, dict[str, str]]) -> None:
    """What every stream must hold, told again from the table."""
    trained = {i.key for d in domains for e in d.train for i in e.items if i.picture is not None}
    trained |= {e.reference.key for d in domains for e in d.train}
    for domain in domains:
        for example in domain.train:
            was, target = rows[example.reference.key], rows[example.target.key]
            assert example.label == "/".join(target[name] for name in NAMES)
            assert target["type"] == domain.name
            changed = [name for name in NAMES if was[name] != target[name]]
            assert 1 <= len(changed) < len(NAMES) and all(target[n].lower() in example.text for n in changed)
        for held in (domain.val, domain.test):
            there = {picture.key for picture in held.gallery.pictures}
            assert not there & trained
            for query in held.queries:
                assert query.reference is not None and query.main in query.targets
                was, wanted = rows[query.reference.key], rows[query.main]
                changed = [name for name in NAMES if was[name] != wanted[name]]
                assert query.tags["change"] == " + ".join(changed) and wanted["type"] == domain.name
                same = {k for k in there if all(rows[k][name] == wanted[name] for name in NAMES)}
                assert set(query.targets) == same, "all items with what is wanted, and no others"
                assert query.candidates is not None and len(query.candidates) == 10
                assert set(query.candidates) & same == {query.main}
                missed = {
                    k: sum(rows[k][n] != wanted[n] for n in NAMES) for k in there - {query.reference.key}
                }
                near = [k for k in missed if missed[k] == 1 and all(rows[k][n] for n in NAMES)]
                assert sum(missed.get(k) == 1 for k in query.candidates) == min(9, len(near)), "near misses"


def test_answers_are_complete_and_pictures_on_one_side(shop: Path, rows: dict[str, dict[str, str]]) -> None:
    domains, _ = made(shop).build()
    check(domains, rows)
    assert [domain.name for domain in domains] == ["Cross", "Disc", "Square"]
    assert all(len(domain.train) == 40 and len(domain.test.queries) == 30 for domain in domains)
    partial = {key for key, row in rows.items() if not row["colour"]}
    assert partial & {p.key for p in domains[0].test.gallery.pictures}, "distractors"
    kinds = {candidate.kind for e in made(shop, negatives=3).build()[0][0].train for candidate in e.negatives}
    assert kinds == {"reference", "near_miss"}


def test_references_of_all_domains_never_come_from_the_future(
    shop: Path, rows: dict[str, dict[str, str]]
) -> None:
    wanted = {d.name: (d.val, d.test) for d in made(shop, references="all").build()[0]}
    for order in itertools.permutations(("Cross", "Disc", "Square")):
        domains, _ = made(shop, references="all", order=list(order), seed=3).build()
        check(domains, rows)
        assert {d.name: (d.val, d.test) for d in domains} == wanted
        for place, domain in enumerate(domains):
            shown = {rows[e.reference.key]["type"] for e in domain.train}
            assert shown <= set(order[: place + 1]) and (place == 0 or len(shown) > 1)


def test_held_out_combinations_are_never_shown(shop: Path, rows: dict[str, dict[str, str]]) -> None:
    stream = made(shop, unseen=0.3)
    domains, _ = stream.build()
    shown = {e.reference.key for d in domains for e in d.train}
    shown |= {e.target.key for d in domains for e in d.train} | {p.key for p in stream.captioned()}
    trained = {tuple(rows[key][n] for n in NAMES) for key in shown}
    tags: Counter[str] = Counter()
    for query in (q for d in domains for q in d.test.queries):
        what = tuple(rows[str(query.main)][n] for n in NAMES)
        tags[query.tags["combination"]] += 1
        assert (query.tags["combination"] == "seen") == (what in trained)
    assert min(tags["seen"], tags["unseen"]) > 5


def test_domains_by_two_columns_by_time_and_none(shop: Path) -> None:
    both, _ = made(shop, domain=["type", "gender"]).build()
    assert "Disc/Men" in [domain.name for domain in both] and len(both) == 6
    time, _ = made(shop, domain=["season"], periods=2).build()
    assert [domain.name for domain in time] == ["2011-03..2011-09", "2012-03..2012-09"]
    assert [domain.name for domain in made(shop, domain=None).build()[0]] == ["all"]
    years = [ShopItem(str(i), "", "", (), str(8 + i // 10), "train") for i in range(40)]
    assert [item.domain for item in in_periods(years, 4)][::10] == ["8", "9", "10", "11"], "as numbers"


def test_captions_say_what_is_there_and_how_one_would_ask_for_it(
    shop: Path, rows: dict[str, dict[str, str]]
) -> None:
    stream = made(shop)
    of_one: dict[str, list[str]] = {}
    for picture in stream.captioned("train"):
        of_one.setdefault(picture.key, []).append(str(picture.caption))
    assert len({len(captions) for captions in of_one.values()}) == 2, "items without a colour have fewer"
    first = next(captions for captions in of_one.values() if "a photo of red disc" in captions)
    assert {"disc", "red", "in red", "disc instead", "I want disc in red"} <= set(first)
    assert sum("Disc" in caption for caption in first) == 4, "the shop's title"
    held = {item.key for d in stream.build()[0] for item in d.test.gallery.items}
    assert not held & set(of_one)
    for example in stream.build()[0][0].train:
        row, shown = rows[example.target.key], example.target.picture
        assert (
            shown and shown.caption == f"a photo of {row['colour']} {row['type']} for {row['gender']}".lower()
        )
    noisy = made(shop, noise=0.9).build()[0][0].train
    assert sum("," in example.text for example in noisy) > 20


def test_phrases_of_another_language(shop: Path, tmp_path: Path) -> None:
    german = tmp_path / "deutsch.yaml"
    german.write_text(
        "words: {colour: {Red: rot, Green: grün, Blue: blau, Black: schwarz}}\n"
        "change: {colour: ['dasselbe in {colour}', 'lieber {colour}'],\n"
        "  gender + type: ['{type} für {gender}']}\n"
        "other: ['{attribute} {value}', 'mit {value}']\n"
        "join: {between: ', ', last: ' und '}\ncaption: ['{colour}', '{size}']\n",
        encoding="utf-8",
    )
    phrases = read_phrases(german, NAMES)
    assert phrases.changes({"colour": "Green"}) == ["dasselbe in grün", "lieber grün"]
    assert phrases.changes({"gender": "Men", "type": "Disc"}) == ["disc für men"]
    assert phrases.changes({"type": "Disc", "colour": "Red"}) == [
        "type disc und dasselbe in rot",
        "mit disc und lieber rot",
    ]
    stream = made(shop, phrases=str(german), references="all")
    assert any("für" in q.text for d in stream.build()[0] for q in d.test.queries if q.text)
    assert "rot" in {picture.caption for picture in stream.captioned()}
    assert len(read_phrases(ENGLISH, ["type", "size"]).changes({"type": "a", "size": "b"})) == 6


def test_labels_like_those_of_fashion200k(tmp_path: Path) -> None:
    """Tab-separated files without a header; attributes are words of captions, splits are files."""
    cells = [(c, cut, i) for c in ("black", "red", "blue") for cut in ("short", "long") for i in range(6)]
    for split in ("train", "val", "test"):
        names = [f"women/dresses/casual/{split}{c}{cut}{i}.jpeg" for c, cut, i in cells]
        drawn(tmp_path, names)
        lines = [f"{name}\t0.9\t{c} silk {u} dress\n" for name, (c, u, _) in zip(names, cells, strict=True)]
        (tmp_path / f"dress_{split}_detect_all.txt").write_text("".join(lines), encoding="utf-8")
    stream = Attributes(
        str(tmp_path / "*_detect_all.txt"),
        ["colour", "cut"],
        header=["picture", "score", "caption"],
        columns={"id": "picture", "split": "split", "title": "caption"},
        extract={
            "file": "_(?P<split>train|val|test)_",
            "picture": "women/(?P<category>[^/]+)/",
            "caption": r"\b(?P<colour>black|red|blue)\b.*\b(?P<cut>short|long)\b",
        },
        domain=["category"],
        unseen=0.0,
        train=20,
        queries=10,
    )
    (domain,) = stream.build()[0]
    assert domain.name == "dresses" and len(domain.test.queries) == 10
    assert all("/train" in e.target.key for e in domain.train)
    assert all("/test" in key for q in domain.test.queries for key in q.targets)


def test_labels_like_those_of_mit_states(tmp_path: Path) -> None:
    """A folder per state and noun: the folder's name says both."""
    names = [f"{s} {n}/{i}.png" for s in ("old", "new", "wet") for n in ("bike", "car") for i in range(12)]
    root = drawn(tmp_path / "images", names)
    pattern = "^(?P<state>[a-z]+) (?P<noun>[a-z]+)/"
    columns, extract = {"id": "picture"}, {"picture": pattern}
    stream = Attributes(str(root), ["state", "noun"], columns=columns, extract=extract, unseen=0.0)
    (domain,) = stream.build()[0]
    for query in domain.test.queries:
        assert query.reference is not None
        state, noun = query.reference.key.split("/")[1].split()
        others = {key.split("/")[1] for key in query.targets}
        (wanted,) = others
        assert (wanted.split()[0] != state) != (wanted.split()[1] != noun), "one of the two is kept"


def test_a_parquet_file_and_lines_of_json_are_the_same_stream(shop: Path, tmp_path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.csv.read_csv(shop)
    pyarrow.parquet.write_table(table, tmp_path / "items.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    wanted = made(shop).fingerprint()
    for name in ("items.parquet", "items.jsonl"):
        assert made(tmp_path / name, pictures=str(shop.parent)).fingerprint() == wanted


def test_labels_like_those_of_shoes(tmp_path: Path) -> None:
    """A JSON array of captions; the kind of shoe is part of the picture's name."""
    kinds = [(k, c, i) for k in ("clogs", "boots") for c in ("brown", "pink", "white") for i in range(25)]
    said = [
        {"ImageName": f"img_womens_{k}_{c}{i}.jpg", "Caption": f"{c} leather with a low heel"}
        for k, c, i in kinds
    ]
    (tmp_path / "captions_shoes.json").write_text(json.dumps(said), encoding="utf-8")
    drawn(tmp_path, [row["ImageName"] for row in said])
    stream = Attributes(
        str(tmp_path / "captions_shoes.json"),
        ["type", "colour"],
        domain=["type"],
        columns={"id": "ImageName", "picture": "ImageName", "title": "Caption"},
        extract={"ImageName": "img_womens_(?P<type>[a-z]+)_", "Caption": "(?P<colour>brown|pink|white)"},
        unseen=0.0,
    )
    assert [domain.name for domain in stream.build()[0]] == ["boots", "clogs"]


def drawn(root: Path, names: list[str]) -> Path:
    """Empty files: a stream decodes none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"domain": ["typ"]}, "unknown column of products.csv 'typ'; did you mean 'type'"),
        ({"order": ["Disc", "Circle"]}, r"unknown domain 'Circle' \(allowed: Cross, Disc, Square\)"),
        ({"extract": {"name": "(red"}}, "the pattern for 'name' is no regular expression"),
        ({"extract": {"name": "red"}}, "names no group"),
        ({"extract": {"nam": "(?P<a>b)"}}, "unknown column of products.csv 'nam'; did you mean 'name'"),
        ({"columns": {"id": "season"}}, "item '.*' stands there already"),
        ({"columns": {"split": "season"}}, "unknown split '20.*allowed: train, val, test"),
        ({"phrases": "none.yaml"}, "cannot read the phrases none.yaml"),
        ({"gallery": 1}, "no domain of .* gives triplets and queries"),
        ({"gallery": 2, "order": ["Disc"]}, "domain 'Disc' gives no queries"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(shop: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        made(shop, **options).build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": 0}, "train must be at least 1"),
        ({"unseen": 1.0}, "unseen must be at least 0 and below 1"),
        ({"splits": [0.5, 0.5]}, "three shares"),
        ({"negatives": -1}, "negatives must be at least 0"),
        ({"periods": 2, "domain": None}, "periods needs a domain of one column"),
        ({"columns": {"name": "title"}}, "not 'name'"),
        ({"order": ["Disc", "Disc"]}, "each domain once"),
    ],
)
def test_options_that_make_no_sense(shop: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(shop, **options)


def test_a_file_of_phrases_that_is_none(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    text = ENGLISH.read_text(encoding="utf-8")
    for changed, said in [
        (text.replace("caption:", "captions:"), "'caption'"),
        (text.replace('["in {colour}",', '["in {color}",'), r"names \{color\}, which does not change"),
        (text.replace("between:", "among:"), "needs the keys between and last"),
    ]:
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(UserError, match=said):
            made(shop, phrases=str(path)).build()


def test_missing_pictures_are_refused_or_declared(tmp_path: Path) -> None:
    shop = twin(tmp_path)
    for name in ("1001.png", "1002.png", "1003.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(UserError, match=r"scenario attributes: .* pictures are missing"):
        made(shop, train=400).build()
    stream = made(shop, train=400, missing="declare")
    assert stream.report["missing"]["pictures"] >= 2
    assert any("missing" in remark for remark in stream.remarks)
    assert not {p.key for p in stream.captioned()} & {f"{tmp_path.name}/images/{i}.png" for i in (1001, 1002)}


@pytest.mark.parametrize("name", ["products", "products-colour", "products-long"])
@pytest.mark.skipif(not SHARED.is_dir(), reason="CLPLAT_SHARED_DATA does not hold the products")
def test_the_streams_of_real_photographs(name: str) -> None:
    options = dict(recipe(name).config["scenario"])
    assert options.pop("name") == "attributes"
    stream = Attributes(**{**options, "table": str(SHARED / "products.csv")})
    domains, _ = stream.build()
    assert [domain.name for domain in domains] == options["order"]
    assert len(domains) == {"products": 6, "products-colour": 6, "products-long": 20}[name]
    assert stream.report["items"] == {"train": 7383, "val": 581, "test": 1297}
    assert not any("missing" in remark for remark in stream.remarks)
    assert min(len(domain.train) for domain in domains) >= 60
    assert min(len(domain.test.queries) for domain in domains) >= 8


def test_pictures_may_lie_in_the_table(shop: Path, tmp_path: Path) -> None:
    """As a column of Parquet with their bytes: the stream of the table that names files."""
    head, *lines = [line.split(",") for line in shop.read_text(encoding="utf-8").splitlines()]
    rows: list[dict[str, Any]] = [dict(zip(head, line, strict=True)) for line in lines]
    for row in rows:
        row["picture"] = {"bytes": (shop.parent / row["picture"]).read_bytes(), "path": row["picture"]}
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet", row_group_size=50)
    inside, files = made(tmp_path / "items.parquet"), made(shop)
    for one, other in zip(inside.build()[0], files.build()[0], strict=True):
        assert [example.query.text for example in one.train] == [
            example.query.text for example in other.train
        ]
        ours, theirs = one.test.queries[0].reference, other.test.queries[0].reference
        assert ours is not None and theirs is not None and ours.load().tobytes() == theirs.load().tobytes()
