"""A page of training triplets, drawn at random: reference, words, right answer, and pictures near it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from clplat.data.records import Domain, Item, Picture, Query, RetrievalSet
from clplat.randomness import generator
from clplat.retrieval_grid import Answer, draw_grid

__all__ = ["ENDINGS", "page"]

ENDINGS = (".png", ".html")
#: Answers and wrong items of a row, and gallery items among which the latter are looked for.
_RIGHT, _WRONG, _AMONG = 2, 4, 200


def page(domains: Sequence[Domain], rows: int, seed: int = 0, ending: str = ".png") -> bytes:
    """Queries of test sets, or of others where there is none, each with right answers and items like them.

    Args:
        domains: the stream; every domain has its turn.
        rows: queries on the page.
        seed: of the draw.
        ending: ``".png"``, or ``".html"`` for a page that holds the picture.
    """
    draw = generator(seed)
    held = [(d.name, d.sets.get("test") or next(iter(d.sets.values()))) for d in domains if d.sets]
    lines = []
    for row in range(rows):
        name, part = held[row % len(held)]
        query = part.queries[int(torch.randint(len(part.queries), (1,), generator=draw))]
        shown = _answers(query, part, draw)
        lines.append((name, query.reference, " / ".join(query.said), shown))
    file = io.BytesIO()
    draw_grid(lines).save(file, "PNG")
    if ending == ".png":
        return file.getvalue()
    picture = base64.b64encode(file.getvalue()).decode()
    title = '<!doctype html><meta charset="utf-8"><title>data</title>'
    return f'{title}<img alt="queries and answers" src="data:image/png;base64,{picture}">\n'.encode()


def _answers(query: Query, part: RetrievalSet, draw: torch.Generator) -> list[Answer]:
    """Right answers, then the wrong items of a sample whose pictures are nearest to the first of them."""
    wanted = set(query.targets)
    right = [item for item in part.gallery.items if item.key in wanted][:_RIGHT]
    own = query.reference.key if query.reference is not None else None
    order = torch.randperm(len(part.gallery.items), generator=draw)[:_AMONG].tolist()
    sample = [part.gallery.items[place] for place in order]
    wrong = [item for item in sample if item.key not in wanted and item.key != own]
    if right and right[0].picture is not None:
        target = _small(right[0].picture)
        wrong.sort(key=lambda item: _apart(item, target))
    known = part.labels == "known"
    return [*((item, True) for item in right), *((item, False if known else None) for item in wrong[:_WRONG])]


def _apart(item: Item, target: np.ndarray) -> float:
    return float(np.abs(_small(item.picture) - target).mean()) if item.picture is not None else 1e9


def _small(picture: Picture) -> np.ndarray:
    """A picture of 8 x 8 pixels."""
    shown = picture.read(16).convert("RGB").resize((8, 8), Image.Resampling.BOX)
    return np.asarray(shown, dtype=np.float32)
