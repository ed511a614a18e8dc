"""Pseudo-words: the picture becomes a word of a sentence that the text tower reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.mechanisms.inversion import Inverted
from clplat.mechanisms.pseudo_words import Template, symmetric_nce
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["PseudoWord"]


class PseudoWord(Composer):
    """Textual inversion: ``q = E_T("a photo of * that <text>")``, where * is a map phi of the picture.

    Only phi is trained, through the frozen text tower; the text tower's own feature of the text is not
    computed. phi is an MLP from the pooled feature to token embeddings.

    Two objectives of its own, both off by default, stand beside the task's:

    - ``inversion``, as Pic2Word: the contrastive loss, in both directions, between "a photo of *" and the
      picture itself.
    - ``distil``, as SEARLE: the contrastive loss between phi's words and those that gradient steps find for
      each picture (`clplat.mechanisms.inversion`), at temperature 0.25.

    Args:
        template: the sentence before the text, with one ``*``.
        words: pseudo-words for a picture.
        hidden: width of phi's hidden layers.
        depth: number of hidden layers.
        dropout: behind each, in training.
        activation: of phi.
        inversion: weight of Pic2Word's objective.
        distil: weight of SEARLE's.
        steps: gradient steps of each picture's inversion.

    Raises:
        ValueError: a size below 1, a weight below 0, a dropout outside [0, 1), a template without one ``*``.

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

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": POOLED, "text": frozenset({"input"})}

    def __init__(
        self,
        template: str = "a photo of * that",
        words: Annotated[int, Int(1, 4)] = 1,
        hidden: Annotated[int, Int(64, 4096, log=True)] = 512,
        depth: Annotated[int, Int(1, 3)] = 2,
        dropout: Annotated[float, Float(0.0, 0.7)] = 0.1,
        activation: Literal["relu", "gelu"] = "relu",
        inversion: float = 0.0,
        distil: float = 0.0,
        steps: int = 350,
    ) -> None:
        super().__init__()
        if template.count("*") != 1:
            raise ValueError(f"template '{template}' must have one * for the pseudo-words")
        if min(words, hidden, depth, steps) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs words, hidden, depth and steps >= 1 and 0 <= dropout < 1, "
                f"not {words}, {hidden}, {depth}, {steps} and {dropout}"
            )
        if not (inversion >= 0 and distil >= 0):
            raise ValueError(f"inversion and distil must be at least 0, not {inversion} and {distil}")
        if activation not in ("relu", "gelu"):
            raise ValueError(f"activation is '{activation}'; allowed: relu, gelu")
        self.template = template
        self.words = words
        self.hidden = hidden
        self.depth = depth
        self.dropout = dropout
        self.activation = activation
        self.inversion = inversion
        self.distil = distil
        self.steps = steps

    @property
    def objectives(self) -> tuple[str, ...]:
        """Those of a weight above 0."""
        weights = {"inversion": self.inversion, "distil": self.distil}
        return tuple(name for name, weight in weights.items() if weight)

    def attach(self, towers: Towers) -> None:
        """Draw phi for these widths.

        Raises:
            UserError: the text tower takes no embeddings, or the sentence leaves no room for a text.
        """
        if not towers.text_tokens:
            raise UserError("a pseudo-word needs a causal CLIP text tower, which takes embeddings")
        self._sentence = Template(towers, self.template, self.words)
        self.places = self._sentence.places
        if self.places > towers.room - 3:
            raise UserError(
                f"template '{self.template}' leaves no room for a text: it takes {self.places} places"
            )
        self._towers = towers
        self._inverted = Inverted(self._sentence, towers.text_tokens, self.steps)
        layers: list[nn.Module] = []
        width = towers.joint
        for _ in range(self.depth):
            act = nn.ReLU() if self.activation == "relu" else nn.GELU()
            layers += [nn.Linear(width, self.hidden), act, nn.Dropout(self.dropout)]
            width = self.hidden
        self.phi = nn.Sequential(*layers, nn.Linear(width, self.words * towers.text_tokens))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert text.input_ids is not None
        vectors = self.phi(image.pooled).unflatten(1, (self.words, -1))
        if self.training:
            self._seen = (image, vectors)
        return self._sentence.with_text(vectors, text.input_ids)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``inversion`` and ``distil``, where they have a weight."""
        image, vectors = self._seen
        keys = image.keys or [str(i) for i in range(len(vectors))]
        terms: dict[str, Tensor] = {}
        if self.inversion:
            said = self._sentence.alone(vectors)
            terms["inversion"] = self.inversion * symmetric_nce(said, image.pooled, keys, self._towers.scale)
        if self.distil:
            goal = self._inverted(keys, image.pooled)
            terms["distil"] = self.distil * symmetric_nce(vectors.flatten(1), goal.flatten(1), keys, 4.0)
        return terms
