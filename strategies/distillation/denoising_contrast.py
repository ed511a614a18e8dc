"""Denoising contrast: masked patches are told from all others by what they are in the whole picture."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["DenoisingContrast", "hidden"]


class DenoisingContrast(Strategy):
    """ONE-PEACE's contrast inside a modality: a masked picture's patches find those of the whole picture.

    ``loss = weight * mean_i -log( exp(s_i t_i / temperature) / sum_j exp(s_i t_j / temperature) )``

    over the masked patches i of a batch's pictures: s_i is the unit token that the model makes of a picture
    in which they are grey, t_j are those that a teacher makes of all patches of the whole pictures. So the
    tower says of what it does not see what was there, and keeps to what the teacher sees.

    Args:
        weight: of the term.
        share: of a picture's patches that are masked.
        temperature: of the cosines.
        teacher: of any kind with tokens of pictures, ``clplat list teachers``.
        seed: of what is masked; by default the experiment's.

    References:
        Wang et al. 2023 (ONE-PEACE), One General Representation Model Toward Unlimited Modalities, arXiv
        2305.11172, whose target is the model itself without gradient.

    Needs:
        A `ComposedRetriever` whose image tower gives patches. One more pass of it, and one of the teacher.

    Relations:
        `FeatureDistill` matches patches of the same whole picture, one by one.

    Example:
        >>> from strategies import DenoisingContrast
        >>> DenoisingContrast(share=0.75).share
        0.75
    """

    any_module = False
    terms = ("denoising",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.05, 2.0, log=True)] = 0.5,
        share: Annotated[float, Float(0.25, 0.9)] = 0.75,
        temperature: Annotated[float, Float(0.05, 1.0, log=True)] = 0.4,
        teacher: TeacherPart | None = None,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and 0 < share < 1 and temperature > 0):
            raise ValueError(
                "weight must be at least 0, share in (0, 1) and temperature above 0, not "
                f"{weight}, {share} and {temperature}"
            )
        self.weight, self.share, self.temperature, self.seed = weight, share, temperature, seed
        self.teacher = teacher_named("initial" if teacher is None else teacher)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not hasattr(learner.model, "image_features"):
            raise UserError("denoising_contrast needs a ComposedRetriever as the model: it masks pictures")
        self.teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not len(batch.pictures):
            return {}
        model: Any = learner.model
        whole: Any = self.teacher.image_features(learner, batch.pictures, {"tokens"}).tokens
        goals = normalize(whole.detach().float(), dim=-1).flatten(0, 1)
        draw = learner.progress.generator(self.seed or 0, "masked patches")
        drawn = torch.rand(whole.shape[:2], generator=draw)
        count = max(1, round(self.share * whole.shape[1]))
        masked = drawn.argsort(1).argsort(1) < count
        pixels = hidden(batch.pictures.pixels, masked)
        made = normalize(model.image_features(pixels, {"tokens"}).tokens.float(), dim=-1).flatten(0, 1)
        if made.shape != goals.shape:
            raise UserError(f"the teacher has patches {tuple(goals.shape)}, the student {tuple(made.shape)}")
        rows = masked.flatten().nonzero()[:, 0].to(made.device)
        logits = made[rows] @ goals.T / self.temperature
        return {"denoising": self.weight * cross_entropy(logits, rows)}

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.teacher.follow(learner)


def hidden(pixels: Tensor, masked: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) whose masked patches (B, N), of a square grid, have the picture's mean colour.

    Raises:
        UserError: patches that make no square.

    Example:
        >>> hidden(torch.tensor([[[[0, 8], [8, 8]]]], dtype=torch.uint8), torch.eye(4)[:1].bool())[0, 0]
        tensor([[6, 8],
                [8, 8]], dtype=torch.uint8)
    """
    side, size = round(masked.shape[1] ** 0.5), pixels.shape[-1]
    if side * side != masked.shape[1]:
        raise UserError(f"{masked.shape[1]} patches of a picture make no square")
    grid = masked.view(-1, 1, side, side).to(pixels.device)
    cells = grid.repeat_interleave(size // side, 2).repeat_interleave(size // side, 3)
    left = size - cells.shape[-1]  # pixels behind the last patch, which the tower does not see
    cells = torch.nn.functional.pad(cells, (0, left, 0, left))
    mean = pixels.float().mean((2, 3), keepdim=True).to(pixels.dtype)
    return torch.where(cells, mean, pixels)
