"""Concepts that pictures may show, and phrases about them: what keeps pseudo-words among real words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.lexicon import NOUNS
from clplat.mechanisms.pseudo_words import Sentences
from clplat.models.view import Towers

__all__ = ["Concepts", "simple_phrases"]

_FORMS = ("a {} in a room", "the {} of a friend", "a new {} for sale", "a {} and some other things")


def simple_phrases() -> dict[str, list[str]]:
    """A few phrases about each noun of the lexicon, in place of those that a language model would write.

    Example:
        >>> simple_phrases()["dress"][:2]
        ['a dress in a room', 'the dress of a friend']
    """
    return {noun: [form.format(noun) for form in _FORMS] for noun in sorted(NOUNS)}


class Concepts:
    """Concepts by name, their features, and phrases in which a pseudo-word may take their place.

    Features are those of the towers when this is made: "a photo of a <concept>".

    Attributes:
        rows: (N, D), not normalised.

    Args:
        towers: whose features they are.
        reader: of the phrases.
        phrases: concept -> phrases; one without the concept in it is left out.

    Raises:
        UserError: no phrase says its concept.

    Reference:
        Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023,
        arXiv:2303.15247.
    """

    def __init__(self, towers: Towers, reader: Sentences, phrases: Mapping[str, Sequence[str]]) -> None:
        said = {name: [text for text in texts if name in text] for name, texts in phrases.items()}
        self.phrases = {name: texts for name, texts in said.items() if texts}
        if not self.phrases:
            raise UserError("no phrase holds the concept that it is about")
        self._reader, self._towers, self._names = reader, towers, list(self.phrases)
        with torch.no_grad():
            found = [
                towers.text([f"a photo of a {name}" for name in self._names[i : i + 256]]).pooled
                for i in range(0, len(self._names), 256)
            ]
        self.rows = torch.cat(found)

    @classmethod
    def read(cls, towers: Towers, reader: Sentences, path: str | None) -> Concepts:
        """Those of a JSON file ``{concept: [phrase, ...]}``, or `simple_phrases` where there is none.

        Raises:
            UserError: a file that is none, or of another form.
        """
        if path is None:
            return cls(towers, reader, simple_phrases())
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"phrases of '{path}' cannot be read: {error}") from None
        if not isinstance(held, dict) or not all(isinstance(texts, list) for texts in held.values()):
            raise UserError(f"phrases of '{path}' must be an object of lists: {{concept: [phrase, ...]}}")
        return cls(towers, reader, held)

    def nearest(self, unit: Tensor, count: int) -> list[list[str]]:
        """The names of the concepts nearest to each of these unit features (B, D), the nearest first."""
        scores = unit.detach() @ F.normalize(self.rows, dim=-1).to(unit).T
        chosen = scores.topk(min(count, len(self._names)), dim=1).indices.tolist()
        return [[self._names[i] for i in row] for row in chosen]

    def away(
        self, words: Tensor, near: Sequence[Sequence[str]], draws: Sequence[torch.Generator | None]
    ) -> Tensor:
        """``1 - cos(E_T(p with *), E_T(p))`` (B,) for a phrase p about one of each picture's concepts.

        Args:
            words: (B, words, W).
            near: of each row, the concepts from which one is drawn.
            draws: of each row; None: torch's own generator.
        """
        said = [self._phrase(names, draw) for names, draw in zip(near, draws, strict=True)]
        with torch.no_grad():
            goal = self._towers.text([plain for plain, _ in said]).pooled
        read = self._reader([changed for _, changed in said], words)
        return 1 - F.cosine_similarity(read, goal)

    def _phrase(self, names: Sequence[str], draw: torch.Generator | None) -> tuple[str, str]:
        name = names[int(torch.randint(len(names), (), generator=draw))]
        texts = self.phrases[name]
        text = texts[int(torch.randint(len(texts), (), generator=draw))]
        return text, text.replace(name, "*", 1)
