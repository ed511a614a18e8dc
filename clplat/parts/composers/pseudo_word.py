"""Pseudo-words: the picture becomes a word of a sentence that the text tower reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor, nn

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.mechanisms.concepts import Concepts
from clplat.mechanisms.inversion import Inversion, Inverted
from clplat.mechanisms.pseudo_words import Sentences, Template
from clplat.mechanisms.word_details import Attributes, Intent, Neighbours
from clplat.mechanisms.word_maps import Prefixes, SoftVocabulary, Words, mlp
from clplat.mechanisms.word_tasks import Tasks
from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.composers._word_terms import Step, terms_of

__all__ = ["PseudoWord"]

_Mapper = Literal["mlp", "transformer", "vocabulary", "intent", "attributes", "neighbours", "inversion"]
#: Maps of the pooled feature alone, so that a caption's feature may stand for a picture's.
_OF_FEATURES = ("mlp", "transformer", "vocabulary")
_INVERSION, _TASKS = Inversion(), Tasks()


class PseudoWord(Composer):
    """Textual inversion: ``q = E_T("a photo of * that <text>")``, where * stands for words of the picture.

    Words are made by a map phi, the only thing that is trained, through the frozen text tower, or by gradient
    steps for each picture. The text tower's own feature of the text is computed where phi reads it only.

    Objectives of its own, all off by default, stand beside the task's:

    - ``inversion``, as Pic2Word: the contrastive loss, in both directions, between "a photo of *" and the
      picture itself.
    - ``distil``, as SEARLE: the contrastive loss between phi's words and those that gradient steps find for
      each picture (`clplat.mechanisms.inversion`), at temperature 0.25, with negatives on both sides.
    - ``tasks``: phrases, captions alone, text triplets and others (`clplat.mechanisms.word_tasks.Tasks`).
      Those with captions need ``--transform captions_beside``.

    Args:
        template: the sentence before the text, with one ``*``, or two where words are attributes.
        words: pseudo-words for a picture, or for its attributes.
        hidden: width of phi's hidden layers; of a vocabulary, its size.
        depth: number of hidden layers, or of a transformer's.
        dropout: behind each, in training.
        activation: of phi.
        inversion: weight of Pic2Word's objective.
        distil: weight of SEARLE's.
        steps: gradient steps of each picture's inversion.
        mapper: how words are made: ``mlp``, ``transformer`` (ClipCap), ``vocabulary`` (Ovis) of the pooled
            feature; ``intent`` (Context-I2W) and ``attributes`` (FTI4CIR) of patches; ``neighbours`` (KEDs)
            of a bank of training pictures and texts; ``inversion``: gradient steps, nothing is trained.
        supplement: share of a map of the text's feature that is added to the words (DeG).
        oti: how gradient steps find words.
        tasks: weights of other objectives.
        phrases: JSON file ``{concept: [phrase, ...]}``; None: a few simple ones about everyday nouns.

    Raises:
        ValueError: a size below 1, a weight below 0, a dropout outside [0, 1), a template without its ``*``,
            a mapper that does not go with the words or with an objective.

    Reference:
        Saito et al., "Pic2Word: Mapping Pictures to Words for Zero-shot Composed Image Retrieval", CVPR 2023,
        arXiv:2302.03084; Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV
        2023, arXiv:2303.15247 (SEARLE).

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = PseudoWord(hidden=8)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.places
        5
    """

    def __init__(
        self,
        template: str = "a photo of * that",
        words: Annotated[int, Int(1, 4)] = 1,
        hidden: Annotated[int, Int(64, 4096, log=True)] = 512,
        depth: Annotated[int, Int(1, 3)] = 2,
        dropout: Annotated[float, Float(0.0, 0.7)] = 0.1,
        activation: Literal["relu", "gelu", "tanh"] = "relu",
        inversion: float = 0.0,
        distil: float = 0.0,
        steps: int = 350,
        mapper: Annotated[_Mapper, Choice("mlp", "transformer", "vocabulary")] = "mlp",
        supplement: float = 0.0,
        oti: Inversion = _INVERSION,
        tasks: Tasks = _TASKS,
        phrases: str | None = None,
    ) -> None:
        super().__init__()
        self.template, self.words, self.hidden, self.depth = template, words, hidden, depth
        self.dropout, self.activation, self.mapper, self.supplement = dropout, activation, mapper, supplement
        self.inversion, self.distil, self.steps = inversion, distil, steps
        self.oti, self.tasks, self.phrases = oti, tasks, phrases
        self._refuse()
        patches = mapper in ("intent", "attributes")
        reads = POOLED if mapper == "intent" or supplement else NOTHING
        self.wants: Mapping[str, frozenset[str]] = {  # type: ignore[misc]
            "image": POOLED | ({"tokens", "states"} if patches else NOTHING),
            "text": reads | {"input"},
        }
        self.fits = mapper == "neighbours"

    def _refuse(self) -> None:
        stars = 2 if self.mapper == "attributes" else 1
        if self.template.count("*") != stars:
            many = "one * for" if stars == 1 else "two * for the subject and"
            raise ValueError(f"template '{self.template}' must have {many} the pseudo-words")
        sizes = (self.words, self.hidden, self.depth, self.steps)
        if min(sizes) < 1 or not 0.0 <= self.dropout < 1.0:
            raise ValueError(
                f"needs words, hidden, depth and steps >= 1 and 0 <= dropout < 1, "
                f"not {self.words}, {self.hidden}, {self.depth}, {self.steps} and {self.dropout}"
            )
        if not min(self.inversion, self.distil, self.supplement) >= 0:
            raise ValueError(
                f"inversion, distil and supplement must be at least 0, "
                f"not {self.inversion}, {self.distil} and {self.supplement}"
            )
        for name, value, allowed in (
            ("activation", self.activation, ("relu", "gelu", "tanh")),
            ("mapper", self.mapper, get_args(_Mapper)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is '{value}'; allowed: {', '.join(allowed)}")
        if (fixed := {"intent": 1, "neighbours": 3}.get(self.mapper, self.words)) != self.words:
            raise ValueError(f"mapper '{self.mapper}' makes {fixed} words, not {self.words}")
        of_captions = [name for name in ("language", "triplets") if getattr(self.tasks, name)]
        if of_captions and self.mapper not in _OF_FEATURES:
            raise ValueError(
                f"tasks.{of_captions[0]} needs a mapper of {', '.join(_OF_FEATURES)}, not '{self.mapper}'"
            )

    @property
    def objectives(self) -> tuple[str, ...]:
        """Those of a weight above 0."""
        weights = {"inversion": self.inversion, "distil": self.distil}
        return (*(name for name, weight in weights.items() if weight), *self.tasks.names)

    def attach(self, towers: Towers) -> None:
        """Draw phi for these widths.

        Raises:
            UserError: the text tower takes no embeddings, or the sentence leaves no room for a text.
        """
        if not towers.text_tokens:
            raise UserError("a pseudo-word needs a causal CLIP text tower, which takes embeddings")
        counts = (1, self.words) if self.mapper == "attributes" else (self.words,)
        self._sentence = Template(towers, self.template, counts)
        self.places = self._sentence.places
        if self.places > towers.room - 3:
            raise UserError(
                f"template '{self.template}' leaves no room for a text: it takes {self.places} places"
            )
        self._towers, self._reader = towers, Sentences(towers)
        told = self.oti.phrases or self.tasks.phrases or self.mapper == "neighbours"
        self._concepts = Concepts.read(towers, self._reader, self.phrases) if told else None
        self._frozen = towers.frozen() if self.tasks.triplets else towers
        self._inverted = Inverted(
            self._sentence, towers.text_tokens, self.steps, self.oti, self._reader, self._concepts
        )
        self.phi = self._map(towers)
        width, out = towers.joint, self._sentence.words * towers.text_tokens
        self.adds = mlp(width, self.hidden, out, depth=1) if self.supplement else None

    def _map(self, towers: Towers) -> nn.Module:
        width, out, tokens = towers.joint, towers.text_tokens, towers.image_tokens
        hidden, dropout = self.hidden, self.dropout
        if self.mapper in ("intent", "attributes") and not tokens:
            raise UserError(f"mapper '{self.mapper}' needs a standard image tower, which has patches")
        if self.mapper == "transformer":
            return Prefixes(width, self.words, out, self.depth)
        if self.mapper == "vocabulary":
            return SoftVocabulary(width, self.words, out, hidden)
        if self.mapper == "intent":
            return Intent(tokens, width, out, hidden=hidden, dropout=dropout, depth=self.depth)
        if self.mapper == "attributes":
            return Attributes(
                tokens, width, out, hidden=hidden, dropout=dropout, top=self.words, depth=self.depth
            )
        if self.mapper == "neighbours":
            assert self._concepts is not None
            return Neighbours(width, out, hidden=hidden, texts=self._concepts.rows, dropout=dropout)
        if self.mapper == "inversion":
            return nn.Identity()
        out *= self.words
        return mlp(width, hidden, out, depth=self.depth, dropout=dropout, activation=self.activation)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert text.input_ids is not None
        words = self._words(image, text)
        if self.adds is not None:
            more = self.adds(text.pooled).view_as(words.vectors)
            words.vectors = words.vectors + self.supplement * more
        if self.training:
            self._seen = (image, words)
        if self.training and self.unread and not self.tasks.told:
            return torch.full_like(image.pooled, torch.nan)
        return self._sentence.with_text(words.vectors, text.input_ids, words.present)

    def _words(self, image: ImageFeatures, text: TextFeatures) -> Words:
        if self.mapper == "inversion":
            return Words(self._inverted(image.keys or [""] * len(image.pooled), image.pooled))
        if self.mapper == "neighbours":
            return Words(self.phi(image.pooled))
        if self.mapper in _OF_FEATURES:
            return Words(self.words_of(image.pooled))
        assert image.states is not None and image.tokens is not None
        whole = image.states[:, -1]
        if self.mapper == "intent":
            return Words(self.phi(whole, image.tokens, text.pooled)[:, None])
        found: Words = self.phi(image.pooled, torch.cat([whole[:, None], image.tokens], dim=1))
        return found

    def words_of(self, pooled: Tensor) -> Tensor:
        """Pseudo-words (B, words, W) of features (B, D), where phi reads nothing else."""
        made: Tensor = self.phi(pooled).unflatten(1, (self.words, -1))
        return made

    def fit(self, image: Tensor, text: Tensor, target: Tensor) -> None:
        """Fill the bank of neighbours, where there is one, with training pictures."""
        if isinstance(self.phi, Neighbours):
            self.phi.fit(torch.cat([image, target]))

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """The objectives with a weight; those of phi as long as it is trained."""
        image, words = self._seen
        step = Step(batch, outputs, image, words)
        weights = {"inversion": self.inversion, "distil": self.distil}
        weights |= {name: getattr(self.tasks, name) for name in self.tasks.names}
        return terms_of(self, {name: weight for name, weight in weights.items() if weight}, step)
