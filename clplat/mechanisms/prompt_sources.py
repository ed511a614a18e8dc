"""Where the vectors of a prompt come from, and at which layers of a tower they enter.

Sources are tower prompts themselves: `Free` vectors that are trained, vectors that a network `Generated`,
those of another tower `Mapped` to this one's width. What depends on the input, and several sets, are in
`clplat.mechanisms.prompt_inputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.prompt import Prefix, TowerPrompt
from clplat.models.stages import Tower

__all__ = ["Form", "Free", "Generated", "Layered", "Mapped", "Recurrent", "check_room", "check_tower"]

#: Vectors go through a tower beside its own, or into attention alone as keys and values.
Form: TypeAlias = Literal["tokens", "prefix"]


class Layered(TowerPrompt):
    """Vectors at consecutive layers of a tower, in either form: what is between any source and the tower.

    Args:
        depth: layers with vectors of their own.
        length: vectors of each layer; of prefixes keys, and as many values.
        first: the first layer that has some, 0 the lowest.
        form: tokens or prefix.
    """

    def __init__(self, depth: int, length: int, *, first: int = 0, form: Form = "tokens") -> None:
        super().__init__()
        self.depth, self.count, self.lowest, self.form = depth, length, first, form
        self.length = length if form == "tokens" else 0

    def at(self, number: int) -> Tensor:
        """The vectors (P, W) or (B, P, W) of the layer of this number from the first on.

        P is the length; of prefixes twice that: keys, and then values.
        """
        raise NotImplementedError

    def forward(self, layer: int) -> Tensor | None:
        number = layer - self.lowest
        return self.at(number) if self.form == "tokens" and 0 <= number < self.depth else None

    def prefix(self, layer: int) -> Prefix | None:
        number = layer - self.lowest
        if self.form == "tokens" or not 0 <= number < self.depth:
            return None
        keys, values = self.at(number).chunk(2, dim=-2)
        return keys, values

    @torch.no_grad()
    def folded(self) -> Free:
        """The same vectors without what made them, to be kept when training is over.

        Raises:
            UserError: they depend on the input.
        """
        vectors = [self.at(number).clone() for number in range(self.depth)]
        if any(one.dim() > 2 for one in vectors):
            raise UserError("vectors that depend on the input cannot be folded")
        return Free(vectors, first=self.lowest, form=self.form)


class Free(Layered):
    """Vectors that are trained themselves.

    Args:
        vectors: where each layer's start, each (P, W); one tensor alone is that of a single layer.
        first, form: as of `Layered`.
    """

    def __init__(self, vectors: Tensor | Sequence[Tensor], *, first: int = 0, form: Form = "tokens") -> None:
        starts = [vectors] if isinstance(vectors, Tensor) else list(vectors)
        places = len(starts[0]) if form == "tokens" else len(starts[0]) // 2
        super().__init__(len(starts), places, first=first, form=form)
        self.vectors = nn.Parameter(vectors) if isinstance(vectors, Tensor) else nn.ParameterList(starts)

    def at(self, number: int) -> Tensor:
        return self.vectors if isinstance(self.vectors, Tensor) else self.vectors[number]


class Generated(Layered):
    """Vectors of another source behind a network, the same for all layers: reparameterised.

    Args:
        source: what the network reads.
        network: vectors (P, W) -> (P, W).
    """

    def __init__(self, source: Layered, network: nn.Module) -> None:
        super().__init__(source.depth, source.count, first=source.lowest, form=source.form)
        self.source, self.network = source, network

    def at(self, number: int) -> Tensor:
        made: Tensor = self.network(self.source.at(number))
        return made


class Recurrent(nn.Module):
    """A two-way LSTM of one layer along the vectors, beside a residual path: PRE's encoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % 2:
            raise UserError(f"a two-way LSTM has half the width each way, but the tower's is {width}")
        self.lstm = nn.LSTM(width, width // 2, bidirectional=True, batch_first=True)

    def forward(self, vectors: Tensor) -> Tensor:
        made: Tensor = self.lstm(vectors[None])[0][0]
        return vectors + made


class Mapped(Layered):
    """Vectors of another tower's source, or of one that both share, through linear maps: coupled.

    Args:
        source: whose vectors they are; they are trained there.
        maps: one for each layer, or one for all.
        owns: whether the source belongs to this prompt, and not to the other tower's.
        depth: layers, at most the source's.
        first: the first layer in this tower.
    """

    def __init__(
        self, source: Layered, maps: nn.ModuleList, *, owns: bool = False, depth: int, first: int = 0
    ) -> None:
        super().__init__(depth, source.count, first=first, form=source.form)
        if owns:
            self.own = source
        # In a tuple, so that vectors of the other tower have one name, that of the tower that owns them.
        self.source, self.maps = (source,), maps

    def at(self, number: int) -> Tensor:
        mapped: Tensor = self.maps[number % len(self.maps)](self.source[0].at(number))
        return mapped


def check_room(backbone: Backbone, length: int) -> None:
    """Refuse a text prompt that the tower cannot take, or that leaves no place for SOS, a word and EOT."""
    check_tower(backbone, "text")
    if not 1 <= length <= backbone.context_length - 3:
        raise UserError(
            f"length is {length}; a context of {backbone.context_length} tokens allows 1 to "
            f"{backbone.context_length - 3}"
        )


def check_tower(backbone: Backbone, tower: Tower) -> None:
    """Refuse a prompt of a tower that takes none, or has one."""
    layers, prompt = getattr(backbone, f"{tower}_layers"), getattr(backbone, f"{tower}_prompt")
    if layers is None:
        kind = "causal CLIP tower" if tower == "text" else "CLIP transformer"
        raise UserError(f"the {tower} tower of backbone '{backbone.name}' takes no prompt: it is no {kind}")
    if prompt is not None:
        raise UserError(f"{'an' if tower == 'image' else 'a'} {tower} prompt is attached already")
