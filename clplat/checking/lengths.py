"""How long the texts of a stream are, beside the context that a model has for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from clplat.models.backbone import Backbone

__all__ = ["Lengths", "lengths_of"]

_SHARES = (5, 25, 50, 75, 95, 99)
#: Texts that are counted for the quantiles, evenly over all: a text takes 0.1 ms.
_COUNTED = 20_000


@dataclass
class Lengths:
    """Distinct texts by their tokens, those of begin and end included.

    Args:
        texts: how many there are.
        context: tokens that the model takes.
        cut: the texts that are longer.
        quantiles: percent of the texts -> the tokens that so many have at most; 100: the longest.
    """

    texts: int = 0
    context: int = 0
    cut: list[str] = field(default_factory=list)
    quantiles: dict[str, int] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The distribution in a line."""
        if not self.texts:
            return "no texts"
        shares = ", ".join(f"{share} % {count}" for share, count in self.quantiles.items() if share != "100")
        longest = f"the longest {self.quantiles['100']}"
        share = 100 * len(self.cut) / self.texts
        return f"tokens of {self.texts:,} texts: {shares}, {longest}; {share:.1f} % above {self.context}"


def lengths_of(texts: Sequence[str], backbone: Backbone) -> Lengths:
    """Count the tokens of texts.

    Args:
        texts: distinct; of many, the quantiles are those of some 20,000, evenly over all.
        backbone: whose tokenizer counts.
    """
    if not texts:
        return Lengths(context=backbone.context_length)
    cut = [texts[i] for i in backbone.truncated(texts)]
    counted = backbone.lengths(texts[:: max(1, len(texts) // _COUNTED)])
    found = np.percentile(np.asarray(counted), _SHARES, method="inverted_cdf").tolist()
    quantiles = {str(share): int(tokens) for share, tokens in zip(_SHARES, found, strict=True)}
    quantiles["100"] = max([*counted, *backbone.lengths(cut)])
    return Lengths(len(texts), backbone.context_length, cut, quantiles)
