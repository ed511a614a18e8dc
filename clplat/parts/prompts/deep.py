"""Prompts at chosen layers of either tower: VPT, IVLP, MaPLe, CoCoOp, PRE, ECO and what lies between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn

from clplat.config.space import Choice, Int
from clplat.errors import UserError
from clplat.mechanisms.prompt_inputs import ByOwn, ByReference, Sets
from clplat.mechanisms.prompt_sources import (
    Free,
    Generated,
    Layered,
    Mapped,
    Recurrent,
    check_room,
    check_tower,
)
from clplat.mechanisms.prompt_words import words_of
from clplat.models.backbone import Backbone
from clplat.models.prompt import TowerPrompt
from clplat.models.stages import Tower
from clplat.parts.prompts._base import Prompt

__all__ = ["DeepPrompt"]


class DeepPrompt(Prompt):
    """Vectors at chosen layers of one tower or both: by default MaPLe's (Khattak et al., arXiv 2210.03117).

    Attaching changes the embeddings of the towers that it prompts. Pictures get new tokens after the class
    token, texts after the SOS: a modification text stands where the papers have class names. Each of the
    prompted layers has vectors of its own, which replace what the layer before made of the old ones. What is
    frozen below the first of them is kept (docs/speed.md).

    Args:
        length: vectors at each layer; of prefixes keys, and as many values.
        depth: layers with vectors of their own, from the first on; default all. A tower with fewer layers has
            them at all of its layers.
        coupled: of both towers: one tower's vectors are linear maps of the other's; otherwise each tower
            learns its own (IVLP).
        std: of the normal distribution from which the vectors start.
        towers: prompt both, the image tower alone (VPT) or the text tower alone (CoOp).
        first: the lowest prompted layer, 0 the first.
        form: ``tokens`` go through the tower beside its own, a ``prefix`` into attention alone.
        words: the lowest text vectors start from the embeddings of these words, such as "a photo of a".
        leads: coupled, whose vectors are trained and mapped to the other's width: ``text``, ``image``, or
            ``shared``, vectors of neither that both towers map.
        maps: of coupled vectors one for ``each`` layer, or ``one`` for all.
        network: ``lstm``: the vectors are what a two-way LSTM with a residual path makes of those that are
            trained (PRE); `Layered.folded` leaves it out afterwards.
        moved_by: each text's vectors are moved by a small network of the ``reference`` picture's frozen
            feature (CoCoOp), or those of each input by its ``own``.
        sets: lengths of several sets, in place of ``length``: each is a pass of the tower, and the mean of
            their unit features is the embedding (ECO).

    Raises:
        ValueError: an unknown word, sets that are coupled or would stay equal, or a first layer below 0.

    What is trained: ``depth * length * width`` numbers of a tower, twice that of prefixes, and the networks;
    coupled ``depth`` linear maps in place of one tower's. Needs: standard CLIP transformers.
    Relations: `ContextPrompt` is ``towers text, depth 1``; `PoolPrompt` and `CodaPrompt` choose by the input.

    References:
        Jia et al. 2022 (VPT), arXiv 2203.12119; Zhou et al. 2022 (CoCoOp), arXiv 2203.05557; Khattak et al.
        2023 (MaPLe), arXiv 2210.03117; Minh et al. 2023 (PRE), arXiv 2309.07760; Agnolucci et al. 2023 (ECO),
        arXiv 2307.14063.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> DeepPrompt(depth=1).attach(tiny_backbone())
        ['text_prompt.vectors.0', 'image_prompt.maps.0.weight', 'image_prompt.maps.0.bias']
        >>> DeepPrompt(towers="text", first=1).attach(tiny_backbone())
        ['text_prompt.vectors.0']
    """

    def __init__(
        self,
        length: Annotated[int, Int(1, 16, log=True)] = 2,
        depth: int | None = None,
        coupled: Annotated[bool, Choice(True, False)] = True,
        std: float = 0.02,
        towers: Literal["both", "image", "text"] = "both",
        first: int = 0,
        form: Literal["tokens", "prefix"] = "tokens",
        words: str = "",
        leads: Literal["text", "image", "shared"] = "text",
        maps: Literal["each", "one"] = "each",
        network: Literal["none", "lstm"] = "none",
        moved_by: Literal["nothing", "reference", "own"] = "nothing",
        sets: Sequence[int] = (),
    ) -> None:
        for name, value, allowed in (
            ("towers", towers, ("both", "image", "text")),
            ("form", form, ("tokens", "prefix")),
            ("leads", leads, ("text", "image", "shared")),
            ("maps", maps, ("each", "one")),
            ("network", network, ("none", "lstm")),
            ("moved_by", moved_by, ("nothing", "reference", "own")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is '{value}'; allowed: {', '.join(allowed)}")
        if first < 0:
            raise ValueError(f"first must be at least 0, not {first}")
        if words and (towers == "image" or form == "prefix" or first or (coupled and leads != "text")):
            raise ValueError("words start the text tower's own vectors, tokens of its lowest layer")
        if sets and ((towers == "both" and coupled) or moved_by != "nothing"):
            raise ValueError("several sets are neither coupled nor moved by an input")
        if words and len(set(sets)) < len(sets):
            raise ValueError("sets of equal length that start from the same words stay equal")
        if moved_by == "reference" and towers == "image":
            raise ValueError("a reference picture moves the vectors of texts")
        self.length, self.depth, self.coupled, self.std = length, depth, coupled, std
        self.towers, self.first, self.form, self.words = towers, first, form, words
        self.leads, self.maps, self.network = leads, maps, network
        self.moved_by, self.sets = moved_by, list(sets)

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the prompts; the values are drawn from torch's generator.

        Raises:
            UserError: a tower takes no prompt or has one, no tower is so deep, or there is no room for texts.
        """
        towers: list[Tower] = ["text", "image"] if self.towers == "both" else [self.towers]
        lengths = self.sets or [self.length]
        for tower in towers:
            check_tower(backbone, tower)
        if min(lengths) < 1 or (towers[0] == "text" and self.form == "tokens"):
            check_room(backbone, max(lengths) if min(lengths) > 0 else min(lengths))
        layers = {tower: getattr(backbone, f"{tower}_layers") - self.first for tower in towers}
        deepest = max(layers.values())
        depth = deepest if self.depth is None else self.depth
        if not 1 <= depth <= deepest or min(layers.values()) < 1:
            above = f" from layer {self.first} on" if self.first else ""
            raise UserError(f"depth is {self.depth}; the towers have {deepest} layers{above}")
        depths = {tower: min(depth, layers[tower]) for tower in towers}
        if len(towers) == 2 and self.coupled:
            made: dict[Tower, TowerPrompt] = self._coupled(backbone, depths)
        else:
            made = {tower: self._alone(backbone, tower, depths[tower]) for tower in towers}
        for tower, prompt in made.items():
            setattr(backbone, f"{tower}_prompt", prompt.to(backbone.logit_scale))
        named = [name for name, _ in backbone.named_parameters()]
        return [name for name in named if name.startswith(tuple(f"{tower}_prompt." for tower in towers))]

    def _alone(self, backbone: Backbone, tower: Tower, depth: int) -> TowerPrompt:
        """The prompt of a tower that learns its own."""
        if self.sets:
            return Sets([self._trained(backbone, tower, depth, length) for length in self.sets])
        return self._moved(backbone, tower, self._trained(backbone, tower, depth, self.length))

    def _coupled(self, backbone: Backbone, depths: dict[Tower, int]) -> dict[Tower, TowerPrompt]:
        """Both prompts, of which one tower's vectors, or neither's, are trained."""
        shared = self.leads == "shared"
        lead: Tower = "image" if self.leads == "image" else "text"
        other: Tower = "text" if lead == "image" else "image"
        deep = max(depths.values()) if shared else depths[lead]
        source = self._trained(backbone, lead, deep, self.length)
        depth = {lead: depths[lead], other: depths[other] if shared else min(depths.values())}
        start = getattr(backbone, f"{lead}_width")

        def mapped(tower: Tower) -> Layered:
            count = depth[tower] if self.maps == "each" else 1
            width = getattr(backbone, f"{tower}_width")
            maps = nn.ModuleList(nn.Linear(start, width) for _ in range(count))
            owns = shared and tower == lead
            return Mapped(source, maps, owns=owns, depth=depth[tower], first=self.first)

        found = {lead: mapped(lead) if shared else source, other: mapped(other)}
        return {tower: self._moved(backbone, tower, found[tower]) for tower in (lead, other)}

    def _trained(self, backbone: Backbone, tower: Tower, depth: int, length: int) -> Layered:
        """The vectors that are trained, of the width of a tower, and the network that reads them."""
        width, places = getattr(backbone, f"{tower}_width"), length * (1 if self.form == "tokens" else 2)
        starts = []
        for number in range(depth):
            if tower == "text" and number == 0 and self.words:
                starts.append(words_of(backbone, self.words, length, self.std))
            else:
                starts.append(torch.empty(places, width).normal_(std=self.std))
        source: Layered = Free(starts, first=self.first, form=self.form)
        return Generated(source, Recurrent(width)) if self.network == "lstm" else source

    def _moved(self, backbone: Backbone, tower: Tower, source: Layered) -> Layered:
        width = getattr(backbone, f"{tower}_width")
        if self.moved_by == "own":
            return ByOwn(source, backbone.embed_dim, width)
        if self.moved_by == "reference" and tower == "text":
            return ByReference(source, backbone.embed_dim, width)
        return source
