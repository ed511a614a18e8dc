"""Optimisation-based textual inversion: the pseudo-words with which a sentence comes nearest to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.concepts import Concepts
from clplat.mechanisms.pseudo_words import Sentences, Template
from clplat.randomness import generator

__all__ = ["TEMPLATES", "Inversion", "Inverted"]

#: Pictures that are inverted together; always this many, padded by repetition, so that a picture's words do
#: not depend on the others.
_CHUNK = 16
#: Sentences of which one is drawn at each step, as those of Cohen et al., "This is my unicorn, Fluffy", 2022.
TEMPLATES = tuple(
    start.format(kind)
    for kind in ("photo", "illustration", "sketch", "diagram")
    for start in ("this is a {} of a *", "this {} contains a *", "a {} of a *", "we see a * {}", "* {}")
)


@dataclass(frozen=True)
class Inversion:
    """How pseudo-words are found.

    Args:
        lr: of AdamW, with decoupled weight decay 0.01.
        average: decay of a moving average of the words over the steps, which counts; 0: the last ones.
        varied: one of `TEMPLATES` is drawn at each step, in place of the sentence's own.
        noise: deviation of normal noise that is added to the sentence's unit feature.
        phrases: weight of the loss on phrases about the picture's concepts; that of the picture is 1.
        concepts: of a picture, from which a phrase is drawn at each step.

    Raises:
        ValueError: a number out of its range.
    """

    lr: Annotated[float, Float(2e-3, 0.1, log=True)] = 2e-2
    average: float = 0.0
    varied: bool = False
    noise: float = 0.0
    phrases: float = 0.0
    concepts: int = 15

    def __post_init__(self) -> None:
        if self.concepts < 1 or not 0 <= self.average < 1:
            raise ValueError(
                f"inversion needs concepts >= 1 and 0 <= average < 1, not {self.concepts} and {self.average}"
            )
        if not (self.lr > 0 and self.noise >= 0 and self.phrases >= 0):
            raise ValueError(
                f"inversion needs lr > 0, noise and phrases >= 0, "
                f"not {self.lr}, {self.noise} and {self.phrases}"
            )


class Inverted:
    """Pseudo-words of pictures, each found once: gradient steps on ``1 - cos(E_T("a photo of *"), v)``.

    With phrases ``(1 - cos(E_T(sentence), v) + w (1 - cos(E_T(p with *), E_T(p)))) / (1 + w)``, p a phrase
    about one of the picture's nearest concepts, in which ``*`` takes the concept's place. Words depend on the
    picture's name and feature alone, so that an interrupted run finds the same ones again; a feature that
    another version of the model gives has words of its own.

    Args:
        template: the sentence.
        width: of the token embeddings.
        steps: of the optimizer.
        how: what else there is.
        reader: of phrases and of other sentences.
        concepts: which phrases there are, where they have a weight.

    Reference:
        Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023,
        arXiv:2303.15247; Agnolucci et al., "iSEARLE", 2024, arXiv:2405.02951 (noise).
    """

    def __init__(
        self,
        template: Template,
        width: int,
        steps: int,
        how: Inversion,
        reader: Sentences,
        concepts: Concepts | None = None,
    ) -> None:
        self.template, self.width, self.steps, self.how = template, width, steps, how
        self.reader, self.concepts = reader, concepts
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, keys: Sequence[str], pooled: Tensor) -> Tensor:
        """The pseudo-words (B, words, W) of these pictures.

        Args:
            keys: of the pictures; one without a name is found anew each time.
            pooled: their features (B, D); unit length is not needed.
        """
        pooled = pooled.detach()
        names = [key or f"picture {i}" for i, key in enumerate(keys)]
        place = {
            name: i for i, name in reversed(list(enumerate(names))) if not self._is_known(name, pooled[i])
        }
        missing = sorted(place)
        for start in range(0, len(missing), _CHUNK):
            chosen = missing[start : start + _CHUNK]
            padded = chosen + chosen[:1] * (_CHUNK - len(chosen))
            rows = pooled[[place[name] for name in padded]]
            found = self._invert(padded, rows)
            self._known |= {n: (v, w) for n, v, w in zip(chosen, rows, found, strict=False)}
        words = torch.stack([self._known[name][1] for name in names]).to(pooled.device)
        for name, key in zip(names, keys, strict=True):
            if not key:
                self._known.pop(name, None)
        return words

    def _is_known(self, name: str, feature: Tensor) -> bool:
        """Whether words were found for this picture as this version of the model sees it.

        The same weights may round a feature otherwise in another batch; they do not move it.
        """
        if name not in self._known:
            return False
        held = self._known[name][0].to(feature.device)
        return bool((held - feature).norm() <= 1e-4 * feature.norm())

    def _invert(self, keys: Sequence[str], pooled: Tensor) -> Tensor:
        how, shape = self.how, (self.template.words, self.width)
        draws = [generator(0, "inversion", key) for key in keys]
        drawn = [torch.empty(shape).normal_(std=0.02, generator=draw) for draw in draws]
        turns = generator(0, "inversion", "sentences")
        with torch.inference_mode(False), torch.enable_grad():
            goal = F.normalize(pooled.clone().float(), dim=-1)
            words = torch.stack(drawn).to(pooled.device).requires_grad_()
            mean, near = words.detach().clone(), self._nearest(goal)
            optimizer = torch.optim.AdamW([words], lr=how.lr, weight_decay=0.01)
            for _ in range(self.steps):
                loss = (1 - (self._said(words, turns, draws) * goal).sum(dim=-1)).sum()
                if near is not None:
                    assert self.concepts is not None
                    away = self.concepts.away(words, near, draws)
                    loss = (loss + how.phrases * away.sum()) / (1 + how.phrases)
                (words.grad,) = torch.autograd.grad(loss, [words])
                optimizer.step()
                mean.lerp_(words.detach(), 1 - how.average)
        return mean if how.average else words.detach()

    def _said(self, words: Tensor, turns: torch.Generator, draws: Sequence[torch.Generator]) -> Tensor:
        """Unit features of the sentence with these words, with noise where there is some."""
        if self.how.varied:
            text = TEMPLATES[int(torch.randint(len(TEMPLATES), (), generator=turns))]
            said = self.reader([text] * len(words), words)
        else:
            said = self.template.alone(words)
        said = F.normalize(said, dim=-1)
        if not self.how.noise:
            return said
        noise = torch.stack([torch.randn(said.shape[1], generator=draw) for draw in draws])
        return F.normalize(said + self.how.noise * noise.to(said), dim=-1)

    def _nearest(self, goal: Tensor) -> list[list[str]] | None:
        if self.concepts is None or not self.how.phrases:
            return None
        return self.concepts.nearest(goal, self.how.concepts)
