"""Chosen patches: beside both inputs, the few patches of the picture that the text is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["ChosenPatches"]


class ChosenPatches(Composer):
    """``q = n(p) + n(t) + W sum_k a_k n(c_k)``, over the ``top`` patches c most similar to the text.

    p and t are the pooled features, n divides by the L2 norm, the patches lie in the joint space by the
    tower's own projection, and ``a = softmax(cos(c_k, t) / temperature)`` over those that are chosen. W is
    zero at first, so that training starts from `Sum`. No patch reaches a query whose text is not about it.

    Args:
        top: patches that are chosen; all where a picture has fewer.
        temperature: of the cosines; a high one weighs the chosen alike.

    Raises:
        ValueError: no patch, or a temperature of 0 or below.

    What is trained: W, ``joint * joint`` numbers. The gallery does not depend on the query: there a picture
    is its pooled feature.

    Reference:
        Zhang et al., "Beyond LLaVA-HD: Diving into High-Resolution Large Multimodal Models", 2024,
        arXiv:2406.08487 (SliME), whose selector takes local patches by their similarity with the text.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = ChosenPatches(top=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> [name for name, _ in composer.named_parameters()]
        ['output.weight']
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": frozenset({"pooled", "tokens"}), "text": POOLED}

    def __init__(
        self,
        top: Annotated[int, Int(1, 32, log=True)] = 4,
        temperature: Annotated[float, Float(0.02, 1.0, log=True)] = 0.1,
    ) -> None:
        super().__init__()
        if top < 1 or not temperature > 0:
            raise ValueError(f"top must be at least 1 and temperature above 0, not {top} and {temperature}")
        self.top, self.temperature = top, temperature

    def attach(self, towers: Towers) -> None:
        """Make W for the joint space; nothing is drawn."""
        self.towers = towers
        make: Callable[..., nn.Linear] = nn.utils.skip_init
        self.output = make(nn.Linear, towers.joint, towers.joint, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert image.tokens is not None
        patches = normalize(self.towers.joint_patches(image.tokens), dim=-1)
        said = normalize(text.pooled, dim=-1)
        likeness = (patches @ said[..., None])[..., 0]
        best, chosen = likeness.topk(min(self.top, patches.shape[1]), dim=1)
        taken = patches.gather(1, chosen[..., None].expand(-1, -1, patches.shape[2]))
        local = ((best / self.temperature).softmax(dim=1)[..., None] * taken).sum(dim=1)
        made: Tensor = normalize(image.pooled, dim=-1) + said + self.output(local)
        return made
