"""CE-CLIP's typed negatives: one of each type that a text allows."""

from __future__ import annotations

import pytest
import torch

from clplat.data.records import Example, Pair
from clplat.parts.transforms.wrong_words import WrongWords
from clplat.randomness import generator
from clplat.testing import tiny_domains


def typed(text: str, seed: int = 0) -> dict[str, str | None]:
    example: Example = WrongWords()(Pair("0", "ein Bild", text, "d"), generator(seed))
    return {negative.kind: negative.item.text for negative in example.negatives}


def test_each_type_changes_what_it_says() -> None:
    found = typed("a young man sitting on a horse")
    assert list(found) == ["relation", "attribute", "object", "action"]
    assert found["relation"] == "a young horse sitting on a man"
    assert found["attribute"] == "an old man sitting on a horse"
    assert found["action"] in {
        f"a young man {verb} on a horse"
        for verb in ("standing", "lying", "running", "walking", "jumping", "flying", "swimming")
    }
    assert found["object"] not in (None, "a young man sitting on a horse")


def test_a_type_that_a_text_does_not_allow_is_left_out() -> None:
    assert list(typed("a red zorb")) == ["attribute"] and typed("zorbs") == {}


def test_what_is_drawn_differs_from_moment_to_moment() -> None:
    assert len({typed("a red bag with a bow", seed)["attribute"] for seed in range(30)}) > 4


def test_a_triplet_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="--transform captions,wrong_words"):
        WrongWords()(tiny_domains()[0].train[0], torch.Generator())
