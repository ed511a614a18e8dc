"""Where the vectors of a prompt come from, and at which layers of a tower they enter.

Sources are tower prompts themselves: `Free` vectors that are trained, vectors that a network `Generated`,
those of another tower `Mapped` to this one's width, or moved for each input (`ByReference`, `ByOwn`). `Sets`
are several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import Prefix, TowerPrompt
from clplat.models.stages import Tower

__all__ = [
    "ByOwn",
    "ByReference",
    "Form",
    "Free",
    "Generated",
    "Layered",
    "Mapped",
    "Recurrent",
    "Sets",
    "check_room",
    "check_tower",
    "embedded",
    "pairwise_cosine",
    "words_of",
]

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


class _Moved(Layered):
    """Vectors that a network of a feature moves, all by as much: ``v_m(x) = v_m + net(f(x) / |f(x)|)``.

    Args:
        source: the vectors.
        joint: width of the feature.
        width: of the vectors.
        narrow: the network has so many times fewer hidden units than the feature has numbers.
    """

    def __init__(self, source: Layered, joint: int, width: int, narrow: int = 16) -> None:
        super().__init__(source.depth, source.count, first=source.lowest, form=source.form)
        self.source, hidden = source, max(1, joint // narrow)
        self.net = nn.Sequential(nn.Linear(joint, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def at(self, number: int) -> Tensor:
        return self.source.at(number)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        seen = self._of(own, other)
        if seen is None:
            return self
        feature = normalize(seen.pooled.detach().to(next(self.net.parameters()).dtype), dim=-1)
        return _Shifted(self.source, self.net(feature))

    def _of(
        self, own: ImageFeatures | TextFeatures | None, other: ImageFeatures | TextFeatures | None
    ) -> ImageFeatures | TextFeatures | None:
        raise NotImplementedError


class ByReference(_Moved):
    """Moved by the picture that a text modifies; a text alone gets the vectors as they are."""

    reads_other: ClassVar[bool] = True

    def _of(
        self, own: ImageFeatures | TextFeatures | None, other: ImageFeatures | TextFeatures | None
    ) -> ImageFeatures | TextFeatures | None:
        return other


class ByOwn(_Moved):
    """Moved by the input's own feature, of the tower without a prompt."""

    wants: ClassVar[frozenset[str]] = POOLED

    def _of(
        self, own: ImageFeatures | TextFeatures | None, other: ImageFeatures | TextFeatures | None
    ) -> ImageFeatures | TextFeatures | None:
        return own


class _Shifted(Layered):
    """The vectors of one pass over B inputs, each moved by (B, W)."""

    def __init__(self, source: Layered, shift: Tensor) -> None:
        super().__init__(source.depth, source.count, first=source.lowest, form=source.form)
        self.source, self.shift = (source,), shift

    def at(self, number: int) -> Tensor:
        vectors: Tensor = self.source[0].at(number)
        return vectors + self.shift[:, None]


class Sets(TowerPrompt):
    """Several sets of vectors of one tower, a pass for each: the mean of their unit features is one vector.

    ``f = mean_k |f_k| * mean_k f_k / |f_k|``: the direction is that of the mean, the norm stays usual.

    Args:
        parts: the sets, which may differ in length, from the same layer on.
    """

    def __init__(self, parts: Sequence[TowerPrompt]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.length = max(part.length for part in parts)
        self.lowest = parts[0].lowest
        for part in parts:
            part.reserved = self.length

    @property
    def passes(self) -> Sequence[TowerPrompt]:
        parts: list[Any] = list(self.parts)
        return parts

    def joined(self, rows: Tensor) -> Tensor:
        mean: Tensor = rows.norm(dim=-1).mean(1, keepdim=True) * normalize(rows, dim=-1).mean(1)
        return mean

    def forward(self, layer: int) -> Tensor | None:
        longest: Any = max(self.passes, key=lambda one: one.length)
        vectors: Tensor | None = longest(layer)
        return vectors


def pairwise_cosine(rows: Tensor) -> Tensor:
    """The mean cosine (B,) between any two of the K features (B, K, D) of one input: how alike sets are.

    Example:
        >>> pairwise_cosine(torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]))
        tensor([1., 0.])
    """
    unit, count = normalize(rows, dim=-1), rows.shape[1]
    sums = (unit @ unit.mT).sum((1, 2)) - count
    return sums / max(1, count * (count - 1))


def words_of(backbone: Backbone, words: str, length: int, std: float) -> Tensor:
    """Vectors (length, W) that start from the embeddings of words, and where these end from noise.

    Raises:
        UserError: more words than vectors.
    """
    vectors = torch.empty(length, backbone.text_width).normal_(std=std)
    if words:
        found = embedded(backbone, words)
        if len(found) > length:
            raise UserError(f"'{words}' is {len(found)} tokens, but length is {length}")
        vectors[: len(found)] = found
    return vectors


def embedded(backbone: Backbone, words: str) -> Tensor:
    """The embeddings (P, W) of words as the model has them, on the CPU."""
    ids = backbone.tokenize([words])
    inner = ids[0, 1 : int(backbone.text_ends(ids)[0])]  # between SOS and EOT
    return backbone.embed_text(inner.to(backbone.logit_scale.device), bare=True).detach().cpu()


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
