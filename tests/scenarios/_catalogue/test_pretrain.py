"""`clplat pretrain`: any captioned pictures in, a folder that open_clip itself loads out."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.testing.twins import attributes
from scenarios._catalogue.captions import Captions
from scenarios._catalogue.presets import TINY
from scenarios._catalogue.pretrain import pretrain
from scenarios._catalogue.sources import captioned_pictures
from scenarios._catalogue.views import random_views

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


def test_a_model_in_the_cache_is_named_by_what_made_it(
    listed: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "cache"))
    told: list[str] = []
    options = {"source": str(listed), "config": config, "epochs": 1, "batch_size": 16, "report": told.append}
    first = pretrain(**options)  # type: ignore[arg-type]
    assert pretrain(**options).name == first.name and len(told) == 1, "it is there already"  # type: ignore[arg-type]
    other = pretrain(**{**options, "seed": 1})  # type: ignore[arg-type]
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join(line.replace("a blue square", "a blue box") for line in lines))
    said = pretrain(**options)  # type: ignore[arg-type]
    assert len({first.name, other.name, said.name}) == 3 and len(told) == 3
    assert all("cache/pretrained/pairs-" in model.name for model in (first, other, said))


def test_a_stream_is_a_source_and_the_small_preset_learns_from_it(tmp_path: Path) -> None:
    shop = attributes(tmp_path / "shop", items=120)
    stream = tmp_path / "shop.yaml"
    slots = {"name": "attributes", "table": str(shop), "attributes": ["type", "colour", "gender"]}
    stream.write_text(json.dumps({"scenario": slots}))
    pictures = captioned_pictures(str(stream), 50, 0)
    assert len({picture.key for picture in pictures}) == 50 < len(pictures) and pictures[0].caption
    model = tmp_path / "model.json"
    model.write_text(json.dumps({**SMALL, "text_cfg": {**SMALL["text_cfg"], "context_length": 24}}))
    told: list[str] = []
    sizes = {"config": model, "epochs": 8, "batch_size": 32, "lr": 5e-3}
    pretrain(tmp_path / "out", source=str(stream), preset="small", report=told.append, **sizes)  # type: ignore[arg-type]
    losses = [float(line.rsplit(" ", 1)[1]) for line in told]
    assert losses[-1] < losses[0]
    stream.write_text('{"scenario": "catalogue"}')
    with pytest.raises(UserError, match="scenario catalogue has no captions"):
        captioned_pictures(str(stream), 50, 0)
    with pytest.raises(UserError, match="unknown preset 'smal'; did you mean 'small'"):
        pretrain(tmp_path / "out", preset="smal")


def test_one_caption_of_each_picture_is_drawn_and_right_for_all_that_have_it() -> None:
    words = {"a": ["red", "bag", "bag"], "b": ["bag"], "c": ["blue"]}
    pictures = [Picture(key, partial(Image.new, "RGB", (8, 8)), text) for key in words for text in words[key]]
    captions = Captions(pictures)
    assert captions.texts == ["red", "bag", "blue"] and len(captions) == 3
    seen = Counter[str]()
    for step in range(300):
        drawn, true = captions.draw([0, 2, 1], torch.Generator().manual_seed(step))
        said = [captions.texts[i] for i in drawn]
        seen[said[0]] += 1
        assert true.tolist() == [[text in words[key] for text in said] for key in ("a", "c", "b")]
    assert 150 < seen["bag"] < 250, "twice as often as the other"


def test_views_keep_colours_and_depend_on_the_generator_alone() -> None:
    pixels = torch.zeros(8, 3, 20, 20, dtype=torch.uint8)
    pixels[:, 0] = 200
    pixels[:, :, :, :10] //= 2
    one, two, other = (
        random_views(pixels, "crop_flip", 16, torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    )
    assert one.shape == (8, 3, 16, 16) and torch.equal(one, two) and not torch.equal(one, other)
    assert (one[:, 0].float().mean((1, 2)) - one[:, 1].float().mean((1, 2)) > 60).all(), "red stays red"
    bright = [view[0, :, 8:].float().mean() > view[0, :, :8].float().mean() for view in one]
    assert 0 < sum(bright) < 8, "some are flipped"
