"""How far a step of Mammoth's prompts and one of ours are apart, with the same parameters and pictures.

Two experiences, since what is frozen or masked shows in the second: loss, gradients of all that is trained,
logits at the end. Differences are relative to the largest number of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor

from benchmarks.mammoth_vit import start
from benchmarks.pairs import CLASSES
from benchmarks.side_by_side import BATCH, stream
from benchmarks.vit import WIDTH, classes, logits, pictures, step_loss, timm_names, tower
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts._base import Prompt
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever

__all__ = ["Caught", "apart", "coda_prompts", "dual_prompts", "far", "pool_prompts"]

#: (tensors of theirs by name, number of the experience) -> the same by the names of ours.
Known = Callable[[Mapping[str, Tensor], int], dict[str, Tensor]]


class Caught:
    """In place of an optimizer: keeps the gradients of a step, and leaves all where it is."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network, self.slopes = network, dict[str, Tensor]()
        self.param_groups: list[dict[str, Any]] = [{"lr": 0.0}]

    def zero_grad(self, **_: Any) -> None:
        self.network.zero_grad()

    def step(self) -> None:
        for name, parameter in self.network.named_parameters():
            slope = parameter.grad
            self.slopes[name] = torch.zeros_like(parameter) if slope is None else slope.clone()


def apart(make: Callable[[], tuple[str, dict[str, Any]]], prompt: Prompt, known: Known, grows: bool) -> float:
    """The largest relative difference.

    Args:
        make: theirs, and its arguments.
        prompt: ours.
        known: of values, and of gradients.
        grows: ours, with the second experience.
    """
    retriever = ComposedRetriever(tower(), Sum())
    retriever.add_module("classes", classes(0))
    found: list[float] = []
    with seeded(0, "formulas"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        learner, benchmark = start(make, CLASSES, 0)
        prompt.attach(retriever.backbone)
        for number in range(2):
            benchmark.begin(number)
            learner.train()
            learner.meta_begin_task(benchmark)
            if number and grows:
                _prompt_of(retriever).grow()
            found += _step(learner, retriever, known, number)
            learner.meta_end_task(benchmark)
    return max(found)


def _step(learner: Any, retriever: Any, known: Known, number: int) -> list[float]:
    """Differences in loss and gradients, at last in logits of what was not trained on."""
    position = {"position": timm_names()["pos_embed"][0, 0]}
    with torch.no_grad():
        for name, value in known({**dict(learner.net.named_parameters()), **position}, number).items():
            retriever.get_parameter(name).copy_(value)
    (x, y), (shown, _) = (part[:][:2] for part in stream(CLASSES)[number])
    x, y = x[:BATCH], y[:BATCH]
    learner.opt = Caught(learner.net)
    loss = learner.meta_observe(pictures(x), y, pictures(x), epoch=0)
    retriever.train()
    made = step_loss(retriever, x, y, number)
    learnt = {name: p for name, p in retriever.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(made, [*learnt.values()])
    theirs = known(learner.opt.slopes, number)
    found = [abs(float(made) / loss - 1)]
    found += [far(own, theirs[name]) for name, own in zip(learnt, slopes, strict=True)]
    if not number:  # some of theirs have prompts of what is to come, which ours adds when it comes
        return found
    learner.eval()
    retriever.eval()
    with torch.no_grad():
        asked = learner(pictures(shown))
        return [*found, far(logits(retriever, shown)[:, : asked.shape[1]], asked)]


def _prompt_of(retriever: Any) -> Any:
    return retriever.backbone.image_prompt


def far(own: Tensor, theirs: Tensor) -> float:
    return float((own - theirs).abs().max() / theirs.abs().max())


def pool_prompts(named: Mapping[str, Tensor], _: int) -> dict[str, Tensor]:
    """L2P: their prompts get the class token's position added; ours begin where that puts them."""
    held = {"vectors": named["model.prompt.prompt"][None] + named.get("position", 0)}
    held["keys"] = named["model.prompt.prompt_key"]
    return _held(0, held) | _classes(named, "model.head")


def dual_prompts(named: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """DualPrompt: keys and values apart, heads apart; here one after the other."""
    general, prompts = named["model.g_prompt"], named["model.e_prompt.prompt"]
    found = {"backbone.image_prompt.general": general.reshape(len(general), -1, WIDTH)}
    for grown in range(number + 1):
        own = prompts[:, :, grown].reshape(len(prompts), 1, -1, WIDTH)
        found |= _held(grown, {"vectors": own, "keys": named["model.e_prompt.prompt_key"][grown, None]})
    return found | _classes(named, "model.head")


def coda_prompts(named: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """CODA-Prompt with as many components for each experience as there are of all for one of five."""
    kinds, found = {"prompts": "p", "keys": "k", "attention": "a"}, dict[str, Tensor]()
    for grown in range(number + 1):
        layers = range(3)
        rows = slice(grown * 2, grown * 2 + 2)
        held = {
            own: torch.stack([named[f"prompt.e_{kind}_{layer}"][rows].flatten(1) for layer in layers])
            for own, kind in kinds.items()
        }
        found |= _held(grown, held)
    return found | _classes(named, "last")


def _held(grown: int, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"backbone.image_prompt.grown.{grown}.{name}": tensor for name, tensor in held.items()}


def _classes(named: Mapping[str, Tensor], layer: str) -> dict[str, Tensor]:
    return {f"classes.{side}": named[f"{layer}.{side}"] for side in ("weight", "bias")}
