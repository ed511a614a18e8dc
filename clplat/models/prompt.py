"""What a prompt learner puts into a tower: vectors beside its own tokens, prefixes of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures

__all__ = ["Prefix", "TowerPrompt", "run_prompted"]

F = TypeVar("F", ImageFeatures, TextFeatures)

#: Keys and values, each (P, W) or (B, P, W).
Prefix: TypeAlias = tuple[Tensor, Tensor]


class TowerPrompt(nn.Module):
    """Prompt vectors of one tower: P tokens after the first token (CLS or SOS), and prefixes of attention.

    A backbone calls `begin` before a pass and asks what that gives for ``prompt(layer)`` and
    ``prompt.prefix(layer)`` before every block; a retriever adds `terms` to the outputs of a training step.

    Attributes:
        length: P, the places that the vectors take; 0 for a prompt of prefixes only.
    """

    length: int
    #: The first block that sees anything of it: what is frozen below is kept, and run without the prompt.
    lowest: int = 0
    #: Places that it takes from texts at least: equal for the passes of an ensemble.
    reserved: int = 0
    #: Features of the same tower *without* the prompt that `begin` reads; kept where they are frozen.
    wants: ClassVar[frozenset[str]] = NOTHING
    #: Of a text tower: `begin` reads features, without a prompt, of the picture that a text modifies.
    reads_other: ClassVar[bool] = False
    #: The features of that picture that it reads.
    other_wants: ClassVar[frozenset[str]] = POOLED

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        """The prompt of one pass over B pictures or texts: itself, unless it is chosen for each of them.

        Args:
            own: what `wants` names, of these pictures or texts; None where it names nothing.
            other: of a query's text, the features of its reference picture; None where a text stands alone.
        """
        return self

    def forward(self, layer: int) -> Tensor | None:
        """What replaces the P prompt tokens before this block, (P, W) or (B, P, W), one for each sample.

        None keeps what the block before made of them; at the lowest block it is None of a prompt of prefixes
        only.
        """
        raise NotImplementedError

    def prefix(self, layer: int) -> Prefix | None:
        """Further keys and values of this block's attention, each (P', W) or (B, P', W)."""
        return None

    def tails(self) -> Tensor | None:
        """Of a text tower: vectors (K, W), each in the place of the EOT and hidden from the others."""
        return None

    def embed(self, input_ids: Tensor, embeddings: Tensor) -> Tensor:
        """The embeddings (B, L, W) of token ids (B, L), with this prompt's own in place of some words'."""
        return embeddings

    def joined(self, rows: Tensor) -> Tensor:
        """The pooled feature (B, D) of the pooled features (B, K, D) of K sets of vectors."""
        raise NotImplementedError

    @property
    def passes(self) -> Sequence[TowerPrompt]:
        """Of an ensemble, the prompts of one pass each; what they give is put together by `fold`."""
        return ()

    def fold(self, found: Sequence[F]) -> F:
        """The features of one input from those of all `passes`: the pooled one `joined`, others averaged."""
        first = found[0]
        rows = [one.pooled for one in found if "pooled" in vars(one)]
        if rows:
            sets = torch.stack(rows, dim=1)
            first.pooled = self.joined(sets)
            if isinstance(first, TextFeatures):
                first.sets = sets
        layers = zip(*(one.hidden for one in found), strict=True)
        first.hidden = [torch.stack(outputs).mean(0) for outputs in layers]
        for name in ("tokens", "states"):
            if getattr(first, name) is not None:
                setattr(first, name, torch.stack([getattr(one, name) for one in found]).mean(0))
        return first

    def grow(self) -> bool:
        """Add what the next experience trains and freeze what is there; False: this prompt does not grow.

        Initial values are drawn from torch's generator.
        """
        return False

    #: `fit` looks at the pictures of an experience, of a text tower at its texts, before it is trained.
    fits: bool = False

    def fit(self, features: Tensor) -> None:
        """After `grow`: the pooled features (N, D), without prompt, of what the experience trains on."""

    def shares(self, own: ImageFeatures | TextFeatures) -> tuple[Tensor, Sequence[int]] | None:
        """The share (B, N) of each of its parts in B inputs, and the growth that each part came with.

        None: all that it has is in all of them. Rows sum to 1.

        Args:
            own: what `wants` names.
        """
        return None

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of its own, weighted, as means over the examples of the batch."""
        return {}


def run_prompted(run: Callable[[TowerPrompt | None], F], prompt: TowerPrompt | None) -> F:
    """What a tower gives with the prompt of one pass, or with each of an ensemble's."""
    if prompt is None or not prompt.passes:
        return run(prompt)
    return prompt.fold([run(one) for one in prompt.passes])
