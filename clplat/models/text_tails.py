"""Several vectors in the place of a text's EOT, run beside each other in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clplat.models.features import TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.models.text_tower import causal, projected_text, text_positions
from clplat.models.towers import run_blocks

__all__ = ["text_with_tails"]


def text_with_tails(
    text: Any,
    x: Tensor,
    ends: Tensor,
    prompt: TowerPrompt,
    wants: frozenset[str],
    *,
    length: int | None = None,
) -> TextFeatures:
    """Run a causal text tower on embeddings (B, L, W) without positions, each text with K ends.

    An end stands at the EOT's place, looks at what is before that and at itself, and nothing looks at it:
    each of the K pooled features is that of a pass with this vector for the EOT. The K are columns behind
    the texts, so that the words are run once. ``tokens``, ``states`` and ``hidden`` are of the plain text.
    """
    tails = prompt.tails()
    assert tails is not None
    x = x[:, : length if length is not None else int(ends.max()) + 1]
    n, count = x.shape[1], len(tails)
    positions = text_positions(text).to(x.dtype)
    last = tails.to(x.dtype) + positions[ends][:, None]
    x = torch.cat([x + positions[:n], last], dim=1)
    # True is hidden.
    own = causal(text, x[:, :n]) < 0
    before = torch.arange(n, device=x.device) >= ends[:, None]
    others = ~torch.eye(count, dtype=torch.bool, device=x.device)
    above = torch.cat([own, own.new_ones(n, count)], dim=1).expand(len(x), -1, -1)
    below = torch.cat([before[:, None].expand(-1, count, -1), others.expand(len(x), -1, -1)], dim=2)
    hidden = torch.cat([above, below], dim=1)[:, None]
    # open_clip's blocks make numbers of a mask: one of truth values would only be added.
    mask = torch.zeros(hidden.shape, dtype=x.dtype, device=x.device).masked_fill(hidden, -torch.inf)
    found, states = TextFeatures(ends=ends), list[Tensor]()
    rows = torch.arange(len(x), device=x.device)
    whole = bool(wants & {"tokens", "hidden", "states"})

    def collect(x: Tensor, alone: bool) -> None:
        if "hidden" in wants:
            found.hidden.append(x[:, :n])
        if "states" in wants:
            states.append(x[rows, ends])

    select = None if whole else (lambda t: t[:, n:])
    masked = None if whole else below[:, None]
    x = run_blocks(text.transformer, x, mask, None, select, masked, collect)
    found.states = torch.stack(states, dim=1) if states else None
    found.sets = projected_text(text, text.ln_final(x[:, -count:]))
    if "pooled" in wants:
        found.pooled = prompt.joined(found.sets)
    if "tokens" in wants:
        found.tokens = text.ln_final(x[:, :n])
    return found
