"""Pseudo-words: vectors in the place of words, in sentences that the text tower reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.mechanisms.contrast import alike, cosines, nce
from clplat.models.features import POOLED, TextFeatures, Wants
from clplat.models.view import Towers

__all__ = ["Sentences", "Template", "joint_nce", "symmetric_nce"]


class Template:
    """Token embeddings of a sentence with pseudo-words in place of each ``*``, and a text behind it.

    Args:
        towers: whose text tower reads it.
        lead: the sentence up to the text: ``"a photo of * that"``, ``"a photo of * with * but"``.
        words: pseudo-words that stand for each ``*``.

    Attributes:
        places: of the context that the sentence takes, SOS and EOT not counted.
        words: pseudo-words altogether.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> template = Template(Towers(tiny_backbone()), "a photo of * that", words=2)
        >>> template.places
        6
        >>> template.alone(torch.zeros(3, 2, 48)).shape
        torch.Size([3, 24])
    """

    def __init__(self, towers: Towers, lead: str, words: int | Sequence[int] = 1) -> None:
        self._towers = towers
        counts = [words] if isinstance(words, int) else list(words)
        if len(counts) != lead.count("*"):
            raise ValueError(f"template '{lead}' must have {len(counts)} * for the pseudo-words")
        first, *others = (_ids(towers, piece) for piece in lead.split("*"))
        ids, slots = first, list[int]()
        for count, piece in zip(counts, others, strict=True):
            slots += range(1 + len(ids), 1 + len(ids) + count)
            ids = [*ids, *[0] * count, *piece]
        self._ids, self._slots = ids, slots
        self.places, self.words = len(ids), len(slots)

    def with_text(self, vectors: Tensor, input_ids: Tensor, present: Tensor | None = None) -> Tensor:
        """Pooled features (B, D) of the sentence with these pseudo-words and a text behind it.

        A text that does not fit beside the sentence loses its last words, never its EOT.

        Args:
            vectors: (B, words, W).
            input_ids: (B, L), as from the tokenizer.
            present: (B, words), which of the words there are; the others leave no gap.
        """
        return self._read(vectors, input_ids, self._ids, present).pooled

    def features(self, vectors: Tensor, input_ids: Tensor, wants: Wants) -> TextFeatures:
        """As `with_text`, but any features of that sentence."""
        return self._read(vectors, input_ids, self._ids, None, wants)

    def alone(self, vectors: Tensor, present: Tensor | None = None) -> Tensor:
        """Pooled features (B, D) of the sentence up to the pseudo-words, such as "a photo of *"."""
        nothing = self._towers.tokenize([""]).to(vectors.device)
        ids = self._ids[: self._slots[-1]]
        return self._read(vectors, nothing.expand(len(vectors), -1), ids, present).pooled

    def _read(
        self,
        vectors: Tensor,
        input_ids: Tensor,
        fixed: list[int],
        present: Tensor | None,
        wants: Wants = POOLED,
    ) -> TextFeatures:
        towers, count = self._towers, len(input_ids)
        sentence = torch.tensor(fixed, device=input_ids.device).expand(count, -1)
        ends = towers.text_ends(input_ids)
        eot = input_ids.gather(1, ends[:, None])
        ids = torch.cat([input_ids[:, :1], sentence, input_ids[:, 1:]], dim=1)[:, : towers.room]
        ends = (ends + len(fixed)).clamp(max=ids.shape[1] - 1)
        ids = ids.scatter(1, ends[:, None], eot)
        ids = ids[:, : int(ends.max()) + 1]  # nothing behind the longest text is run
        x = towers.embed_text(ids)
        slots = torch.tensor(self._slots, device=x.device)
        x = x.index_copy(1, slots, vectors.to(x.dtype))
        if present is not None:
            kept = torch.ones_like(ids, dtype=torch.bool).index_copy(1, slots, present)
            order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
            x = x.gather(1, order[:, :, None].expand_as(x))
            ends = ends - (~present).sum(1)
        return towers.text_from_embeddings(x, ends, wants, shared=self._slots[0])


class Sentences:
    """Reads sentences with pseudo-words in place of every ``*``, wherever it stands.

    Args:
        towers: whose text tower reads.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> reader = Sentences(Towers(tiny_backbone()))
        >>> reader(["a * on a *", "*"], torch.zeros(2, 1, 48)).shape
        torch.Size([2, 24])
    """

    def __init__(self, towers: Towers) -> None:
        self._towers = towers
        start = towers.tokenize([""])[0]
        self._ends = start[:1].tolist(), int(start[int(towers.text_ends(start[None])[0])])
        self._known: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str], vectors: Tensor, present: Tensor | None = None) -> Tensor:
        """Pooled features (B, D).

        Args:
            texts: with any number of ``*``; what exceeds the context is cut.
            vectors: (B, words, W), of which all stand for each ``*``.
            present: (B, words), which of them there are; None: all.
        """
        every = range(vectors.shape[1])
        own = [every] * len(texts) if present is None else [row.nonzero()[:, 0].tolist() for row in present]
        read = [self._tokens(text, words) for text, words in zip(texts, own, strict=True)]
        longest = max(map(len, read))
        ids = [[max(token, 0) for token in row] + [0] * (longest - len(row)) for row in read]
        x = self._towers.embed_text(torch.tensor(ids, device=vectors.device))
        found = [(i, k, -1 - token) for i, row in enumerate(read) for k, token in enumerate(row) if token < 0]
        if found:
            rows, places, which = torch.tensor(found, device=x.device).T
            x = x.index_put((rows, places), vectors[rows, which].to(x.dtype))
        ends = torch.tensor([len(row) - 1 for row in read], device=vectors.device)
        return self._towers.text_from_embeddings(x, ends, shared=_shared(read)).pooled

    def _tokens(self, text: str, words: Sequence[int]) -> list[int]:
        """Ids from SOS to EOT; -1 - n for the n-th pseudo-word."""
        start, eot = self._ends
        ids = [*start]
        for i, piece in enumerate(text.split("*")):
            ids += [-1 - word for word in words] if i else []
            if piece not in self._known:
                self._known[piece] = _ids(self._towers, piece)
            ids += self._known[piece]
        return [*ids[: self._towers.room - 1], eot]


def _shared(read: Sequence[Sequence[int]]) -> int:
    """How many places all of these sentences begin with alike, before a pseudo-word and before any EOT."""
    alike = 0
    for tokens in zip(*(row[:-1] for row in read), strict=False):
        if min(tokens) < 0 or min(tokens) < max(tokens):
            break
        alike += 1
    return alike


def _ids(towers: Towers, text: str) -> list[int]:
    ids = towers.tokenize([text])
    found: list[int] = ids[0, 1 : int(towers.text_ends(ids)[0])].tolist()
    return found


def symmetric_nce(left: Tensor, right: Tensor, names: list[str], scale: Tensor | float) -> Tensor:
    """The contrastive loss of rows (B, D) that belong together, in both directions.

    Args:
        names: of the rows; those of one name all belong together.
        scale: of the cosines.

    Example:
        >>> rows = torch.eye(3)
        >>> float(symmetric_nce(rows, rows, ["a", "b", "c"], 100.0)) < 1e-6
        True
    """
    logits, same = scale * cosines(left, right), alike(names, left.device)
    return (nce(logits, same) + nce(logits.T, same)) / 2


def joint_nce(left: Tensor, right: Tensor, names: list[str], scale: Tensor | float) -> Tensor:
    """As `symmetric_nce`, where the other rows of its own side are negatives of a row too.

    ``-mean_i log(exp(s z_i . z_p(i)) / sum_{j != i} exp(s z_i . z_j))`` over all 2 B unit rows z, p(i) the
    row on the other side. Further rows of the same name do not count.

    Example:
        >>> rows = torch.eye(3)
        >>> round(float(joint_nce(rows, rows, ["a", "b", "c"], 1.0)), 4)  # log(1 + 4 / e)
        0.9048
    """
    both = torch.cat([F.normalize(left, dim=-1), F.normalize(right, dim=-1)])
    logits, count = scale * both @ both.T, len(left)
    own = torch.eye(count, dtype=torch.bool, device=logits.device)
    other = alike(names, logits.device) & ~own
    left_out = torch.cat([torch.cat([own | other, other], 1), torch.cat([other, own | other], 1)])
    place = torch.arange(2 * count, device=logits.device).roll(count)
    return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), place)
