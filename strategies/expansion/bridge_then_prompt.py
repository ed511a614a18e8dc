"""Bridge, then prompt: the first domains train the towers, which then stand still behind a prompt."""

from __future__ import annotations

from typing import Annotated, Any

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts.deep import DeepPrompt
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["BridgeThenPrompt"]


class BridgeThenPrompt(Strategy):
    """Two stages: plain fine-tuning on the first ``bridge`` domains, then nothing but a prompt.

    The first stage trains what the slot ``adapter`` says (``--adapter full`` in the paper) and closes the gap
    between what the backbone was trained on and this stream. Before the next domain the towers, with what the
    adapter has made of them, are frozen and the prompt is attached, so that later domains move a few vectors
    only. A composer with weights is trained on in both. With as many domains to bridge as there are, this is
    plain fine-tuning.

    Args:
        prompt: trained in the second stage, default `DeepPrompt` with vectors of each tower's own.
        bridge: domains of the first stage.

    Raises:
        ValueError: no domain to bridge.

    References:
        Rasheed et al. 2023 (ViFi-CLIP), Fine-tuned CLIP Models are Efficient Video Learners, CVPR 2023, arXiv
        2212.03640.

    Relations:
        `GrowingPrompt` prompts from the first domain on; `Patch` fine-tunes and goes half the way back.

    Example:
        >>> BridgeThenPrompt(bridge=2).bridge
        2
    """

    any_module = False
    brings = ("prompt",)
    state = ("_experiences",)

    def __init__(
        self,
        prompt: Prompt | None = None,
        bridge: Annotated[int, Int(1, 4)] = 1,
    ) -> None:
        if bridge < 1:
            raise ValueError(f"bridge must be at least 1, not {bridge}")
        self.prompt, self.bridge = prompt, bridge
        self._experiences = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError("bridge_then_prompt needs a ComposedRetriever as the model: it trains its towers")
        backbone = learner.model.backbone
        if self._experiences == self.bridge:
            backbone.requires_grad_(False)
            (self.prompt or DeepPrompt(coupled=False)).attach(backbone)
        self._experiences += 1

    def rebuild(self, learner: SupportsLearning) -> None:
        before, self._experiences = self._experiences, 0
        while self._experiences < before:
            self.before_experience(learner, None)
