"""Growing composer: every domain adds weights of its own to the composer, and freezes those before."""

from __future__ import annotations

from typing import Any

from clplat.errors import UserError
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GrowingComposer"]


class GrowingComposer(Strategy):
    """Growth: a composer such as `DomainProjections` gains weights with every domain, and freezes others.

    What is added changes nothing at first. No domain is named at test time.

    References:
        Zhou et al., "Learning without Forgetting for Vision-Language Models" (PROOF), TPAMI 2025,
        arXiv 2305.19270, together with a memory of exemplars: ``--strategy growing_composer,replay``.

    Needs:
        A `ComposedRetriever`. A composer that does not grow is trained on, as by `Naive`.

    Relations:
        `GrowingPrompt` is the same for prompts.

    Example:
        >>> GrowingComposer().state_dict()
        {'domains': 0}
    """

    any_module = False
    state = ("_domains",)

    def __init__(self) -> None:
        self._domains = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError("growing_composer needs a ComposedRetriever as the model: its composer grows")
        if self._domains and learner.model.composer.grows:
            learner.model.composer.grow()
        self._domains += 1

    def rebuild(self, learner: SupportsLearning) -> None:
        grown, self._domains = self._domains, 0
        while self._domains < grown:
            self.before_experience(learner, None)
