"""A model from elsewhere beside the composers that need no training: against slow sums, and against a run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import clplat
from clplat.cli import main
from clplat.config.resolve import resolve
from clplat.data.records import Domain, RetrievalSet
from clplat.errors import UserError
from clplat.files import read_json
from clplat.models.backbone import Backbone
from clplat.runs.evaluate import evaluate
from clplat.runs.evaluated import UNTRAINED, load_model, with_split
from clplat.tables.evaluation import evaluation_table
from clplat.testing import twins

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def asked(small_backbone: Path) -> dict[str, Any]:
    sizes = {"domains": 2, "train": 16, "queries": 20, "gallery": 20, "size": 16}
    return {"backbone": f"local-dir:{small_backbone}", "scenario": {"name": "catalogue", **sizes}}


@pytest.fixture(scope="module")
def found(asked: dict[str, Any]) -> dict[str, Any]:
    return evaluate({**asked, "composer": {"name": "sum", "weight": 0.3}})


@pytest.fixture(scope="module")
def finished(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "combiner"
    tiny = {"name": "combiner", "projection": 8, "hidden": 8}
    clplat.run({**asked, "composer": tiny, "train": {"epochs": 1, "batch_size": 8}}, folder)
    return folder


# -- numbers ------------------------------------------------------------------------------------------


def unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def interpolated(image: np.ndarray, text: np.ndarray, share: float) -> np.ndarray:
    """Slerp by rotating each picture's row towards its text, not by the formula of sines."""
    angle = share * np.arccos((image * text).sum(1))
    away = unit(text - (image * text).sum(1, keepdims=True) * image)
    turned: np.ndarray = np.cos(angle)[:, None] * image + np.sin(angle)[:, None] * away
    return turned


def recall(queries: np.ndarray, gallery: np.ndarray, held: RetrievalSet, k: int) -> float:
    """R@K in percent, one query after the other."""
    keys, hits = [item.key for item in held.gallery.items], 0
    for row, query in zip(queries, held.queries, strict=True):
        assert query.reference is not None
        order = sorted(range(len(keys)), key=lambda i: (-float(gallery[i] @ row), i))
        ranked = [keys[i] for i in order if keys[i] != query.reference.key]
        hits += any(key in query.targets for key in ranked[:k])
    return 100.0 * hits / len(held.queries)


def reference(held: RetrievalSet, backbone: Backbone, k: int) -> dict[str, float]:
    """R@K of every composer in float64, from the towers' own features."""
    from clplat.data.images import PixelStore, Preprocess

    store = PixelStore(Preprocess(backbone.image_size))

    def seen(pictures: Any) -> np.ndarray:
        return unit(backbone.image(store.get(pictures)).pooled.detach().double().numpy())

    gallery, image = seen(held.gallery.pictures), seen([query.reference for query in held.queries])
    ids = backbone.tokenize([query.text or "" for query in held.queries])
    text = unit(backbone.text(ids).pooled.detach().double().numpy())
    made = {
        "image_only": image,
        "text_only": text,
        "sum": unit(image + text),
        "slerp (alpha 0.8)": interpolated(image, text, 0.8),
        "sum (weight 0.3)": unit(0.7 * image + 0.3 * text),
    }
    return {who: recall(queries, gallery, held, k) for who, queries in made.items()}


def test_every_composer_scores_what_slow_sums_in_float64_score(
    found: dict[str, Any], asked: dict[str, Any]
) -> None:
    config = resolve(asked)
    backbone: Backbone = config.make("backbone")
    for place, domain in enumerate(config.make("scenario").build()[0]):
        for k in (1, 5):
            expected = reference(domain.test, backbone, k)
            got = {who: one[f"R@{k}"][place] for who, one in found["sets"]["test"]["metrics"].items()}
            assert got == pytest.approx(expected, abs=1e-6)
    assert found["composers"] == list(expected)


def test_a_run_is_measured_as_it_was_in_its_own_last_row(finished: Path) -> None:
    before, again = read_json(finished / "result.json"), evaluate({}, run=finished)
    test = again["sets"]["test"]
    for metric, rows in before["metrics"].items():
        assert test["metrics"]["combiner (projection 8, hidden 8)"][metric] == pytest.approx(
            rows[-1], abs=1e-6
        )
        for blind, columns in before["baselines"].items():
            assert test["metrics"][blind][metric] == pytest.approx(columns[metric][-1], abs=1e-6)
    assert test["chance"] == before["chance"]
    assert again["model"]["version"] == 2
    assert {k: again["fingerprints"][k] for k in before["fingerprints"]} == before["fingerprints"]


def test_a_run_is_measured_on_another_scenario_and_an_older_version_is_another_model(finished: Path) -> None:
    other = {"scenario": {"name": "catalogue", "domains": ["top-sketch"], "queries": 10, "gallery": 20}}
    new, old = evaluate(other, run=finished), evaluate(other, run=finished, version=1)
    assert new["domains"] == ["top-sketch"]
    assert new["fingerprints"] == old["fingerprints"]
    assert new["model"]["sha256"] != old["model"]["sha256"]
    assert (new["model"]["version"], old["model"]["version"]) == (2, 1)


def test_the_towers_see_everything_once_for_all_composers_and_nothing_the_next_time(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path))
    first, second = evaluate(asked)["measured"]["features"], evaluate(asked)["measured"]["features"]
    domains = resolve(asked).make("scenario").build()[0]
    sets = [domain.test for domain in domains]
    texts = {query.text for held in sets for query in held.queries}
    shown = {item.key for held in sets for item in held.gallery.items}
    shown |= {query.reference.key for held in sets for query in held.queries}
    assert (first["image"]["encoded"], first["text"]["encoded"]) == (len(shown), len(texts))
    assert (second["image"]["encoded"], second["text"]["encoded"]) == (0, 0)


# -- what is measured -----------------------------------------------------------------------------------


def test_val_is_measured_where_the_labels_of_test_are_hidden(asked: dict[str, Any]) -> None:
    domain: Domain = resolve(asked).make("scenario").build()[0][0]
    hidden = Domain(domain.name, sets={**domain.sets, "test": replace(domain.test, labels="hidden")})
    assert with_split(resolve(asked), asked, [domain]).evaluation.split == "test"
    assert with_split(resolve(asked), asked, [domain, hidden]).evaluation.split == "val"
    said = {**asked, "evaluation": {"split": "test"}}
    assert with_split(resolve(said), said, [hidden]).evaluation.split == "test"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"strategy": "ewc"}, "evaluate trains nothing: '--strategy' has no place here (allowed: scenario, "),
        ({"adapter": "lora"}, "evaluate trains nothing: '--adapter' has no place here"),
        (
            {"composer": "combiner"},
            "composer 'combiner' has weights, which nothing trained here: name the run",
        ),
        ({"composer": "summ"}, "did you mean 'sum'"),
    ],
)
def test_what_has_no_place_here_is_one_line(asked: dict[str, Any], choice: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        evaluate({**asked, **choice})


def test_a_run_brings_its_own_model(finished: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="takes the model as the run has it: '--composer' has no place"):
        evaluate({"composer": "sum"}, run=finished)
    with pytest.raises(UserError, match="has no version 7"):
        evaluate({}, run=finished, version=7)
    with pytest.raises(UserError, match="--model-version goes with --run"):
        evaluate(asked, version=1)


def test_the_weights_of_a_composer_alone_are_enough(
    finished: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    """Frozen towers: the composer's weights from a file give what the run gives; others are one line."""
    frozen = clplat.load(finished)
    file = tmp_path / "composer.safetensors"
    save_file({name: one.contiguous() for name, one in frozen.composer.state_dict().items()}, file)
    said = {**asked, "composer": {"name": "combiner", "projection": 8, "hidden": 8}}
    loaded = load_model(resolve({**UNTRAINED, **said}), None, None, file).retriever
    for name, one in frozen.composer.state_dict().items():
        assert torch.equal(loaded.composer.state_dict()[name], one)
    found = evaluate(said, composer=file)
    assert found["model"]["composer"] == str(file) and f"--composer-weights {file}" in found["command"]
    save_file({"other": torch.zeros(2)}, file)
    with pytest.raises(UserError, match="holds other weights than composer 'combiner' has, such as "):
        evaluate(said, composer=file)
    with pytest.raises(UserError, match="no such file"):
        evaluate(said, composer=tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="a run has its own composer"):
        evaluate({}, run=finished, composer=file)


def test_what_a_server_takes_is_written_without_a_run(
    small_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = twins.triplets(tmp_path, domains=["white"])
    rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["target"] = None if row["split"] == "test" else row["target"]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["evaluate", "--backbone", f"local-dir:{small_backbone}", "--scenario", "triplets"]
    words += ["--scenario.table", str(table), "--submit", str(tmp_path / "out")]
    assert main([*words, "--scenario.hidden", "true"]) == 0
    assert "test" not in [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    written = json.loads((tmp_path / "out/triplets.json").read_text())
    asked = {row["id"]: row for row in rows if row["split"] == "test"}
    assert list(written) == list(asked)
    for name, found in written.items():
        assert len(set(found)) == len(found) > 1 and asked[name]["reference"] not in found
        assert set(found) <= {
            name for row in asked.values() for name in (row["reference"], *row["candidates"])
        }
    assert main(["evaluate", "--backbone", words[2], "--scenario", "digits", *words[-2:]]) == 2
    assert (
        "there is nothing to submit: the labels of test, test/own are known here" in capsys.readouterr().err
    )


def test_a_recipe_without_training_can_be_named(asked: dict[str, Any]) -> None:
    from clplat.config.recipes import recipe

    assert evaluate({**asked, **recipe("slerp").config})["composer"] == "slerp"


def test_a_benchmark_is_measured_with_its_further_protocols_beside_it(
    small_backbone: Path, tmp_path: Path
) -> None:
    from clplat.testing.twins import fashioniq

    options = {"root": str(fashioniq(tmp_path)), "captions": "searle", "also": ["val/clip4cir"]}
    found = evaluate(
        {"backbone": f"local-dir:{small_backbone}", "scenario": {"name": "fashioniq", **options}}
    )
    assert found["split"] == "val"  # what papers report; the answers of test are not public
    assert list(found["sets"]) == ["val", "val/val-clip4cir"]
    head, body, _ = evaluation_table(found)
    assert head[:3] == ["set", "domain", "composer"]
    assert {"R@10", "R@50"} < set(head)
    lines = 1 + len(found["domains"])  # and their mean
    assert len(body) == 2 * lines * (len(found["composers"]) + 1)


# -- the command ------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_it_in_every_format(
    small_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"""evaluate --backbone local-dir:{small_backbone} --composer slerp --scenario catalogue
        --scenario.domains 2 --scenario.queries 8 --scenario.gallery 20 --scenario.size 16 --split val
        --json {tmp_path / "found.json"} --to {tmp_path / "kept"} --format markdown""".split()
    assert main(words) == 0
    printed = capsys.readouterr().out
    kept = read_json(tmp_path / "kept" / "evaluation.json")
    assert printed == (tmp_path / "kept" / "table.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == kept
    said = kept["command"].split()
    assert said[:2] == ["clplat", "evaluate"]
    assert set(words[1:13]) | {"--evaluation.split", "val"} <= set(said)
    head, body, count = evaluation_table(kept)
    assert head[:4] == ["domain", "composer", "R@1", "R@5"]
    assert [line[1] for line in body[:6]] == [*kept["composers"], "chance"]
    assert [line[0] for line in body[::6]] == ["all (mean)", *kept["domains"]]
    assert (len(body), count) == (18, 2)
    assert {path.suffix for path in (tmp_path / "kept").glob("table.*")} == {".txt", ".csv", ".tex", ".md"}


def test_bad_words_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--format", "html"]) == 2
    assert main(["evaluate", "--run", "a", "--model", "models:/a/1"]) == 2
    assert main(["evaluate", "--backbone", "ViT-B-99"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "unknown format 'html'" in said[0]
    assert "--run and --model both name the model" in said[1]
    assert "unknown backbone 'ViT-B-99'; did you mean 'ViT-B-" in said[2]


def test_every_key_is_documented_and_the_other_way_round(found: dict[str, Any]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "result.md").read_text(encoding="utf-8")
    section = page.partition("## An evaluation\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(found)
    assert set(found["sets"]["test"]) <= set(re.findall(r"`(\w+)`", section))
    assert set(found["model"]) | set(found["measured"]) <= set(re.findall(r"`(\w+)`", section))
