"""SugarCrepe++ from small files in its own format, against scores by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from clplat.errors import UserError
from clplat.parts.probes import SugarCrepePP
from clplat.parts.probes._contrasts import Contrast, Contrasts
from clplat.testing import ProbesContract, tiny_domains

ENTRIES = {
    "swap_att": [
        {
            "id": 0,
            "filename": "000000000001.jpg",
            "caption": "A red frame, a blue square.",
            "caption2": "A blue square in a red frame.",
            "negative_caption": "A blue frame, a red square.",
        },
        {
            "id": 1,
            "filename": "000000000002.jpg",
            "caption": "A green square.",
            "caption2": "A square that is green.",
            "negative_caption": "A gray square.",
        },
    ],
    "replace_obj": [
        {
            "id": 7,
            "filename": "000000000001.jpg",
            "caption": "A blue square.",
            "caption2": "The square is blue.",
            "negative_caption": "A blue circle.",
        }
    ],
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    data, pictures = tmp_path / "data", tmp_path / "val2017"
    data.mkdir()
    pictures.mkdir()
    for name, entries in ENTRIES.items():
        (data / f"{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    for number, colour in ((1, "blue"), (2, "green")):
        Image.new("RGB", (20, 20), colour).save(pictures / f"{number:012}.jpg")
    return str(data), str(pictures)


class TestSugarCrepePP(ProbesContract):
    @pytest.fixture(autouse=True)
    def _folders(self, folders: tuple[str, str]) -> None:
        self.folders = folders

    def make(self) -> SugarCrepePP:
        return SugarCrepePP(*self.folders)


class Fixed:
    """A model whose embeddings are given."""

    def __init__(self, images: Tensor, texts: dict[str, Tensor]) -> None:
        self._images, self._texts = images, texts

    def images(self, pictures: Any, *, raw: bool = False) -> Tensor:
        return self._images[: len(pictures)]

    def texts(self, texts: Any, *, raw: bool = False) -> Tensor:
        return torch.stack([self._texts[text] for text in texts])


def test_every_file_is_a_probe_of_both_tasks(folders: tuple[str, str]) -> None:
    replaced, swapped = SugarCrepePP(*folders).build()
    assert (replaced.name, swapped.name) == ("sugarcrepe-pp/replace_obj", "sugarcrepe-pp/swap_att")
    assert (swapped.group, swapped.headline) == ("composition", "accuracy")
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(2, 4, generator=draw)
    texts = {text: torch.randn(4, generator=draw) for text in swapped.texts}
    found = swapped.measure(Fixed(images, texts))  # type: ignore[arg-type]
    pictures = {"000000000001.jpg": images[0], "000000000002.jpg": images[1]}
    itt = tot = 0
    for entry in ENTRIES["swap_att"]:
        image = pictures[str(entry["filename"])].double()
        one, two, no = (
            texts[str(entry[key])].double() for key in ("caption", "caption2", "negative_caption")
        )
        itt += bool(image @ one > image @ no and image @ two > image @ no)
        tot += bool(one @ two > one @ no and one @ two > two @ no)
    assert found == {"accuracy": 50.0 * itt, "text accuracy": 50.0 * tot}


def test_a_tie_is_lost() -> None:
    picture = tiny_domains()[0].test.gallery.pictures[0]
    probe = Contrasts("tied", [Contrast(picture, ("a",), ("b",), "even")])
    same = Fixed(torch.ones(1, 2), {"a": torch.ones(2), "b": torch.ones(2)})
    assert probe.measure(same) == {"accuracy": 0.0, "even accuracy": 0.0}  # type: ignore[arg-type]


def test_what_is_not_of_the_format_is_named(folders: tuple[str, str]) -> None:
    data, pictures = folders
    with pytest.raises(ValueError, match="there is no folder nowhere"):
        SugarCrepePP(data, "nowhere")
    with pytest.raises(ValueError, match="no JSON file"):
        SugarCrepePP(pictures, pictures)
    Path(pictures, "000000000002.jpg").unlink()
    with pytest.raises(UserError, match="not there"):
        SugarCrepePP(data, pictures).build()
    Path(data, "add_att.json").write_text('[{"filename": "a.jpg", "caption": "a"}]', encoding="utf-8")
    with pytest.raises(ValueError, match=r"add_att.json: entry 0 has no caption2"):
        SugarCrepePP(data, pictures)
