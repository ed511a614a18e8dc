"""Optimisation-based textual inversion: the pseudo-words with which a sentence comes nearest to a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.mechanisms.pseudo_words import Template
from clplat.randomness import generator

__all__ = ["Inverted"]

#: Pictures that are inverted together; always this many, padded by repetition, so that a picture's words do
#: not depend on the others.
_CHUNK = 16


class Inverted:
    """Pseudo-words of pictures, each found once: gradient steps on ``1 - cos(E_T("a photo of *"), v)``.

    They depend on the picture's key and feature alone, so that an interrupted run finds the same ones again.

    Args:
        template: the sentence.
        width: of the token embeddings.
        steps: of AdamW, with decoupled weight decay 0.01.
        lr: its rate.

    Reference:
        Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023,
        arXiv:2303.15247.
    """

    def __init__(self, template: Template, width: int, steps: int, lr: float = 2e-2) -> None:
        self.template, self.width, self.steps, self.lr = template, width, steps, lr
        self._known: dict[str, Tensor] = {}

    def __call__(self, keys: Sequence[str], pooled: Tensor) -> Tensor:
        """The pseudo-words (B, words, W) of these pictures.

        Args:
            keys: of the pictures.
            pooled: their features (B, D); unit length is not needed.
        """
        place = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._known}
        missing = sorted(place)
        for start in range(0, len(missing), _CHUNK):
            chosen = missing[start : start + _CHUNK]
            padded = chosen + chosen[:1] * (_CHUNK - len(chosen))
            found = self._invert(padded, pooled.detach()[[place[key] for key in padded]])
            self._known |= dict(zip(chosen, found, strict=False))
        return torch.stack([self._known[key] for key in keys]).to(pooled.device)

    def _invert(self, keys: Sequence[str], pooled: Tensor) -> Tensor:
        shape = (self.template.words, self.width)
        drawn = [torch.empty(shape).normal_(std=0.02, generator=generator(0, "inversion", k)) for k in keys]
        with torch.inference_mode(False), torch.enable_grad():
            goal = F.normalize(pooled.clone().float(), dim=-1)
            words = torch.stack(drawn).to(pooled.device).requires_grad_()
            optimizer = torch.optim.AdamW([words], lr=self.lr, weight_decay=0.01)
            for _ in range(self.steps):
                read = F.normalize(self.template.alone(words), dim=-1)
                (words.grad,) = torch.autograd.grad((1 - (read * goal).sum(dim=-1)).sum(), [words])
                optimizer.step()
        return words.detach()
