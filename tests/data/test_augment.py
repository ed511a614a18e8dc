"""Random views of training pictures: which are drawn, which are kept, and that a run says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.augment import Augment
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.events import Listener
from clplat.runs.experiment import run
from clplat.testing.tiny import tiny_domains, tiny_retriever


def half_and_half() -> Image.Image:
    picture = Image.new("RGB", (40, 30), "red")
    picture.paste("blue", (20, 0, 40, 30))
    return picture


SHOWN = Picture("half", half_and_half)


def test_equal_moments_get_equal_views_and_others_other_ones() -> None:
    augment = Augment("crop_flip", views=0, seed=0)
    keys = [augment(SHOWN, f"0/{epoch}/a/reference").key for epoch in range(20)]
    assert len(set(keys)) == 20
    again = [augment(SHOWN, f"0/{epoch}/a/reference").load().tobytes() for epoch in range(20)]
    once = [augment(SHOWN, f"0/{epoch}/a/reference").load().tobytes() for epoch in range(20)]
    assert again == once and len(set(once)) > 15
    other_seed = Augment("crop_flip", views=0, seed=1)(SHOWN, "0/0/a/reference")
    assert other_seed.key not in keys


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(0, 1 << 30))
def test_kept_views_are_so_many_and_the_same_in_every_experiment(views: int, seed: int) -> None:
    drawn = [Augment("crop", views, seed)(SHOWN, f"moment {i}") for i in range(60)]
    assert len({picture.key for picture in drawn}) == views
    assert not any(picture.once for picture in drawn)
    pixels = {picture.key: picture.load().tobytes() for picture in drawn}
    for picture in (Augment("crop", views, seed + 1)(SHOWN, f"moment {i}") for i in range(60)):
        assert pixels.get(picture.key, picture.load().tobytes()) == picture.load().tobytes()


def test_a_flip_is_a_flip_and_happens_every_other_time() -> None:
    views = [Augment("flip", 0, 0)(SHOWN, str(i)).load() for i in range(200)]
    left = [view.getpixel((0, 0)) for view in views]
    assert set(left) == {(255, 0, 0), (0, 0, 255)}
    assert 70 < left.count((0, 0, 255)) < 130
    assert {view.size for view in views} == {(40, 30)}


def test_a_crop_keeps_most_of_the_picture() -> None:
    for i in range(100):
        width, height = Augment("crop", 0, 0)(SHOWN, str(i)).load().size
        assert 0.5 * 1200 <= width * height <= 1200


def test_pictures_that_do_not_come_back_go_through_the_tower_and_are_not_kept() -> None:
    retriever = tiny_retriever()
    retriever.cache = features = FeatureCache(retriever.backbone, Store(None))
    triplets = tiny_domains()[0].train[:8]
    for views, live in ((0, 16), (3, 0)):
        collate = Collate(PixelStore(Preprocess(16)), retriever.backbone.tokenize, Augment("crop", views, 0))
        before = features.counts["image"].live
        retriever(collate.at("0/0")(triplets))
        assert features.counts["image"].live - before == live


def test_only_training_is_augmented() -> None:
    store = PixelStore(Preprocess(16))
    collate = Collate(store, tiny_retriever().backbone.tokenize, Augment("crop", 2, 0))
    triplets = tiny_domains()[0].train[:4]
    plain = Collate(store, tiny_retriever().backbone.tokenize)(triplets)
    assert torch.equal(collate(triplets).pictures.pixels, plain.pictures.pixels)
    assert not torch.equal(collate.at("0/0")(triplets).pictures.pixels, plain.pictures.pixels)


class Notes(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(("views", "tap", "words"), [(0, "live", "anew"), (2, "pooled", "2 views")])
def test_a_run_says_what_it_does_with_them(views: int, tap: str, words: str, tmp_path: Path) -> None:
    config = {
        "scenario": {
            "name": "catalogue",
            "domains": 1,
            "train": 16,
            "queries": 20,
            "gallery": 20,
            "size": 16,
        },
        "composer": "combiner",
        "adapter": "none",
        "data": {"augment": "crop_flip", "views": views},
        "train": {"epochs": 2, "batch_size": 8},
    }
    notes = Notes()
    result = run(config, tmp_path / "run", listener=notes)
    assert any(words in note for note in notes.notes)
    taps = result["measured"]["features"]["image"]["taps"]
    assert taps.get("live", 0) == (4 if tap == "live" else 0) and tap in taps


def test_a_wrong_number_of_views_is_refused() -> None:
    with pytest.raises(UserError, match="views must be at least 0, not -1"):
        Augment("crop", -1, 0)
