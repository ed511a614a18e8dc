"""CLIPood's margin metric softmax: what is far from the right answer in meaning must score lower by more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from torch import Tensor

from clplat.config.space import Float
from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import info_nce

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["MarginMetric"]


class MarginMetric(Loss):
    """InfoNCE with a margin for each pair, as wide as the two things are apart.

    Scores ``s_ij`` of query i and candidate j become ``s_ij + margin (1 - m_ij)``, with m_ij the mean score
    of candidate j by the right answers of query i, without a gradient: of two wrong candidates the one that
    is like the answer need not be pushed as far as the one that is not.

    Args:
        margin: 0 is InfoNCE.
        symmetric: average with the loss of candidates over queries, with the same margins.
        temperature: the scale is 1 / temperature. None: the model's own logit scale.

    Raises:
        ValueError: a negative margin, or a temperature that is not above 0.

    Reference:
        Shu et al., "CLIPood: Generalizing CLIP to Out-of-Distributions", ICML 2023, arXiv:2302.00864. There
        m are cosines of the texts of classes, which stay; here they are the candidates' own.

    Example:
        >>> import torch
        >>> queries, answers = torch.eye(2), torch.eye(2)
        >>> MarginMetric(margin=1.0, temperature=0.5)(queries, answers)  # log(1 + exp(2 - 2))
        tensor(0.6931)
    """

    def __init__(
        self,
        margin: Annotated[float, Float(0.0, 1.0)] = 0.3,
        symmetric: bool = False,
        temperature: Annotated[float | None, Float(0.01, 0.5, log=True)] = None,
    ) -> None:
        super().__init__()
        if not 0 <= margin < float("inf") or (temperature is not None and not temperature > 0):
            raise ValueError(
                f"needs a margin of at least 0 and a temperature above 0, not {margin} and {temperature}"
            )
        self.margin, self.symmetric, self.temperature = margin, symmetric, temperature

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        scale = outputs.scale if self.temperature is None else 1.0 / self.temperature
        answers = (batch.positive & batch.valid).to(outputs.query.dtype)
        shares = answers / answers.sum(1, keepdim=True).clamp(min=1)
        held = outputs.candidates.detach()
        margins = self.margin * (1.0 - shares @ outputs.scores(held, held))
        return info_nce(
            outputs.scores(scale=scale) + scale * margins,
            positive=batch.positive,
            valid=batch.valid,
            weights=batch.weights,
            symmetric=self.symmetric,
        )
