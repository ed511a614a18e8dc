"""Routed experts: adapters and prompts for each domain, and a router that does not know the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from clplat.errors import UserError
from clplat.mechanisms.parameter_groups import Group
from clplat.mechanisms.routing import Experts, Router, Routing
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters.peft import LoRA
from clplat.parts.prompts._base import Prompt
from clplat.retriever import ComposedRetriever
from clplat.training.looking import fit_prompts, looked_at
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["RoutedExperts"]


class RoutedExperts(Strategy):
    """Growth: every domain trains an expert of its own on the frozen base; a router picks at test time.

    The router sees a picture's features under the bare base, never the domain's name. Old experts are never
    touched again: forgetting can come from routing only. How often it is right is measured of every version
    (`clplat.evaluation.routing`).

    Args:
        adapter: what an expert is; default `LoRA` of rank 8, unless there is a prompt.
        routing: how pictures are routed to experts.
        average: of several experts of a picture, by their shares: of their ``"embeddings"``, or of their
            ``"weights"``. Shares are then rounded to tenths, and there is a pass for each mix.
        prompt: what an expert is, in place of the adapter or beside it.

    References:
        Experts with a training-free router: MoDE, arXiv 2404.16030; out-of-stream inputs to the frozen model:
        MoE-Adapters, arXiv 2403.11549; a trained selector and the best k: ConPET, arXiv 2309.14763; weights
        merged for each query: DAR, arXiv 2605.31229.

    Numbers:
        ``experts``: how many there are.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained in the first domain
        and frozen afterwards.

    Example:
        >>> RoutedExperts(routing=Routing(by="subspace")).state_dict()["router"]["names"]
        []
    """

    any_module = False
    stores = "weights"
    brings = ("adapter", "prompt")
    routes = True

    def __init__(
        self,
        adapter: Adapter | None = None,
        routing: Routing = Routing(),  # noqa: B008
        average: Literal["embeddings", "weights"] = "embeddings",
        prompt: Prompt | None = None,
    ) -> None:
        self.adapter, self.routing, self.average, self.prompt = adapter, routing, average, prompt
        if average not in ("embeddings", "weights"):
            raise ValueError(f"average is '{average}'; allowed: embeddings, weights")
        if adapter is not None and (adapter.trains_base or adapter.rewrites_base):
            verb = "trains" if adapter.trains_base else "rewrites"
            raise ValueError(f"adapter {type(adapter).__name__} {verb} the base, which all experts share")
        usual = LoRA(r=8, lora_alpha=16, targets="both") if prompt is None else None
        self.expert = adapter if adapter is not None else usual
        if average == "weights" and (prompt is not None or self.expert is None or not self.expert.mergeable):
            kind = "a prompt" if prompt is not None else f"adapter {type(adapter).__name__}"
            raise ValueError(f"{kind} has no weights that could be averaged")
        self.router = Router(routing)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        retriever = self._retriever(learner)
        if not self.router.names and any(p.requires_grad for p in retriever.backbone.parameters()):
            raise UserError(
                "a strategy of experts brings its own adapters: use it with --adapter none and no prompt"
            )
        retriever.experts = Experts(self.router, self.activate, merges=self.average == "weights")
        if self.router.names:
            retriever.requires_grad_(False)
        name = f"domain{len(self.router.names)}"
        self.router.add(name, looked_at(learner, retriever, experience.dataset))
        self._attach(retriever.backbone, name)
        if self.prompt is not None:
            fit_prompts(learner, retriever, experience.dataset)
            self.activate(retriever.backbone, name)  # the looks went through the bare base

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        return self.expert.groups(names) if self.expert is not None else []

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Use the expert of this name, with ``None`` the bare base."""
        if self.expert is not None:
            self.expert.activate(backbone, name)
        if self.prompt is not None:
            backbone.use_prompts(name)

    def _attach(self, backbone: Backbone, name: str) -> None:
        if self.expert is not None:
            self.expert.attach(backbone, name)
        if self.prompt is not None:
            backbone.use_prompts(None)
            self.prompt.attach(backbone)
            backbone.keep_prompts(name)

    def rebuild(self, learner: SupportsLearning) -> None:
        if not self.router.names:
            return
        retriever = self._retriever(learner)
        retriever.experts = Experts(self.router, self.activate, merges=self.average == "weights")
        for name in self.router.names:
            retriever.requires_grad_(False)
            self._attach(retriever.backbone, name)

    def numbers(self) -> dict[str, float]:
        return {"experts": len(self.router.names)}

    def _retriever(self, learner: SupportsLearning) -> ComposedRetriever:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError(
                "a strategy of experts needs a ComposedRetriever as the model: it routes its pictures"
            )
        return learner.model
