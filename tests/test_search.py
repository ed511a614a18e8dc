"""Searching with a trained run: the order is that of the cosines, and every mistake is one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

from clplat.cli import main
from clplat.config.resolve import resolve
from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.files import read_json
from clplat.models.backbone import Backbone
from clplat.retrieval_grid import draw_grid
from clplat.runs.assembly import assemble
from clplat.runs.experiment import run
from clplat.search import Searcher, search
from clplat.tracking import Tracker
from clplat.tracking.run_folders import find_run
from clplat.trees import load_tree

TOWER = {"width": 32, "layers": 2}
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {**TOWER, "image_size": 16, "patch_size": 8, "head_width": 16},
    "text_cfg": {**TOWER, "context_length": 48, "heads": 2},
}
TEXT = "in green, with long sleeves"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs: one fine-tuned, one with an adapter a domain."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("search")
    Backbone.random(MODEL, seed=0).save(root / "backbone")
    sizes = {"domains": 2, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    base = {
        "backbone": f"local-dir:{root / 'backbone'}",
        "scenario": {"name": "catalogue", **sizes},
        "train": {"epochs": 2, "batch_size": 8, "lr": 1e-2},
    }
    run({**base, "strategy": "naive"}, root / "runs" / "naive")
    run({**base, "strategy": "lora_per_domain"}, root / "runs" / "experts")
    return root / "runs"


@pytest.fixture(scope="module")
def world(runs: Path) -> Any:
    """The parts of the run, untrained: galleries and preprocessing."""
    return assemble(resolve(read_json(runs / "naive" / "result.json")["config"]))


@pytest.fixture(scope="module")
def searcher(runs: Path) -> Searcher:
    return Searcher(runs / "naive")


def test_a_searcher_answers_like_a_search_and_embeds_each_gallery_once(
    runs: Path, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, vectors = searcher.gallery()
    assert vectors.shape == (len(pictures), 32)
    assert searcher.gallery(searcher.domains[1])[0] != pictures
    single = [search(runs / "naive", pictures[i].key, TEXT, k=4) for i in (3, 30)]

    def embed(*_: object) -> None:
        raise AssertionError("the gallery is embedded again")

    monkeypatch.setattr(searcher.parts.evaluator.embed, "items", embed)
    for i, one in zip((3, 30), single, strict=True):
        found = searcher.find(pictures[i].key, TEXT, k=4)
        assert [p.key for p in found.pictures] == [p.key for p in one.pictures]
        assert found.scores == one.scores


@pytest.mark.parametrize("name", ["naive", "experts"])
def test_the_newest_version_answers_as_it_did_when_it_was_measured(name: str, runs: Path) -> None:
    """Recall@1 of the result is recovered by searching for each of a domain's queries."""
    result = read_json(runs / name / "result.json")
    parts = assemble(resolve(result["config"]))
    held, domain = parts.evaluator.sets[0], parts.evaluator.names[0]
    right = 0
    for query in held.queries[:6]:
        found = search(runs / name, query.reference.key, query.text, domain=domain, k=1)
        right += found.pictures[0].key in query.targets
    stored = load_tree(runs / name / "ranks" / "2.safetensors")[domain][:6]
    assert right == int((stored == 0).sum())


def test_results_are_the_nearest_in_order_and_never_the_reference(runs: Path, world: Any) -> None:
    gallery = world.evaluator.sets[0].gallery.pictures
    found = search(runs / "naive", gallery[3].key, TEXT, k=5)
    everything = {p.key for held in world.evaluator.sets for p in held.gallery.pictures}
    assert len(found.pictures) == len(found.scores) == 5
    assert (
        found.scores == sorted(found.scores, reverse=True) and -1 <= found.scores[4] <= found.scores[0] <= 1
    )
    assert gallery[3].key not in [p.key for p in found.pictures]
    every = search(runs / "naive", gallery[3].key, TEXT, k=1000)
    assert {p.key for p in every.pictures} == everything - {gallery[3].key}
    assert [p.key for p in every.pictures[:5]] == [p.key for p in found.pictures]


def test_a_file_is_a_reference_like_the_gallery_picture_it_shows(
    runs: Path, world: Any, tmp_path: Path
) -> None:
    picture = world.evaluator.sets[0].gallery.pictures[3]
    picture.load().save(tmp_path / "picture.png")
    by_key = search(runs / "naive", picture.key, TEXT, k=8)
    by_file = search(runs / "naive", tmp_path / "picture.png", TEXT, k=9)
    keys = [p.key for p in by_file.pictures if p.key != picture.key]
    assert keys[:8] == [p.key for p in by_key.pictures]


def test_the_key_of_a_file_names_its_content_not_its_place(searcher: Searcher, tmp_path: Path) -> None:
    """What is computed from a picture is kept under its key."""
    pictures, _ = searcher.gallery()
    first, second = (pictures[i].picture.load() for i in (3, 4))
    (tmp_path / "elsewhere").mkdir()
    shown = []
    for picture, place in ((first, "a.png"), (first, "elsewhere/b.png"), (second, "a.png")):
        picture.save(tmp_path / place)
        shown.append(searcher.find(tmp_path / place, TEXT, k=1).reference.key)
    assert shown[0] == shown[1] != shown[2]
    assert all(key.startswith("file/") and str(tmp_path) not in key for key in shown)


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_an_index_finds_the_same_and_tells_its_recall(runs: Path, world: Any, index: str) -> None:
    reference = world.evaluator.sets[0].gallery.pictures[3].key
    exact = search(runs / "naive", reference, TEXT, k=5)
    found = search(runs / "naive", reference, TEXT, k=5, index=index)
    assert exact.recall is None
    assert found.recall == 1.0, "no index overlooks anything among forty pictures"
    assert [p.key for p in found.pictures] == [p.key for p in exact.pictures]
    assert found.scores == exact.scores


def test_a_domain_limits_the_gallery_and_a_version_changes_the_order(runs: Path, world: Any) -> None:
    held, name = world.evaluator.sets[1], world.evaluator.names[1]
    reference = world.evaluator.sets[0].gallery.pictures[0].key  # of the other domain
    keys = {p.key for p in held.gallery.pictures}
    orders = []
    for version in (0, 1, 2, None):
        found = search(runs / "naive", reference, TEXT, domain=name, k=20, version=version)
        assert {p.key for p in found.pictures} <= keys and found.gallery == name
        orders.append([p.key for p in found.pictures])
    assert orders[3] == orders[2]
    assert orders[0] != orders[2]
    search(runs / "experts", reference, TEXT, version=0)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"text": "  "}, "the text is empty"),
        (
            {"text": None, "reference": None},
            "nothing to search by: give a reference picture, a text, or both",
        ),
        ({"text": "very " * 60}, "longer than the backbone's context of 48 tokens"),
        ({"domain": "top-skech"}, "unknown domain 'top-skech'; did you mean 'top-sketch'"),
        ({"version": 7}, "has no version 7 (there are: 0, 1, 2)"),
        ({"index": "hnws"}, "unknown index 'hnws'; did you mean 'hnsw'"),
        ({"reference": "no-such.png"}, "'no-such.png' is neither a picture file nor the key"),
        ({"reference": __file__}, "cannot read picture"),
    ],
)
def test_mistakes_are_reported(change: dict[str, Any], part: str, runs: Path, world: Any) -> None:
    reference = world.evaluator.sets[0].gallery.pictures[0].key
    arguments = {"reference": reference, "text": TEXT, **change}
    with pytest.raises(UserError) as caught:
        search(runs / "naive", **arguments)
    assert part in str(caught.value)


def test_a_run_without_a_version_is_reported(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((runs / "naive" / "config.yaml").read_text())
    with pytest.raises(UserError, match="no finished model version yet"):
        search(tmp_path, "x.png", TEXT)


def test_runs_are_found_by_folder_by_name_and_by_the_id_that_mlflow_shows(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_run(str(runs / "naive"), tmp_path) == runs / "naive"
    assert find_run("naive", runs) == runs / "naive"
    with pytest.raises(UserError, match="unknown run 'naiv'; did you mean 'naive'"):
        find_run("naiv", runs)
    with pytest.raises(UserError, match="none in "):
        find_run("naive", tmp_path)
    assert not list(tmp_path.iterdir()), "looking for a run makes no store"
    run_id = Tracker(runs).log(read_json(runs / "naive" / "result.json"), runs / "naive")
    assert find_run(str(run_id), runs) == find_run(str(run_id)[:12], runs) == (runs / "naive").resolve()
    with pytest.raises(UserError, match="unknown run '0000"):
        find_run("0" * 32, runs)


def test_the_command_prints_a_table_and_draws_a_grid(
    runs: Path, world: Any, tmp_path: Path, capsys: Capture
) -> None:
    picture = world.evaluator.sets[0].gallery.pictures[3]
    picture.load().save(tmp_path / "picture.jpg")
    grid = tmp_path / "out" / "found.png"
    words = ["--run", str(runs / "naive"), "--reference", str(tmp_path / "picture.jpg"), "--text", TEXT]
    assert main(["search", *words, "--k", "4", "--grid", str(grid)]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert shown.err == "" and lines[0].split() == ["rank", "cosine", "picture"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert lines[5] == f"grid: {grid}" and len(lines) == 6
    with Image.open(grid) as drawn:
        assert drawn.format == "PNG" and drawn.width > 4 * 96
    assert main(["search", *words, "--k", "0"]) == 2
    assert "at least 1, not '0'" in capsys.readouterr().err
    assert main(["search", "--run", "nothing", *words[2:], "--out", str(runs)]) == 2
    assert capsys.readouterr().err.startswith("clplat: unknown run 'nothing'")


def test_the_gallery_can_be_listed(runs: Path, world: Any, capsys: Capture) -> None:
    words = ["search", "--run", str(runs / "naive"), "--list"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    pictures = {p.key: p.caption or "" for held in world.evaluator.sets for p in held.gallery.pictures}
    assert lines == [f"{key}  {pictures[key]}".rstrip() for key in sorted(pictures)]
    name = world.evaluator.names[1]
    assert main([*words, "--domain", name]) == 0
    own = {p.key for p in world.evaluator.sets[1].gallery.pictures}
    assert {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()} == own
    assert main([*words, "--domain", "nothing"]) == 2
    assert "unknown domain 'nothing'" in capsys.readouterr().err


# -- grids ----------------------------------------------------------------------------------------------


def square(colour: str, size: tuple[int, int] = (40, 40)) -> Picture:
    return Picture(colour, lambda: Image.new("RGB", size, colour))


def test_a_grid_shows_reference_words_and_results_and_marks_the_right_ones() -> None:
    rows = [("photo", square("red"), "make it blue", [(square("blue"), True), (square("green"), False)])]
    sheet = draw_grid(rows)
    colours = [sheet.getpixel((8 + 48, 8 + 48))]
    assert colours == [(255, 0, 0)]
    seen = {colour for _, colour in sheet.getcolors(1 << 16) or []}
    assert {(0, 0, 255), (0, 128, 0), (0, 158, 115), (213, 94, 0)} <= seen
    neutral = draw_grid([("photo", square("red"), "make it blue", [(square("blue"), None)])])
    assert (0, 158, 115) not in {colour for _, colour in neutral.getcolors(1 << 16) or []}


def test_a_grid_keeps_proportions_and_takes_lines_of_any_length() -> None:
    wide = [
        ("a title", square("red", (200, 50)), "word " * 80, [(square("blue", (10, 300)), None)]),
        ("b", square("red"), "", []),
    ]
    sheet = draw_grid(wide)
    assert sheet.height == 2 * draw_grid(wide[:1]).height - 8
    with pytest.raises(ValueError, match="at least one query"):
        draw_grid([])


def test_long_words_stay_in_their_column() -> None:
    short = [("t", square("white"), "a", [(square("white"), None)])]
    long = [("a very long title of a domain indeed", square("white"), "W" * 200, [(square("white"), None)])]
    one, other = draw_grid(short), draw_grid(long)
    assert one.size == other.size
    box = (one.width - 96 - 8, 0, one.width, one.height)  # the result's column
    assert ImageChops.difference(one.crop(box), other.crop(box)).getbbox() is None


def test_the_picture_that_readme_searches_with_is_in_the_gallery() -> None:
    found = re.search(r"--reference (catalogue/\S+)", (Path(__file__).parents[1] / "README.md").read_text())
    assert found is not None
    domains, _ = resolve({}).make("scenario").build()
    assert found[1] in {picture.key for domain in domains for picture in domain.test.gallery.pictures}
