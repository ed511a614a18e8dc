"""The examples of docs/parts.md are parts that run, together, in one experiment."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from clplat.config.resolve import resolve, spaces
from clplat.kinds import KINDS
from clplat.runs.experiment import run

PAGE = (Path(__file__).parents[2] / "docs" / "parts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COLOURS = ("red", "green", "blue", "yellow", "purple", "gray")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("parts")
    (folder / "documented_parts.py").write_text("\n\n".join(BLOCKS), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("documented_parts")


def table(folder: Path) -> Path:
    """Two domains of coloured squares as the scenario of the page wants them."""
    lines = []
    for domain, side in (("small", 16), ("wide", 24)):
        for split, copies in (("train", 2), ("val", 1), ("test", 1)):
            for i, colour in enumerate(COLOURS):
                Image.new("RGB", (side, 16), colour).save(folder / f"{domain}-{split}-{colour}.png")
                for copy in range(copies):
                    goal = COLOURS[(i + 1 + copy) % len(COLOURS)]
                    names = [f"{domain}-{split}-{name}.png" for name in (colour, goal)]
                    lines.append(f"{domain},{split},{names[0]},make it {goal},{names[1]}")
    (folder / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "table.csv"


def test_all_parts_of_the_page_in_one_experiment(
    parts: ModuleType, small_backbone: Path, tmp_path: Path
) -> None:
    result = run(
        {
            "scenario": {"name": "documented_parts:Table", "path": str(table(tmp_path))},
            "backbone": f"local-dir:{small_backbone}",
            "adapter": "documented_parts:Biases",
            "composer": {"name": "documented_parts:Gated", "start": 0.4},
            "head": "documented_parts:Halved",
            "scorer": "documented_parts:Shifted",
            "projection": "documented_parts:LeastSquares",
            "transform": "documented_parts:Mumbled",
            "loss": "documented_parts:Margin",
            "strategy": {"name": "documented_parts:Average", "decay": 0.8},
            "train": {"epochs": 2, "batch_size": 4},
        },
        tmp_path / "run",
    )
    assert result["status"] == "complete"
    assert result["domains"] == ["small", "wide"]
    assert result["cost"]["optimizer_steps"] > 0
    assert 0 < result["cost"]["trainable_parameters"] < 2000
    assert (tmp_path / "run" / "projections" / "2-to-1.safetensors").exists()


def test_annotations_are_search_spaces(parts: ModuleType) -> None:
    raw: dict[str, Any] = {"strategy": "documented_parts:Average", "composer": "documented_parts:Gated"}
    found = spaces(resolve(raw))
    assert {"strategy.decay", "composer.start"} <= set(found)


def contract() -> type:
    """The contract class of the page, so that pytest collects its tests here."""
    space: dict[str, Any] = {"__name__": "documented_contract"}
    exec("\n\n".join(BLOCKS), space)
    found: type = space["TestAverage"]
    return found


TestAverage = contract()


def test_every_kind_of_part_is_explained() -> None:
    for kind in filter(None, (kind.plural for kind in KINDS.values())):
        assert f"`clplat.{kind}`" in PAGE
