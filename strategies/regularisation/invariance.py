"""Invariance: a candidate's picture and the same picture with noise are embedded alike."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Invariance"]


class Invariance(Strategy):
    """Holds embeddings of pictures where they are when their pixels are perturbed.

    ``loss = weight * mean_i [1 - cos(f(x_i), f(x_i + noise * n))]`` over the candidates that are pictures, n
    normal, pixels between 0 and 1 and cut there. Beside the contrastive loss that the frozen model was
    trained on (`InfoNCE` both ways, at the model's own scale), this tunes a prompt without any objective that
    the model does not know.

    Args:
        weight: of the term.
        noise: standard deviation, pixels being between 0 and 1.

    Raises:
        ValueError: a weight below 0, or no noise.

    References:
        Zhu et al. 2025 (GraphCLIP), GraphCLIP: Enhancing Transferability in Graph Foundation Models for
        Text-Attributed Graphs, WWW 2025, arXiv 2410.10329, whose inputs are graphs.

    Needs:
        A `ComposedRetriever`, and pixels. A step costs another pass of the candidates, of which nothing is
        kept.

    Example:
        >>> Invariance(noise=0.1).terms
        ('invariance',)
    """

    any_module = False
    terms = ("invariance",)

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        noise: Annotated[float, Float(0.01, 0.3, log=True)] = 0.05,
    ) -> None:
        if not (weight >= 0 and noise > 0):
            raise ValueError(f"weight must be at least 0 and noise above 0, not {weight} and {noise}")
        self.weight, self.noise = weight, noise

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        model = learner.model
        if not isinstance(model, ComposedRetriever):
            raise UserError("invariance needs a ComposedRetriever as the model: it perturbs its pictures")
        held = [(i, row) for i, row in enumerate(batch.picture_rows[len(batch) :]) if row >= 0]
        if not held:
            return {"invariance": 0.0 * outputs.candidates.sum()}
        pixels = batch.pictures.at([row for _, row in held]).to(outputs.candidates.device)
        moved = model.encode_images(self.perturbed(pixels, learner.progress.generator(0, "invariance")))
        kept = outputs.candidates[[i for i, _ in held]]
        return {"invariance": self.weight * (1 - (kept * moved).sum(dim=-1)).mean()}

    def perturbed(self, pixels: Tensor, draw: torch.Generator) -> Tensor:
        """Pixels (N, 3, S, S), uint8, with noise, as they would be read from a file."""
        noise = torch.randn(pixels.shape, generator=draw).to(pixels.device)
        moved = pixels.float() + 255 * self.noise * noise
        return moved.round().clamp(0, 255).to(torch.uint8)
