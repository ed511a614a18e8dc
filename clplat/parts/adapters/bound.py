"""Bound: other frozen models' spaces beside the towers, mixed for each input by a router."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.data.inputs import Texts
from clplat.errors import UserError
from clplat.mechanisms.sample_weights import shares_by_answer
from clplat.models.adapters import AdapterState, Route
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.other_inputs import fitted_ids, fitted_pixels, same_words
from clplat.models.readout import Readout
from clplat.models.stages import Tower
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others

__all__ = ["Bound"]


class Bound(Adapter):
    """Binding spaces: all models stay frozen, and light projectors and routers join them in one space.

    ``f + |f| sum_k exp(r_k - r_0) P_k u_k`` in each tower, with f its own pooled feature, u_k the unit
    feature of model k, P_k a linear map that is zero at first, and ``r = s sigmoid(R [u_0, u_1, ...])`` a
    router's logits for this input, index 0 the own space; s is 1 for pictures and 10 for texts. That is the
    direction of the mean over all spaces with the weights ``softmax(r)``.

    The loss of the task aligns both sides. ``decoupling`` adds a term for texts, whose space differs with
    what they describe: the cross-entropy of their weights with how well each space by itself finds the text's
    target among the batch's.

    Args:
        models: names of the other models, as ``--backbone`` takes them.
        pretrained: tag or file of the weights of each, where they need one.
        decoupling: weight of that term.
        temperature: of the cosines in it.

    Raises:
        ValueError: numbers of names and weights that differ, a weight below 0.

    What is trained: ``D_k * D`` weights a model and tower, and the routers. The other models are loaded by
    their names again, wherever the adapter is; they are run for every input that is embedded.

    Reference:
        Wang et al., "OmniBind: Large-scale Omni Multimodal Representation via Binding Spaces", ICLR 2025,
        arXiv:2407.11895.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> Bound().attach(tiny_backbone())[0]
        'readouts.default.image.project.0.weight'
    """

    mergeable = False

    def __init__(
        self,
        models: Sequence[str] = ("clplat-tiny",),
        pretrained: Sequence[str] = (),
        decoupling: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.1,
        temperature: Annotated[float, Float(0.01, 0.3, log=True)] = 0.05,
    ) -> None:
        if not models or len(pretrained) not in (0, len(models)):
            raise ValueError(f"{len(models)} models cannot have {len(pretrained)} weights")
        if not (decoupling >= 0 and temperature > 0):
            raise ValueError(
                f"decoupling must be at least 0 and temperature above 0, not {decoupling} and {temperature}"
            )
        self.models, self.pretrained = [*models], [*pretrained]
        self.decoupling, self.temperature = decoupling, temperature

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install projectors and routers under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, other adapters are attached, or a model reads other tokens.
        """
        refuse_others(backbone, "bound", name)
        weights = self.pretrained or [""] * len(self.models)
        others = [Backbone.load(model, tag or None) for model, tag in zip(self.models, weights, strict=True)]
        for other in others:
            same_words(other, backbone)
        state = _State.around(backbone, name)
        shown = _Space("image", backbone.embed_dim, others, state)
        said = _Space("text", backbone.embed_dim, others, state, shown, self.decoupling, self.temperature)
        options = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return install(backbone, "bound", name, {"image": shown, "text": said}, options)


class _State(AdapterState):
    """What routers decide, for whoever watches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Route] | None = None

    @contextmanager
    def watched(self) -> Iterator[list[Route]]:
        seen: list[Route] = []
        self.seen = seen
        try:
            yield seen
        finally:
            self.seen = None


class _Space(Readout):
    """One tower's own space and those of other models, joined.

    Args:
        tower: whose; width: D of the own space; others: the models.
        state: is told what the router decides.
        partner: the space of pictures, for the decoupling of texts.
    """

    wants = frozenset({"pooled", "input"})

    def __init__(
        self,
        tower: Tower,
        width: int,
        others: Sequence[Backbone],
        state: _State,
        partner: _Space | None = None,
        decoupling: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(other.embed_dim, width, bias=False) for other in others)
        for layer in self.project:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        self.router = nn.Linear(width + sum(other.embed_dim for other in others), len(others) + 1)
        self.tower, self.scale = tower, 1.0 if tower == "image" else 10.0
        self.decoupling, self.temperature = decoupling, temperature
        # In tuples: frozen models are no part of what is trained, saved and counted here.
        self._others, self._partner, self._state = (*others,), (partner,), (state,)
        self._seen: list[tuple[list[Tensor], Tensor]] = []

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The pooled feature (B, D) with what the other spaces add to it."""
        own = found.pooled
        with torch.no_grad():
            rows = [normalize(self._one(other, found).float(), dim=-1) for other in self._others]
        rows = [normalize(own, dim=-1), *(row.to(own) for row in rows)]
        logits = self.scale * self.router(torch.cat(rows, dim=-1)).sigmoid()
        if (watched := self._state[0].seen) is not None:
            watched.append((logits, logits.softmax(dim=1)))
        if self.training and torch.is_grad_enabled():
            self._seen = [*self._seen[-1:], ([row.detach() for row in rows], logits)]
        odds = (logits[:, 1:] - logits[:, :1]).exp()
        others = [project(row) for project, row in zip(self.project, rows[1:], strict=True)]
        added = (odds[..., None] * torch.stack(others, dim=1)).sum(1)
        out: Tensor = own + own.norm(dim=-1, keepdim=True) * added
        return out

    def _one(self, other: Backbone, found: ImageFeatures | TextFeatures) -> Tensor:
        """The pooled feature of another model for the same inputs."""
        if isinstance(found, ImageFeatures):
            assert found.pixels is not None
            other.to(found.pixels.device)
            return other.image(fitted_pixels(found.pixels, other)).pooled
        if found.input_ids is None:
            raise UserError("the adapter 'bound' takes texts, not embeddings: another model has other ones")
        other.to(found.input_ids.device)
        ids = fitted_ids(found.input_ids, Texts(found.input_ids).lengths, other)
        return other.text(ids, length=ids.shape[1]).pooled

    def last(self, count: int) -> tuple[list[Tensor], Tensor] | None:
        """Unit rows of all spaces and logits of the newest so many inputs; None where they were others."""
        parts = self._seen[-1:] if self._seen and len(self._seen[-1][1]) == count else self._seen
        if sum(len(logits) for _, logits in parts) != count:
            return None
        rows = [torch.cat(space) for space in zip(*(held for held, _ in parts), strict=True)]
        return rows, torch.cat([logits for _, logits in parts])

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``decoupling``: how far the weights of texts are from which space finds their targets."""
        shown, said = self._partner[0], self.last(len(batch.texts))
        if not self.decoupling or shown is None or said is None or not batch.composed:
            return {}
        seen, count = shown.last(len(batch.pictures)), len(batch)
        if seen is None:
            return {}
        pairs = zip(said[0], seen[0], strict=True)
        scores = [text @ picture[count : 2 * count].T / self.temperature for text, picture in pairs]
        target, log_p = shares_by_answer(scores), said[1].log_softmax(dim=1)
        return {"decoupling": self.decoupling * -(target.T * log_p).sum(1).mean()}
