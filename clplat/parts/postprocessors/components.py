"""ComCLIP: the parts of a picture that a query's words name count more."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Int
from clplat.data.records import Picture
from clplat.mechanisms.words import tagged
from clplat.parts.postprocessors._base import PostProcessor, Shortlist

__all__ = ["Components", "recomposed"]

#: Kinds of words that name a part of a picture: subjects and objects, what they are like, what they do.
_NAMING = ("noun", "adjective", "verb")


class Components(PostProcessor):
    """Reranks by ``cos(q, v + sum_k w_k v_k)``, v_k the part of the picture that word k matches best.

    Parts are cells of a grid with all else blacked out; words are those of the query's text that name
    something; ``w_k`` is the share of word k in the matches of all. A candidate without a picture, and a
    query without such words, keep their scores.

    Args:
        shortlist: candidates of each query.
        grid: a picture has ``grid * grid`` parts.

    Raises:
        ValueError: a shortlist or grid below 1.

    Reference:
        Jiang et al., "ComCLIP: Training-Free Compositional Image and Text Matching", NAACL 2024,
        arXiv:2211.13854.

    Example:
        >>> Components().words("the red shoe, with a strap")
        ['red', 'shoe', 'strap']
    """

    def __init__(
        self, shortlist: Annotated[int, Int(5, 50)] = 10, grid: Annotated[int, Int(2, 4)] = 2
    ) -> None:
        if shortlist < 1 or grid < 1:
            raise ValueError(f"shortlist and grid must be at least 1, not {shortlist} and {grid}")
        self.shortlist, self.grid = shortlist, grid

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K); each part of each distinct candidate and each distinct word is embedded once."""
        named = [self.words(" ".join(query.said)) for query in found.queries]
        words = list(dict.fromkeys(word for some in named for word in some))
        distinct = [row for row in torch.unique(found.rows).tolist() if row >= 0]
        shown = [(row, picture) for row in distinct if (picture := found.items[row].picture) is not None]
        if not words or not shown:
            return found.scores.clone()
        said = dict(zip(words, found.texts(words), strict=True))
        views = [view for _, picture in shown for view in (picture, *self.parts(picture))]
        embedded = found.images(views).view(len(shown), 1 + self.grid**2, -1)
        place, scores = {row: i for i, (row, _) in enumerate(shown)}, found.scores.clone()
        for query, (some, rows) in enumerate(zip(named, found.rows.tolist(), strict=True)):
            columns = [k for k, row in enumerate(rows) if row in place]
            if some and columns:
                held = embedded[[place[rows[k]] for k in columns]]
                rebuilt = recomposed(held[:, 0], held[:, 1:], torch.stack([said[word] for word in some]))
                scores[query, columns] = rebuilt @ found.embedded[query]
                found.spent.pairs += len(columns)
        return scores

    def words(self, text: str) -> list[str]:
        """What names a part of a picture, in order, each once."""
        return list(dict.fromkeys(word.lower for word in tagged(text) if word.kind in _NAMING))

    def parts(self, picture: Picture) -> list[Picture]:
        """The picture with all but one cell blacked out, row by row."""
        return [
            Picture(
                f"{picture.key}#only{part}/{self.grid}",
                partial(_only, picture, self.grid, part),
                stamp=picture.stamp,
            )
            for part in range(self.grid**2)
        ]


def recomposed(whole: Tensor, parts: Tensor, words: Tensor) -> Tensor:
    """Unit rows (N, D) of ``v + sum_k w_k v_k`` with ``w_k = s_k / sum_j s_j``, s_k the best match of word k.

    Args:
        whole: (N, D) unit rows v; parts: (N, P, D); words: (W, D).

    Example:
        >>> parts = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> recomposed(torch.tensor([[0.6, 0.8]]), parts, torch.tensor([[1.0, 0.0]]))
        tensor([[0.8944, 0.4472]])
    """
    matches, which = torch.einsum("npd,wd->nwp", parts, words).max(2)
    weights = matches / matches.sum(1, keepdim=True)
    chosen = parts.gather(1, which[..., None].expand(-1, -1, parts.shape[2]))
    return normalize(whole + (weights[..., None] * chosen).sum(1), dim=1)


def _only(picture: Picture, grid: int, part: int) -> Image.Image:
    whole = picture.load()
    row, column = divmod(part, grid)
    box = (
        whole.width * column // grid,
        whole.height * row // grid,
        max(whole.width * (column + 1) // grid, whole.width * column // grid + 1),
        max(whole.height * (row + 1) // grid, whole.height * row // grid + 1),
    )
    black = Image.new("RGB", whole.size)
    black.paste(whole.crop(box), box[:2])
    return black
