"""TaskRes: what the task needs is a vector beside the text's, which stays as it is."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from clplat.config.space import Choice, Float
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others

__all__ = ["TaskResidual"]


class TaskResidual(Adapter):
    """Free vectors that are added to the text tower's features: ``t + scale (r + mean_w R[w mod rows])``.

    In the paper each class has a vector of its own; the texts of composed retrieval are no list of classes,
    so the vector of a text is one that all share and the mean of those of its tokens w, start and end among
    them. All are zero at first. Texts that are given as embeddings have no tokens, and get r alone. It is a
    readout: the text tower's features are computed once and kept, pictures and galleries stay as they are.

    Args:
        rows: of the table R; tokens whose numbers are equal modulo it share one. 0: r alone.
        scale: of the vectors.

    Raises:
        ValueError: a negative number of rows, or a scale that is not above 0.

    What is trained: ``(1 + rows) D`` weights.

    Reference:
        Yu et al., "Task Residual for Tuning Vision-Language Models", CVPR 2023, arXiv:2211.10277.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> TaskResidual(rows=8).attach(tiny_backbone())
        ['readouts.default.text.shared', 'readouts.default.text.words']
    """

    mergeable = False

    def __init__(
        self,
        rows: Annotated[int, Choice(0, 64, 256, 1024)] = 256,
        scale: Annotated[float, Float(0.1, 1.0)] = 0.5,
    ) -> None:
        if rows < 0 or not 0 < scale < float("inf"):
            raise ValueError(f"needs rows of at least 0 and a scale above 0, not {rows} and {scale}")
        self.rows, self.scale = rows, scale

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the vectors under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, or adapters of another kind are attached.
        """
        refuse_others(backbone, "task_residual", name)
        ids = backbone.tokenize(["a"])
        end = int(ids[0, int(backbone.text_ends(ids.to(backbone.logit_scale.device))[0])])
        readout = _Residual(backbone.embed_dim, self.rows, self.scale, end)
        return install(
            backbone, "task_residual", name, {"text": readout}, {"rows": self.rows, "scale": self.scale}
        )


class _Residual(Readout):
    """The vectors of the text tower.

    Args:
        width: of the pooled feature; rows, scale: as of `TaskResidual`; end: the token that ends a text.
    """

    def __init__(self, width: int, rows: int, scale: float, end: int) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(width))
        if rows:
            self.words = nn.Parameter(torch.zeros(rows, width))
        self.rows, self.scale, self.end = rows, scale, end

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The tower's own pooled feature (B, D), and the text's vector."""
        residual = self.shared
        ids = getattr(found, "input_ids", None)
        if self.rows and ids is not None:
            # The end is its first occurrence: some tokenizers fill with it.
            ends = (ids == self.end).int().argmax(dim=1, keepdim=True)
            real = torch.arange(ids.shape[1], device=ids.device) <= ends
            rows = self.words[ids % self.rows] * real[..., None]
            residual = residual + rows.sum(1) / real.sum(1, keepdim=True)
        return found.pooled + self.scale * residual
