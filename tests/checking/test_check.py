"""``clplat data``: every fault is planted in a small stream, and found by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clplat.checking.check import check
from clplat.checking.copies import pairs_alike
from clplat.checking.lengths import lengths_of
from clplat.checking.page import page
from clplat.checking.pictures import look_at
from clplat.cli import main
from clplat.config.resolve import resolve
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet
from clplat.models.backbone import Backbone
from clplat.runs.assembly import pixel_store
from clplat.runs.evaluated import load_model


def patches(path: Path, seed: int, **options: int) -> None:
    """8 x 9 patches of unlike colours: fine noise would leave a small copy of it all but grey."""
    drawn = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(drawn).resize((72, 64), Image.Resampling.NEAREST).save(path, **options)


@pytest.fixture
def files(tmp_path: Path) -> PictureFiles:
    for number, name in enumerate("abcdefgh"):
        patches(tmp_path / f"{name}.png", number)
    (tmp_path / "h.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "g.png").write_bytes(b"no picture")
    Image.open(tmp_path / "b.png").resize((90, 90)).save(tmp_path / "near.jpg", quality=70)
    return PictureFiles(tmp_path, "made")


def stream(files: PictureFiles, *names: str) -> list[Domain]:
    a, b, c, d, e, f = files.pictures("abcdef")
    queries = (
        Query("0", c, "in red", (d.key,)),
        Query("1", d, "in red", (f.key,)),
        Query("2", e, "in blue", (f.key,)),
        Query("3", f, "in blue", (e.key, *(f"made/{name}" for name in names))),
    )
    gallery = Gallery("g", [c, d, e, f, *map(files.picture, names)])
    test = RetrievalSet(queries, gallery, Protocol("p"))
    return [Domain("one", [Triplet("0", a, "x", b, "b", "one")], sets={"test": test})]


def test_a_sound_stream_has_no_problems(files: PictureFiles) -> None:
    report = check(stream(files), {"one/test/queries": 4})
    assert report.problems == [] and report.remarks == []
    assert report.counts == {
        "one/train": {"examples": 1},
        "one/test": {"queries": 4, "answers": 4, "gallery": 4},
    }


def test_every_fault_is_found_by_name(files: PictureFiles) -> None:
    report = check(stream(files, "h", "g", "gone", "near"), {"one/test/gallery": 9}, near=True)
    said = "\n".join(report.problems)
    assert "1 pictures are not there: made/gone" in said and "1 pictures cannot be read: made/g" in said
    assert "one/test loses by that: 2 answers, 2 gallery" in said
    assert "1 pictures are trained on and measured under another name: made/a = made/h" in said
    assert "one/test/gallery is 8, published 9" in said
    assert report.details["near"] == [("made/b", "made/near")]
    quick = check(stream(files, "h", "g", "gone"), quick=True)
    assert "1 pictures are not there" in quick.problems[0] and "unreadable" not in quick.details


def test_worker_processes_see_the_same(files: PictureFiles) -> None:
    shown = files.pictures("abcdefg")
    seen: list[int] = []
    assert look_at(shown, 2, seen.append) == look_at(shown) and seen == [7]


def test_shortcuts_are_told(files: PictureFiles) -> None:
    c, d, e, f, a = files.pictures("cdefa")
    h = files.picture("h")
    named = Picture("named", f.load, caption="A red dress.")
    queries = (
        Query("same", c, "as sketch", (d.key,)),
        Query("too", e, "as sketch", (d.key,)),
        Query("one", f, "in blue", (e.key,)),
        Query("two", f, "in green", (e.key,)),
        Query("copy", a, "again", (h.key,)),
        Query("said", d, "a red dress", ("named",)),
    )
    held = RetrievalSet(queries, Gallery("g", [c, d, e, h, named]), Protocol("p"))
    report = check([Domain("one", sets={"test": held})])
    found = {what.rpartition("/")[2]: ids for what, ids in report.details.items() if what.startswith("one/")}
    assert found == {
        "words": ["same", "too"],
        "picture": ["one", "two"],
        "reference": ["copy"],
        "named": ["said"],
    }
    assert (
        len(report.problems) == 1
        and "queries that their reference answers by itself: copy" in report.problems[0]
    )


def test_bands_find_all_pairs_that_differ_in_four_bits() -> None:
    from clplat.checking.pictures import Look

    looks = {"base": Look("x", 0x123456789ABCDEF)}
    for number, bits in enumerate([1, 0b1111, 1 << 63 | 1 << 20 | 1 << 40 | 1, 0b11111]):
        looks[str(number)] = Look(str(number), 0x123456789ABCDEF ^ bits)
    assert [pair for pair in pairs_alike(looks) if "base" in pair] == [
        ("0", "base"),
        ("1", "base"),
        ("2", "base"),
    ]


def test_a_page_is_the_same_for_a_seed(files: PictureFiles) -> None:
    domains = stream(files)
    assert page(domains, 3) == page(domains, 3) != page(domains, 3, seed=1)
    assert b"data:image/png;base64," in page(domains, 1, ending=".html")


def test_the_command_checks_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"domains": 2, "train": 8, "queries": 10, "gallery": 20, "size": 16}
    words = ["--workers", "0", *(w for key, n in sizes.items() for w in (f"--scenario.{key}", str(n)))]
    code = main(["data", "check", *words, "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == bool(found["problems"]) and found["counts"]["dress-studio/test"]["queries"] == 10
    assert "dress-studio/train" in capsys.readouterr().out
    assert main(["data", "show", *words, "--to", str(tmp_path / "page.png"), "--rows", "3"]) == 0
    assert Image.open(tmp_path / "page.png").width > 500
    assert main(["data", "chek"]) == 2 and "did you mean 'check'" in capsys.readouterr().err
    assert main(["data", "show", *words, "--to", "page.gif"]) == 2


def test_lengths_are_told_as_a_distribution(small_backbone: Path) -> None:
    texts = [" ".join(["red"] * count) for count in range(1, 61)]  # a token each, and two around them
    found = lengths_of(texts, Backbone.load(f"local-dir:{small_backbone}"))
    assert found.context == 48 and found.cut == texts[46:]
    assert found.quantiles == {"5": 5, "25": 17, "50": 32, "75": 47, "95": 59, "99": 62, "100": 62}
    assert "50 % 32" in found.said and "the longest 62; 23.3 % above 48" in found.said


def test_a_model_is_asked_by_halves_of_a_query(
    small_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against ranks that are counted pair by pair."""
    sizes = {"domains": 1, "train": 4, "queries": 12, "gallery": 24, "size": 16}
    model = ["--backbone", f"local-dir:{small_backbone}"]
    words = [*model, "--workers", "0", *(w for k, n in sizes.items() for w in (f"--scenario.{k}", str(n)))]
    main(["data", "check", *words, "--json", str(tmp_path / "found.json")])
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())
    assert "tokens of" in printed and "asked by" in printed
    config = resolve({"backbone": model[1], "scenario": {"name": "catalogue", **sizes}})
    [domain], _ = config.make("scenario").build()
    held, model = domain.test, load_model(config, None, None).retriever
    pixels = pixel_store(config, model)
    with torch.inference_mode():
        rows = model.encode_images(pixels.get(held.gallery.pictures)).double()
        asked = {
            "picture": model.encode_images(pixels.get([q.reference for q in held.queries])),
            "text": model.encode_texts(model.backbone.tokenize([q.text for q in held.queries])),
        }
    names = [item.key for item in held.gallery.items]
    for who, queries in asked.items():
        ids = []
        for query, vector in zip(held.queries, queries.double(), strict=True):
            scores = dict(zip(names, (rows @ vector).tolist(), strict=True))
            del scores[query.reference.key]
            best = max(scores, key=lambda name: scores[name])
            ids += [query.id] * (best in query.targets)
        one = found["alone"][f"{domain.name}/test"]
        assert one["first"][who] == ids
        assert one["metrics"][who]["R@1"] == pytest.approx(100 * len(ids) / 12)
    assert set(one["metrics"]) == {"both", "picture", "text", "chance"} and one["primary"] == "R@5"
    main(["data", "check", *words, "--quick"])
    assert "asked by" not in capsys.readouterr().out
