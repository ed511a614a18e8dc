"""`clplat pretrain`: any captioned pictures in, a folder that open_clip itself loads out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from scenarios._catalogue.pretrain import TINY, captioned_pictures, pretrain

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture()
def listed(tmp_path: Path) -> Path:
    lines = []
    for i in range(64):
        colour = COLOURS[i % 4]
        Image.new("RGB", (20, 24), colour).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"picture": f"{i}.png", "caption": f"a {colour} square"}))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    return tmp_path / "pairs.jsonl"


@pytest.fixture()
def config(tmp_path: Path) -> Path:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(SMALL))
    return path


def test_it_learns_repeats_itself_and_open_clip_loads_it(listed: Path, config: Path, tmp_path: Path) -> None:
    import open_clip

    options = {"source": str(listed), "config": config, "epochs": 12, "batch_size": 16, "lr": 5e-3}
    told: list[str] = []
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model = pretrain(tmp_path / "one", report=told.append, **options)  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())
    pretrain(tmp_path / "two", report=lambda line: None, **options)  # type: ignore[arg-type]
    weights = "open_clip_model.safetensors"
    assert (tmp_path / "one" / weights).read_bytes() == (tmp_path / "two" / weights).read_bytes()
    losses = [float(line.rsplit(" ", 1)[1]) for line in told]
    assert losses[-1] < losses[0] - 0.5

    pictures = captioned_pictures(str(listed), 64, 0)[:16]
    pixels = torch.stack([_pixels(p.load()) for p in pictures])
    ids = model.tokenize([f"a {colour} square" for colour in COLOURS])
    with torch.inference_mode():
        similar = model.image(pixels).pooled @ model.text(ids).pooled.T
    named = [COLOURS[i] for i in similar.argmax(1).tolist()]
    assert sum(name in str(p.caption) for name, p in zip(named, pictures, strict=True)) >= 12

    stock = open_clip.create_model(f"local-dir:{tmp_path / 'one'}")
    assert stock.visual.image_size in (16, (16, 16))


def _pixels(picture: Image.Image) -> torch.Tensor:
    from clplat.data.images import Preprocess

    return Preprocess(16)(picture)


def test_the_shipped_model_is_what_the_script_makes_and_small_enough() -> None:
    import clplat

    folder = Path(clplat.__file__).parent / "weights" / "clplat-tiny"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    model = Backbone.load("clplat-tiny")
    for tower in ("vision_cfg", "text_cfg"):
        assert TINY[tower].items() <= model.model_cfg[tower].items()
    beside_vocabulary = sum(p.numel() for n, p in model.named_parameters() if "token_embedding" not in n)
    assert 0.5e6 < beside_vocabulary < 1.5e6


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown source 'catalog'"):
        captioned_pictures("catalog", 10, 0)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("file,words\na.png,a thing\n")
    with pytest.raises(UserError, match="every line needs 'picture' and 'caption'"):
        captioned_pictures(str(wrong), 10, 0)
    with pytest.raises(UserError, match="cannot read"):
        captioned_pictures(str(tmp_path / "none.jsonl"), 10, 0)


def test_too_few_pairs_for_a_batch(listed: Path, config: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="64 pairs do not fill one batch of 128"):
        pretrain(tmp_path / "out", source=str(listed), config=config, report=lambda line: None)
