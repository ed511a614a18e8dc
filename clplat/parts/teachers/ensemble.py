"""Ensemble: several teachers at once, each trusted for an example as far as it is right about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.sample_weights import shares_by_answer
from clplat.mechanisms.teacher import Predicts
from clplat.models.features import ImageFeatures, TextFeatures, Wants
from clplat.models.outputs import Outputs, as_outputs
from clplat.parts.teachers._base import TeacherPart, teacher_named

__all__ = ["Ensemble"]


class Ensemble(TeacherPart):
    """One teacher of several: the mean of their embeddings, weighted example by example.

    ``e_i = sum_k w_ik e_ik`` as unit rows, with ``w_i = softmax_k(log p_k,i / sharpness)``: p_k,i is how well
    teacher k finds the other side of example i, ``softmax_j(e_ik . m_j / temperature)`` at j = i, with m the
    plain mean of all teachers' embeddings of the other side. Queries and targets are weighted apart;
    candidates beyond the targets are plain means. All must be of one width.

    Args:
        teachers: of any kind, ``clplat list teachers``; by default the pretrained and the previous model.
        temperature: of the cosines that weigh them.
        sharpness: of the choice between teachers; large values average them. None: the plain mean.

    References:
        Yu et al. 2023 (CreamFL), Multimodal Federated Learning via Contrastive Representation Ensemble, ICLR
        2023, arXiv 2302.08888.

    Example:
        >>> Ensemble(sharpness=0.5).temperature
        1.0
    """

    def __init__(
        self,
        teachers: list[TeacherPart] | None = None,
        temperature: Annotated[float, Float(0.02, 2.0, log=True)] = 1.0,
        sharpness: Annotated[float | None, Float(0.1, 10.0, log=True)] = 1.0,
    ) -> None:
        if not (temperature > 0 and (sharpness is None or sharpness > 0)):
            raise ValueError(f"temperature and sharpness must be above 0, not {temperature} and {sharpness}")
        self.teachers, self.temperature, self.sharpness = teachers, temperature, sharpness
        self._parts = [teacher_named(one) for one in teachers or ("initial", "previous")]
        if len(self._parts) < 2:
            raise ValueError("an ensemble needs at least two teachers")
        self.moves = any(part.moves for part in self._parts)

    def begin(self, learner: Predicts) -> None:
        for part in self._parts:
            part.begin(learner)

    @property
    def knows(self) -> bool:
        return all(part.knows for part in self._parts)

    def follow(self, learner: Predicts) -> None:
        for part in self._parts:
            part.follow(learner)

    @torch.no_grad()
    def outputs(self, learner: Predicts, batch: Any) -> Outputs:
        made: list[Any] = [as_outputs(part.outputs(learner, batch)) for part in self._parts]
        widths = [one.query.shape[-1] for one in made]
        if len({*widths}) > 1:
            raise UserError(
                f"an ensemble takes teachers of one width, not {widths}: dual_teacher takes others"
            )
        count = len(made[0].query)
        queries, targets = [one.query for one in made], [one.candidates for one in made]
        own = [rows[:count] for rows in targets]
        candidates = [self._joined(own, queries), _mean([rows[count:] for rows in targets])]
        scale = torch.stack([torch.as_tensor(one.scale).float() for one in made]).mean()
        return Outputs(self._joined(queries, own), torch.cat(candidates), scale)

    def _joined(self, rows: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """The rows (B, D) of all teachers as one, each as far as it finds those of the other side."""
        if self.sharpness is None:
            return _mean(rows)
        across = _mean(others)
        shares = shares_by_answer([one @ across.T / self.temperature for one in rows], self.sharpness)
        return normalize((shares[..., None] * torch.stack([*rows])).sum(0), dim=-1)

    def image_features(self, learner: Predicts, images: Images, wants: Wants) -> ImageFeatures:
        raise UserError("the teacher 'ensemble' weighs whole examples: it has no features of pictures alone")

    def text_features(self, learner: Predicts, texts: Texts, wants: Wants) -> TextFeatures:
        raise UserError("the teacher 'ensemble' weighs whole examples: it has no features of texts alone")

    def bytes(self) -> int:
        return sum(part.bytes() for part in self._parts)

    def state_dict(self) -> dict[str, Any]:
        return {str(place): part.state_dict() for place, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for place, part in enumerate(self._parts):
            part.load_state_dict(state[str(place)])


def _mean(rows: Sequence[Tensor]) -> Tensor:
    return normalize(torch.stack([*rows]).mean(0), dim=-1)
