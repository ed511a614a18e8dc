"""What others may have written or changed, and clplat reads again: one line names it, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.cache.maintenance import check, listing
from clplat.cache.segments import digest_of, write_segment
from clplat.cache.store import Store
from clplat.data.sources.json_lines import open_json_lines
from clplat.errors import UserError
from clplat.models.hugging_face.folder import converted
from clplat.models.hugging_face.preprocessing import preprocess_cfg
from clplat.models.hugging_face.siglip import PREPROCESSOR
from clplat.models.hugging_face.words import tokenizer_of
from clplat.models.loading import load
from clplat.parts.adapters.peft import load_adapter
from clplat.parts.probes.sugarcrepe_pp import SugarCrepePP
from clplat.parts.teachers.stored import Stored
from clplat.plots.grids import side_by_side
from clplat.sweep.rows import replicate_of
from clplat.testing.tiny import tiny_retriever
from clplat.training.learner import Learner
from clplat.trees import save_tree

Read = Callable[[Path], object]
DEEP = "[" * 100_000


def refused(read: Callable[[], object], name: str) -> str:
    with pytest.raises((UserError, ValueError)) as caught:
        read()
    said = str(caught.value)
    assert type(caught.value) in (UserError, ValueError), f"{type(caught.value).__name__}: {said}"
    assert "\n" not in said and name in said and len(said) < 400
    return said


READERS: dict[str, tuple[str, Read]] = {
    "note of an adapter": ("clplat.json", lambda folder: load_adapter(tiny_retriever().backbone, folder)),
    "open_clip's configuration": ("open_clip_config.json", lambda folder: load(str(folder), None)),
    "transformers' configuration": ("config.json", converted),
    "where weights are": ("model.safetensors.index.json", lambda folder: converted(with_config(folder))),
    "transformers' tokenizer": ("tokenizer.json", lambda folder: tokenizer_of(folder, 100)),
    "transformers' pictures": (
        "preprocessor_config.json",
        lambda folder: preprocess_cfg(folder, PREPROCESSOR, 224),
    ),
    "captions of a probe": ("swap_obj.json", lambda folder: SugarCrepePP(str(folder), str(folder))),
}
BROKEN: dict[str, list[Any]] = {
    "note of an adapter": [[], 5, {}, {"method": 5, "options": {}, "base": "x"}, {"method": "lora"},
    {"method": "lora", "options": [], "base": "x"}, {"method": "lora", "options": {}, "base": None},
    {"method": "lora", "options": {"nothing": 1}, "base": "x"}, {"method": [], "options": {}, "base": "x"}],
    "open_clip's configuration": [[], {"model_cfg": {"embed_dim": 8, "vision_cfg": [], "text_cfg": {}}},
    {"model_cfg": 5}],
    "transformers' configuration": [[], {"model_type": []}, {"model_type": "clip", "text_config": [1]},
    {"model_type": "clip", "vision_config_dict": "x"},
    {"model_type": "clip", "text_config": {"hidden_act": []}},
    {"model_type": "clip", "vision_config": {"patch_size": []}}],
    "where weights are": [[], 5, {}, {"weight_map": []}, {"weight_map": {"a": 5}}],
    "transformers' tokenizer": [[], 5, {"model": None}, {"model": [1]}],
    "transformers' pictures": [[], {"size": []}, {"image_mean": None}, {"image_std": ["x"]}],
    "captions of a probe": [5, [5], "x", {"a": None}, None, [{"filename": 5}]],
}  # fmt: skip


def with_config(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    return folder


@pytest.mark.parametrize("what", READERS)
def test_a_document_that_is_none_is_one_line(what: str, tmp_path: Path) -> None:
    name, read = READERS[what]
    for content in [*map(json.dumps, BROKEN[what]), DEEP, "{", "\xff"]:
        (tmp_path / "model.safetensors").touch()
        (tmp_path / name).write_text(content, encoding="latin-1")
        refused(lambda: read(tmp_path), name)


@pytest.mark.parametrize("content", [DEEP, '{"a": ' + DEEP, '{"a": 1}\n' + DEEP])
def test_rows_that_are_nested_too_deeply_are_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    refused(lambda: open_json_lines(tmp_path / "rows.jsonl"), "rows.jsonl")


@pytest.mark.parametrize("key", [{"what": float("nan")}, {"shape": 5}, {"what": {}}, [], {"shape": ["x"]}])
def test_a_key_of_the_store_that_is_none_is_said_and_costs_no_table(key: Any, tmp_path: Path) -> None:
    folder = tmp_path / "ab" / digest_of({"what": "image"})
    write_segment(folder, folder.name, ["a"], torch.ones(1, 2))
    (folder / "key.json").write_text(json.dumps(key))
    assert check(folder) == [f"{folder / 'key.json'} is not the key of this table"]
    _, body, _ = listing(Store(tmp_path).info())
    assert body[0][1:3] == ["?", "?"]


@pytest.mark.parametrize("tree", [{}, [], {"weights": {"a": 5}, "strategy": None}, {"weights": []}])
def test_a_teacher_that_is_no_version_is_one_line(tree: Any, tmp_path: Path) -> None:
    save_tree(tmp_path / "1.safetensors", tree)
    retriever = tiny_retriever()
    learner = Learner(retriever, torch.optim.SGD(retriever.parameters(), lr=0.0))
    refused(lambda: Stored(str(tmp_path / "1.safetensors")).begin(learner), "1.safetensors")


def test_measured_values_that_are_none_are_one_line(tmp_path: Path) -> None:
    save_tree(tmp_path / "values" / "0.safetensors", {"R@5": [1.0]})
    refused(lambda: replicate_of(tmp_path, {"scores": [{}]}), "0.safetensors")


@pytest.mark.parametrize("said", ["[5]", "5", '[{"query": "a"}]', '{"a": 1}', '[{"best": 5}]', DEEP])
def test_a_grid_that_says_nonsense_of_its_queries_costs_no_page(said: str, tmp_path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("queries", said)
    Image.new("RGB", (9, 9)).save(tmp_path / "step_1.png", pnginfo=about)
    assert side_by_side({"replay": tmp_path / "step_1.png"}, {}) == {}
