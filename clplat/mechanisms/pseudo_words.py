"""Pseudo-words: vectors in the place of a word, in a template that the text tower reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.models.features import POOLED, TextFeatures, Wants
from clplat.models.view import Towers

__all__ = ["Template", "symmetric_nce"]


class Template:
    """Token embeddings of a sentence with pseudo-words in place of ``*``, and a text behind it.

    Args:
        towers: whose text tower reads it.
        lead: the sentence up to the text, with one ``*``: ``"a photo of * that"``.
        words: pseudo-words that stand for the ``*``.

    Attributes:
        places: of the context that the sentence takes, SOS and EOT not counted.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> template = Template(Towers(tiny_backbone()), "a photo of * that", words=2)
        >>> template.places
        6
        >>> template.alone(torch.zeros(3, 2, 48)).shape
        torch.Size([3, 24])
    """

    def __init__(self, towers: Towers, lead: str, words: int = 1) -> None:
        before, _, behind = lead.partition("*")
        self._towers, self.words = towers, words
        self._before, self._behind = (self._ids(part) for part in (before, behind))
        self.places = len(self._before) + words + len(self._behind)

    def _ids(self, text: str) -> list[int]:
        ids = self._towers.tokenize([text])
        end = int(self._towers.text_ends(ids)[0])
        found: list[int] = ids[0, 1:end].tolist()
        return found

    def with_text(self, vectors: Tensor, input_ids: Tensor) -> Tensor:
        """Pooled features (B, D) of the sentence with these pseudo-words and a text behind it.

        A text that does not fit beside the sentence loses its last words, never its EOT.

        Args:
            vectors: (B, words, W).
            input_ids: (B, L), as from the tokenizer.
        """
        return self._read(vectors, input_ids, self._behind, POOLED).pooled

    def features(self, vectors: Tensor, input_ids: Tensor, wants: Wants) -> TextFeatures:
        """As `with_text`, but any features of that sentence."""
        return self._read(vectors, input_ids, self._behind, wants)

    def alone(self, vectors: Tensor) -> Tensor:
        """Pooled features (B, D) of the sentence up to the pseudo-words, such as "a photo of *"."""
        nothing = self._towers.tokenize([""]).to(vectors.device)
        return self._read(vectors, nothing.expand(len(vectors), -1), [], POOLED).pooled

    def _read(self, vectors: Tensor, input_ids: Tensor, behind: list[int], wants: Wants) -> TextFeatures:
        towers, start = self._towers, 1 + len(self._before)
        fixed = [*self._before, *[0] * self.words, *behind]
        sentence = torch.tensor(fixed, device=input_ids.device).expand(len(input_ids), -1)
        ends = towers.text_ends(input_ids)
        eot = input_ids.gather(1, ends[:, None])
        ids = torch.cat([input_ids[:, :1], sentence, input_ids[:, 1:]], dim=1)[:, : towers.room]
        ends = (ends + len(fixed)).clamp(max=ids.shape[1] - 1)
        ids = ids.scatter(1, ends[:, None], eot)
        embeddings = towers.embed_text(ids)
        vectors = vectors.to(embeddings.dtype)
        x = torch.cat([embeddings[:, :start], vectors, embeddings[:, start + self.words :]], dim=1)
        return towers.text_from_embeddings(x, ends, wants)


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
    logits = scale * F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    numbers = torch.tensor([number[name] for name in names], device=logits.device)
    same = (numbers[:, None] == numbers[None]).to(logits.dtype)
    same = same / same.sum(dim=1, keepdim=True)
    rows = -(same * logits.log_softmax(dim=1)).sum(dim=1)
    columns = -(same * logits.T.log_softmax(dim=1)).sum(dim=1)
    return (rows + columns).mean() / 2
