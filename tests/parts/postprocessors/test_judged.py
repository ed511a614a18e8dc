"""Shortlists judged by words."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from PIL import Image

from clplat.data.records import Item, Picture, Query
from clplat.data.text_table import TextTable
from clplat.errors import UserError
from clplat.parts.postprocessors._base import Shortlist
from clplat.parts.postprocessors.judged import Judged

CAPTIONS = ("a red bag", "a blue bag with a bow", "a blue bag", "a blue hat", "a blue small bag")


def picture(key: str, caption: str | None) -> Picture:
    return Picture(key, partial(Image.new, "RGB", (8, 8)), caption)


def shortlist(text: str = "is blue and has no bow", captions: Any = CAPTIONS) -> Shortlist:
    items = [Item.of(picture(str(i), caption)) for i, caption in enumerate(captions)]
    asked = Query("q", picture("ref", "a red bag with a bow"), text, ())
    rows = torch.arange(len(items))[None]
    return Shortlist((asked,), torch.zeros(1, 4), items, rows, -rows.float(), lambda _: torch.empty(0))


def order(part: Judged, found: Shortlist) -> list[int]:
    scores = part.rerank(found)[0]
    return found.rows[0][scores.argsort(descending=True, stable=True)].tolist()


def test_propositions_that_hold_are_counted_and_equal_ones_keep_their_order() -> None:
    found = shortlist()
    assert Judged(shortlist=5).rerank(found).tolist() == [[1.0, 1.0, 2.0, 2.0, 2.0]]
    assert order(Judged(shortlist=5), found) == [2, 3, 4, 0, 1] and found.spent.pairs == 2 * 5


def test_those_that_are_accepted_come_first_in_their_order() -> None:
    """The public code takes places out of a list that gets shorter: of two it moves a wrong one."""
    captions = ("a blue hat", "a blue bag", "a blue cup", "a small blue bag", "a blue shoe")
    part = Judged(shortlist=5, accept=4)
    found = shortlist(captions=captions)
    assert order(part, found) == [1, 3, 0, 2, 4] and found.spent.pairs == 9
    assert order(Judged(shortlist=5, accept=3), shortlist(captions=captions)) == [1, 0, 2, 3, 4]


def test_answers_of_a_table_count_before_captions(tmp_path: Any) -> None:
    rows = {("ref", "is blue"): ("a blue bag",), ("ref", ""): ("a red bag",)}
    rows |= {(str(i), ""): (caption,) for i, caption in enumerate(CAPTIONS)}
    rows |= {("0", "blue"): ("Yes, quite.",), ("2", "blue"): ("No, though the eyes are.",)}
    rows |= {("3", "a blue bag"): ("0 0 0 0 1",), ("1", "a blue bag"): ("5 apples",)}
    TextTable(rows).write(tmp_path / "t.jsonl")
    given = str(tmp_path / "t.jsonl")
    found = shortlist("is blue")
    assert Judged(shortlist=5, texts=given).rerank(found).tolist() == [[1.0, 1.0, 0.0, 1.0, 1.0]]
    levels = Judged(shortlist=5, by="levels", texts=given).rerank(found)[0]
    assert levels[3] == 5.0 and levels[1] == levels[2] > levels[0]


def test_levels_and_pairs_rank_by_what_is_shown() -> None:
    found = shortlist("is blue")
    wide = Judged(shortlist=5, by="levels", temperature=1.0).rerank(found)[0]
    share, level = torch.tensor(1 / 3), torch.arange(5)
    p = (-(4 * share - level).square()).softmax(0)
    assert wide[0] == pytest.approx(float((p * (level + 1)).sum()), abs=1e-5)
    before = found.spent.pairs
    pairs = Judged(shortlist=5, by="pairs").rerank(found)
    assert found.spent.pairs - before == 20 and pairs.sum() == pytest.approx(20.0)
    assert pairs[0].argmax() == 1, "the bow of the reference stays"


def test_a_candidate_without_caption_is_told() -> None:
    with pytest.raises(UserError, match="picture '1' has no caption"):
        Judged(shortlist=5).rerank(shortlist(captions=("a red bag", None)))
    with pytest.raises(ValueError, match="accept"):
        Judged(shortlist=5, accept=6)
