"""Region distillation: a patch of the feature map follows what a frozen model makes of that part alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.data.inputs import Images
from clplat.errors import UserError
from clplat.mechanisms.feature_match import feature_match
from clplat.mechanisms.relation import Relation
from clplat.mechanisms.teacher import Teacher
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["RegionDistill"]


class RegionDistill(Strategy):
    """Self-distillation of regions: the mean of the patch features of a cell follows the cell as a picture.

    ``loss = weight * mean (1 - cos(region, crop'))`` over the cells of a grid that is drawn at every step; or
    ``weight * KL(softmax(crop' c / T) || softmax(region c / T))`` with texts c of what the batch shows. The
    region is the student's: its patch tokens in the joint space, averaged over the cell; crop' is the
    teacher's embedding of the cell alone, at full size. No region is labelled.

    Args:
        weight: of the term.
        against: ``crops``: embeddings of the cells; ``concepts``: their distributions over texts.
        teacher: the model before the stream, or before this domain.
        grid: cells per side at most; each side of the grid is drawn between 1 and this.
        pictures: of the batch that a step looks at.
        temperature: T of the distributions, as of cosines.
        template: what a concept is called, ``{}`` being what a candidate shows.
        seed: of the draws; by default the experiment's.

    References:
        Wu et al. 2024 (CLIPSelf), arXiv 2310.01403; Zhong et al. 2022 (RegionCLIP), arXiv 2112.09106.

    Needs:
        A `ComposedRetriever` with patch tokens.

    Relations:
        `FeatureDistill` matches whole pictures, or tokens one by one.

    Example:
        >>> from strategies import RegionDistill
        >>> RegionDistill(grid=3).pictures
        8
    """

    any_module = False
    terms = ("regions",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.01, 3.0, log=True)] = 0.1,
        against: Literal["crops", "concepts"] = "crops",
        teacher: Annotated[Literal["initial", "previous"], Choice("initial", "previous")] = "initial",
        grid: Annotated[int, Int(1, 6)] = 3,
        pictures: Annotated[int, Int(2, 32, log=True)] = 8,
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        template: str = "a photo of a {}",
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and grid >= 1 and pictures >= 1 and temperature > 0 and "{}" in template):
            raise ValueError(
                "weight must be at least 0, grid and pictures at least 1, temperature above 0 and {} in the "
                f"template, not {weight}, {grid}, {pictures}, {temperature} and '{template}'"
            )
        self.weight, self.against, self.grid, self.pictures = weight, against, grid, pictures
        self.teacher, self.temperature, self.template, self.seed = teacher, temperature, template, seed
        self.relation = Relation("row", temperature, temperature)
        self._teacher = Teacher(which=teacher)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not getattr(getattr(learner.model, "towers", None), "image_tokens", 0):
            raise UserError("region_distill needs a ComposedRetriever whose image tower has patch tokens")
        self._teacher.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not self._teacher.knows:
            return {}
        model: Any = learner.model
        draw = learner.progress.generator(self.seed or 0, "regions")
        rows = torch.randperm(len(batch.pictures), generator=draw)[: self.pictures].tolist()
        high, wide = torch.randint(1, self.grid + 1, (2,), generator=draw).tolist()
        images = batch.pictures.part(rows)
        size = model.backbone.image_size
        with self._teacher.active(model):
            crops = model.image_features(_crops(images, high, wide, size)).pooled
            words = self._concepts(model, batch)
        regions = _regions(model, images, high, wide)
        if words is None:
            return {"regions": self.weight * feature_match(regions, crops)}
        new, old = (F.normalize(side.float(), dim=-1) @ words.T for side in (regions, crops))
        return {"regions": self.weight * self.relation(new, old)}

    def _concepts(self, model: Any, batch: Any) -> Tensor | None:
        """Unit rows of the texts of what the batch shows."""
        if self.against == "crops":
            return None
        said = [self.template.format(name) for name in dict.fromkeys(batch.labels)]
        return F.normalize(model.text_features(model.towers.tokenize(said)).pooled, dim=-1)


def cells(pixels: Tensor, high: int, wide: int, size: int) -> Tensor:
    """The cells of a grid as pictures: (B, 3, S, S) to (B * high * wide, 3, size, size), uint8.

    Example:
        >>> cells(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), 2, 3, 8).shape
        torch.Size([12, 3, 8, 8])
    """
    parts = []
    for band in pixels.tensor_split(high, dim=2):
        for cell in band.tensor_split(wide, dim=3):
            grown = F.interpolate(cell.float(), (size, size), mode="bicubic", antialias=True)
            parts.append(grown.round().clamp(0, 255).to(torch.uint8))
    return torch.stack(parts, dim=1).flatten(0, 1)


def _crops(images: Images, high: int, wide: int, size: int) -> Images:
    """The cells as pictures of their own, by name: what a frozen teacher makes of them is kept."""
    count = high * wide
    names = [f"{name}/{high}x{wide}/{i}" for name in images.names for i in range(count)]

    def load(rows: Sequence[int], again: bool) -> Tensor:
        whole = sorted({row // count for row in rows})
        place = {row: i for i, row in enumerate(whole)}
        cut = cells(images.at(whole, again), high, wide, size)
        return cut[[place[row // count] * count + row % count for row in rows]]

    return Images(names, load, f"{images.kind} cells" if images.kind else "")


def _regions(model: Any, images: Images, high: int, wide: int) -> Tensor:
    """Patch features in the joint space, averaged over the cells (B * high * wide, D)."""
    tokens = model.image_features(images, {"tokens"}).tokens
    side = round(tokens.shape[1] ** 0.5)
    if side * side != tokens.shape[1]:
        raise UserError(f"{tokens.shape[1]} patches of a picture make no square")
    patches = model.towers.joint_patches(tokens).transpose(1, 2).unflatten(2, (side, side))
    return F.adaptive_avg_pool2d(patches.float(), (high, wide)).flatten(2).transpose(1, 2).flatten(0, 1)
