"""Growing prompt: every domain adds components of its own to a prompt, and freezes those before."""

from __future__ import annotations

from typing import Any

from clplat.errors import UserError
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts.coda import CodaPrompt
from clplat.retriever import ComposedRetriever
from clplat.training.looking import fit_prompts
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GrowingPrompt"]


class GrowingPrompt(Strategy):
    """Growth: a prompt that is put together for each sample gains components with every domain.

    Only the new ones are trained; what older domains learnt stays as it is, and goes on being mixed in. No
    domain is named at test time. The composer, if it has weights, is trained on.

    Args:
        prompt: attached before the first domain, grown before each other one; default `CodaPrompt`.

    References:
        Smith et al., "CODA-Prompt: COntinual Decomposed Attention-based Prompting for Rehearsal-Free
        Continual Learning", CVPR 2023, arXiv 2211.13218.

    Example:
        >>> GrowingPrompt().prompt is None
        True
    """

    any_module = False
    brings = ("prompt",)
    state = ("_experiences",)

    def __init__(self, prompt: Prompt | None = None) -> None:
        self.prompt = prompt
        vars(self).update(routes=getattr(prompt, "routes", False))
        self._experiences = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._grow(learner, experience)
        self._experiences += 1

    def rebuild(self, learner: SupportsLearning) -> None:
        grown, self._experiences = self._experiences, 0
        while self._experiences < grown:
            self.before_experience(learner, None)

    def _grow(self, learner: SupportsLearning, experience: Any) -> None:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError("growing_prompt needs a ComposedRetriever as the model: it prompts its towers")
        backbone = learner.model.backbone
        if not self._experiences:
            (self.prompt or CodaPrompt()).attach(backbone)
        prompts = [part for part in (backbone.image_prompt, backbone.text_prompt) if part is not None]
        if self._experiences and not any([prompt.grow() for prompt in prompts]):
            raise UserError("growing_prompt needs a prompt that grows, such as coda")
        if experience is not None:  # else what it found is in the weights
            fit_prompts(learner, learner.model, experience.dataset)
