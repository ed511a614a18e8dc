"""ComCLIP's weights by hand in float64, blacked out parts, and no candidate that is skipped in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clplat.data.records import Item, Picture, Query
from clplat.parts.postprocessors._base import Shortlist
from clplat.parts.postprocessors.components import Components, recomposed
from clplat.randomness import generator


def test_the_parts_that_words_match_are_added_by_their_share() -> None:
    draw = generator(0, "parts")
    whole, parts, words = (torch.rand(*size, generator=draw) for size in ((2, 5), (2, 3, 5), (4, 5)))
    got = recomposed(whole, parts, words)
    for n in range(2):
        p, w = parts[n].double().numpy(), words.double().numpy()
        chosen = [max(range(3), key=lambda i: float(p[i] @ word)) for word in w]
        matches = [float(p[i] @ word) for i, word in zip(chosen, w, strict=True)]
        total = whole[n].double().numpy() + sum(
            m / sum(matches) * p[i] for m, i in zip(matches, chosen, strict=True)
        )
        assert np.allclose(got[n], total / np.linalg.norm(total), atol=1e-6)


def painted(key: str) -> Picture:
    picture = Image.new("RGB", (5, 5), (200, 10, 10))
    return Picture(key, lambda: picture)


def found(items: list[Item], text: str | None, embed: Any) -> Shortlist:
    rows, scores = torch.tensor([[0, 1]]), torch.tensor([[0.3, 0.2]])
    query = Query("q", painted("r"), text, ())
    return Shortlist(
        [query], torch.eye(3)[:1], items, rows, scores, embed, say=lambda texts: torch.eye(3)[: len(texts)]
    )


def reds(pictures: Any) -> torch.Tensor:
    """The share of red pixels, and a constant."""
    shares = [float((np.asarray(picture.load())[..., 0] > 100).mean()) for picture in pictures]
    return torch.tensor([[share, 1.0, 0.0] for share in shares])


def test_all_but_a_part_is_black_and_the_parts_cover_the_picture() -> None:
    parts = [np.asarray(part.load()).astype(int) for part in Components(grid=2).parts(painted("a"))]
    assert np.array_equal(sum(parts), np.asarray(painted("a").load())), "each pixel is in one part"


def test_words_without_a_picture_and_queries_without_words_keep_their_scores() -> None:
    items = [Item.of(painted("a")), Item.of(text="words")]
    got = Components(grid=2).rerank(shown := found(items, "a red shoe", reds))
    assert got[0, 1] == shown.scores[0, 1] and got[0, 0] != shown.scores[0, 0]
    assert (shown.spent.pictures, shown.spent.texts, shown.spent.pairs) == (5, 2, 1)
    silent = found(items, "with and of", reds)
    assert torch.equal(Components().rerank(silent), silent.scores) and silent.spent.pictures == 0


def test_a_picture_that_cannot_be_read_is_an_error_and_no_smaller_denominator() -> None:
    def missing() -> Image.Image:
        raise FileNotFoundError("b.jpg")

    items = [Item.of(painted("a")), Item.of(Picture("b", missing))]
    with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
        Components().rerank(found(items, "a red shoe", reds))


@pytest.mark.parametrize("wrong", [{"shortlist": 0}, {"grid": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Components(**wrong)
