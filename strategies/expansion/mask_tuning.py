"""R-AMT: which weights count is learnt, not what they are: a bit for each weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.mechanisms.example_gradients import spread
from clplat.mechanisms.growth import GrowthState, grow_at, grown_layers
from clplat.mechanisms.weight_changes import Mask, Rewritten
from clplat.models.backbone import Backbone
from clplat.models.frozen import weights_fixed
from clplat.models.outputs import similarities
from clplat.parts.adapters._changes import linear_layers
from clplat.parts.adapters._growing import grown_backbone
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["MaskTuning"]

#: CLIP's own logit scale, by which similarities become logits.
_SCALE = 100.0


class MaskTuning(Strategy):
    """Growth: every domain learns a binary mask of weights, ``W * 1[s > threshold]``; no weight changes.

    Scores s are trained straight through. Those may move whose weights matter for the domain: the ``share``
    of all with the largest gradient over some of its examples. Masks of earlier domains stay, and a weight
    counts that all of them keep.

    Gradient dropout: where the gradient a of the loss disagrees with the gradient b of
    ``KL(zero-shot || now)`` it is dropped with some probability: an entry is kept where
    ``(1 + sign(a) (a + b) / (|a| + |b|)) / 2 > u``, u uniform in [0, 1).

    Args:
        share: of the weights, which may be masked.
        dropout: how far a dropped entry is reduced: 1 to zero, 0 not at all.
        threshold: of the scores.
        start: what they begin with.
        targets: layers that are masked: a kind, or names of modules.
        towers: one tower or both.
        last: only this many last blocks of each tower; default all.
        examples: of a domain, whose gradient chooses.
        batch_size: of the passes over them.
        seed: of the dropout; that of the experiment unless given.

    Raises:
        ValueError: a share outside (0, 1], a dropout outside [0, 1], scores that begin below the threshold.

    References:
        Zheng et al., "Regularized Mask Tuning: Uncovering Hidden Knowledge in Pre-trained Vision-Language
        Models", ICCV 2023, arXiv 2307.15049.

    Numbers:
        ``masked``: share of the weights of masked layers that are left out now; ``masked <domain>``: by the
        mask of that domain.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on.

    Relations:
        Nothing but bits is kept of a domain; `OrthogonalLoRA` and others keep factors.

    Example:
        >>> MaskTuning(share=0.1).share
        0.1
    """

    any_module = False
    plain = "full"
    brings = ("adapter", "prompt")
    reads_gradient = True
    reads_data = True
    state = ("_domains", "_open", "_masked")

    def __init__(
        self,
        share: Annotated[float, Float(0.001, 1.0, log=True)] = 0.01,
        dropout: float = 1.0,
        threshold: float = 5e-3,
        start: float = 1e-2,
        targets: Literal["mlp", "attention", "both"] | Sequence[str] = "attention",
        towers: Literal["both", "image", "text"] = "both",
        last: int | None = None,
        examples: int = 128,
        batch_size: int = 64,
        seed: int | None = None,
    ) -> None:
        if not 0 < share <= 1 or not 0 <= dropout <= 1:
            raise ValueError(f"share must be in (0, 1] and dropout in [0, 1], not {share} and {dropout}")
        if not start > threshold:
            raise ValueError(f"start must be above threshold, not {start} and {threshold}")
        if min(examples, batch_size) < 1:
            raise ValueError(f"examples and batch_size must be at least 1, not {examples} and {batch_size}")
        self.share, self.dropout, self.threshold, self.start = share, dropout, threshold, start
        self.targets, self.towers, self.last = targets, towers, last
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self._domains, self._open = 0, False
        self._masked: list[float] = []
        self._pull: dict[nn.Parameter, Tensor] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        masks = self._grow(learner)
        self._open = True
        if self.share < 1:
            self._choose(learner, masks, experience.dataset)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        scores = [mask.scores for mask in _masks(learner.model).values() if mask.scores is not None]
        if self.dropout > 0 and scores:
            with _bare(learner.model):
                before = similarities(learner.predict(batch))
            kept = F.softmax(_SCALE * before, dim=1)
            pull = F.kl_div(F.log_softmax(_SCALE * similarities(outputs), dim=1), kept, reduction="batchmean")
            found = torch.autograd.grad(pull, scores, retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(scores, found, strict=True):
                if gradient is not None:
                    self._pull[parameter] = self._pull.get(parameter, torch.zeros_like(gradient)) + gradient
        return {}

    def after_backward(self, learner: SupportsLearning) -> None:
        draw = learner.progress.generator(self.seed or 0, "gradient dropout")
        for parameter, pull in self._pull.items():
            if parameter.grad is not None:
                uniform = torch.rand(pull.shape, generator=draw).to(pull)
                parameter.grad.copy_(dropped(parameter.grad, pull, uniform, self.dropout))
        self._pull = {}

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._open = False
        for mask in _masks(learner.model).values():
            if mask.scores is not None:  # which are no part of the model from here on
                learner.optimizer.state.pop(mask.scores, None)
            mask.close()
        layers = grown_layers(_backbone(learner.model)).values()
        kept = [torch.stack([mask.kept() > 0 for mask in layer.used()]) for layer in layers]
        whole = sum(masks[0].numel() for masks in kept)
        each = [sum(int((~masks[d]).sum()) for masks in kept) / whole for d in range(self._domains)]
        self._masked = [sum(int((~masks.all(0)).sum()) for masks in kept) / whole, *each]

    def numbers(self) -> dict[str, float]:
        names = ["masked", *(f"masked {domain}" for domain in range(self._domains))]
        return dict(zip(names, self._masked, strict=False))

    def rebuild(self, learner: SupportsLearning) -> None:
        wanted, self._domains = self._domains, 0
        for _ in range(wanted):
            masks = self._grow(learner)
            if self._domains < wanted or not self._open:
                for mask in masks.values():
                    mask.close()

    def _grow(self, learner: SupportsLearning) -> Mapping[str, Mask]:
        """The masks of the next domain, which are in use beside the earlier ones."""
        backbone = grown_backbone(learner.model, "mask_tuning", first=not self._domains)
        layers = linear_layers(backbone, self.targets, self.towers, self.last)
        make = partial(Mask, threshold=self.threshold, start=self.start)
        grow_at(backbone, dict.fromkeys(layers, make), f"domain{self._domains}", "mask", {}, Rewritten)
        self._domains += 1
        return _masks(learner.model)

    def _choose(self, learner: SupportsLearning, masks: Mapping[str, Mask], data: Any) -> None:
        """Let the scores move that have the largest sums of absolute gradients."""
        scores = {path: mask.scores for path, mask in masks.items() if mask.scores is not None}
        sums = {path: torch.zeros_like(own) for path, own in scores.items()}
        for batch, outputs in learner.passes(spread(data, self.examples), self.batch_size, grad=True):
            loss = learner.task_loss(batch, outputs)
            found = torch.autograd.grad(loss, [*scores.values()], allow_unused=True)
            for path, gradient in zip(scores, found, strict=True):
                if gradient is not None:
                    sums[path] += gradient.abs()
        shared = learner.averaged([*sums.values()])
        every = torch.cat([one.flatten() for one in shared])
        limit = every.kthvalue(max(1, len(every) - round(self.share * len(every)) + 1)).values
        for mask, one in zip(masks.values(), shared, strict=True):
            mask.choose(one >= limit)


def dropped(gradient: Tensor, pull: Tensor, uniform: Tensor, share: float) -> Tensor:
    """A gradient without the entries that disagree with another one, by chance: see `MaskTuning`.

    Example:
        >>> a, b = torch.tensor([1.0, 1.0, -2.0]), torch.tensor([3.0, -1.0, 6.0])
        >>> dropped(a, b, torch.full((3,), 0.4), share=1.0)
        tensor([1., 1., -0.])
    """
    agree = (1 + gradient.sign() * (gradient + pull) / (gradient.abs() + pull.abs()).clamp_min(1e-30)) / 2
    return gradient * (1 - share + share * (agree > uniform).to(gradient))


def _backbone(model: nn.Module) -> Backbone:
    held: Any = model
    backbone: Backbone = held.backbone
    return backbone


def _masks(model: nn.Module) -> dict[str, Mask]:
    """The newest mask of each layer."""
    newest = {path: [*layer.changes.values()][-1] for path, layer in grown_layers(_backbone(model)).items()}
    return {path: mask for path, mask in newest.items() if isinstance(mask, Mask)}


@contextmanager
def _bare(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode without masks, the same at every call."""
    state = _backbone(model).adapters
    assert isinstance(state, GrowthState)
    used, modes = state.used, [(module, module.training) for module in model.modules()]
    state.use([])
    model.eval()
    try:
        with torch.no_grad(), weights_fixed():
            yield
    finally:
        state.use(used)
        for module, mode in modes:
            module.training = mode
