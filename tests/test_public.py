"""The public names: one import line for parts, a trained model in one call, ``python -m clplat``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import clplat
import clplat.parts
from clplat.data.images import PixelStore, Preprocess
from clplat.errors import UserError
from clplat.search import Searcher


def declared(module: str) -> set[str]:
    """What type checkers see: the names imported below ``if TYPE_CHECKING``."""
    tree = ast.parse(Path(module).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        a.asname or a.name
        for node in ast.walk(blocks[0])
        if isinstance(node, ast.ImportFrom)
        for a in node.names
    }


@pytest.mark.parametrize("module", [clplat, clplat.parts], ids=["clplat", "clplat.parts"])
def test_every_public_name_is_there_and_known_to_type_checkers(module: object) -> None:
    names = set(module.__all__)  # type: ignore[attr-defined]
    assert all(getattr(module, name) is not None for name in names)
    assert declared(str(module.__file__)) == names - {"__version__"}  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # type: ignore[attr-defined]  # noqa: B018


SMALL = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 20, "gallery": 20, "size": 16},
    "train": {"epochs": 1, "batch_size": 8},
}


@pytest.mark.parametrize("strategy", ["naive", "lora_per_domain"])
def test_a_trained_model_is_loaded_without_its_data(
    strategy: str, small_backbone: Path, tmp_path: Path
) -> None:
    raw = {**SMALL, "backbone": f"local-dir:{small_backbone}", "strategy": strategy}
    clplat.run(raw, tmp_path / "run")
    retriever = clplat.load(tmp_path / "run")
    assert not retriever.training
    searcher = Searcher(tmp_path / "run")
    items, gallery = searcher.gallery()
    pictures = [item.picture for item in items if item.picture is not None]
    pixels = PixelStore(Preprocess(retriever.backbone.image_size, "clip")).get(pictures)
    with torch.no_grad():
        again = retriever.encode_images(pixels)
    assert torch.allclose(again, gallery, atol=1e-5)
    assert not torch.equal(clplat.load(tmp_path / "run", version=0).encode_images(pixels), again)


def test_what_is_not_there_is_reported(small_backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no finished model version yet"):
        clplat.load(tmp_path)
    clplat.run({**SMALL, "backbone": f"local-dir:{small_backbone}", "strategy": "frozen"}, tmp_path / "run")
    with pytest.raises(UserError, match=r"has no version 9 \(there are: 0, 1, 2\)"):
        clplat.load(tmp_path / "run", version=9)


def test_a_part_by_name() -> None:
    assert clplat.part("composers", "sum").__name__ == "Sum"
    assert "replay" in clplat.names("strategies")
